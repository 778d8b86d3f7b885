{{
    config(
        meta={
            'owner': 'marketing',
            'purpose': 'commercial',
            'channel': 'email',
            'destination': 'newsletter',
            'columns': ['email', 'first_name', 'last_name', 'city'],
        }
    )
}}

with

till_orders as (

    select
        profile_id,
        extract(hour from {{ utc_to_local('ordered_at') }}) < 10 as is_before_ten
    from {{ ref('fct_orders') }}
    where
        channel = 'till'
        and not is_cancelled
        and ordered_at > {{ as_of() }} - interval '90' day
        and ordered_at <= {{ as_of() }}
        and profile_id is not null

),

counted as (

    select
        profile_id,
        count(*) as order_count,
        count(case when is_before_ten then 1 end) as breakfast_count
    from till_orders
    group by profile_id

),

-- Regular: three times or more, and more often than not.
regulars as (

    select profile_id
    from counted
    where breakfast_count >= 3 and breakfast_count * 2 > order_count

)

select * from regulars

{{
    config(
        meta={
            'owner': 'marketing',
            'purpose': 'commercial',
            'channel': 'email',
            'destination': 'newsletter',
            'columns': ['email', 'first_name', 'last_name', 'preferred_channel', 'loyalty_tier'],
        }
    )
}}

with

recent_orders as (

    select
        profile_id,
        channel
    from {{ ref('fct_orders') }}
    where
        not is_cancelled
        and ordered_at > {{ as_of() }} - interval '365' day
        and ordered_at <= {{ as_of() }}
        and profile_id is not null

),

both_channels as (

    select profile_id
    from recent_orders
    where channel in ('till', 'shop')
    group by profile_id
    having count(distinct channel) = 2

)

select * from both_channels

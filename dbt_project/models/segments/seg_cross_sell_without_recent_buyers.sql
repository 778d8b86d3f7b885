{{
    config(
        meta={
            'owner': 'marketing',
            'purpose': 'commercial',
            'channel': 'email',
            'destination': 'newsletter',
            'columns': ['email', 'first_name', 'last_name', 'loyalty_tier'],
        }
    )
}}

-- People who buy coffee to brew at home and have nothing to brew it in. Left out: who bought such a thing in the
-- last two years, and who returned something this month: that is no moment for an offer.

with

bought as (

    select
        order_lines.profile_id,
        order_lines.ordered_at,
        products.name,
        products.category_name
    from {{ ref('fct_order_lines') }} as order_lines
    inner join {{ ref('dim_products') }} as products on order_lines.product_sku = products.sku
    where
        order_lines.profile_id is not null
        and not order_lines.is_cancelled
        and order_lines.ordered_at <= {{ as_of() }}

),

coffee_brewers as (

    select distinct profile_id from bought
    where
        category_name = 'Koffie en thee'
        and lower(name) like '%koffie%'
        and ordered_at > {{ as_of() }} - interval '180' day

),

owners_of_a_coffee_maker as (

    select distinct profile_id from bought
    where
        (name like 'Cafetière%' or name like 'Percolator%')
        and ordered_at > {{ as_of() }} - interval '730' day

),

people_with_a_recent_return as (

    select distinct profile_id from {{ ref('fct_returns') }}
    where profile_id is not null and returned_at > {{ as_of() }} - interval '30' day

),

worth_asking as (

    select coffee_brewers.profile_id
    from coffee_brewers
    left join owners_of_a_coffee_maker
        on coffee_brewers.profile_id = owners_of_a_coffee_maker.profile_id
    left join people_with_a_recent_return
        on coffee_brewers.profile_id = people_with_a_recent_return.profile_id
    where
        owners_of_a_coffee_maker.profile_id is null
        and people_with_a_recent_return.profile_id is null

)

select * from worth_asking

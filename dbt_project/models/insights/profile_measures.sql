with

profile_orders as (

    select * from {{ ref('profile_orders') }}

),

profile_engagement as (

    select * from {{ ref('profile_engagement') }}

),

joined as (

    select
        profile_orders.profile_id,

        ---- orders
        profile_orders.order_count,
        profile_orders.till_order_count,
        profile_orders.shop_order_count,
        profile_orders.return_count,
        profile_orders.revenue_eur,
        profile_orders.revenue_365_days_eur,
        profile_orders.returned_eur,
        profile_orders.average_basket_eur,
        profile_orders.first_order_at,
        profile_orders.last_order_at,
        profile_orders.first_order_date,
        profile_orders.last_order_date,
        profile_orders.last_return_at,
        profile_orders.order_frequency_days,
        profile_orders.usual_purchase_hour,
        profile_orders.preferred_channel,

        ---- engagement
        profile_engagement.last_interaction_at,
        profile_engagement.last_web_visit_at,
        profile_engagement.email_open_180_days_count,
        profile_engagement.email_click_180_days_count,
        profile_engagement.email_engagement,

        ---- bands: they change when somebody moves into another one, not every day for everybody
        {{ band('profile_orders.revenue_365_days_eur', var('loyalty_tiers'), 'Geen') }} as loyalty_tier,
        {{ lifecycle_stage('profile_orders.first_order_date', 'profile_orders.last_order_date') }}
            as lifecycle_stage

    from profile_orders
    inner join profile_engagement on profile_orders.profile_id = profile_engagement.profile_id

)

select * from joined

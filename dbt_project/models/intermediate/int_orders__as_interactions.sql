with orders as (
    select * from {{ ref('int_orders__unioned') }}
),

returns as (
    select * from {{ ref('int_returns__unioned') }}
),

-- a cancelled order happened to nobody; a receipt without a card is nobody's
order_interactions as (
    select
        order_id || ':ordered' as interaction_id,
        record_id,
        source,
        channel,
        'order' as type,
        ordered_at as occurred_at,
        store_code as subject,
        amount,
        cast(null as varchar) as product_sku
    from orders
    where record_id is not null and status != 'cancelled'
),

return_interactions as (
    select
        return_id || ':returned' as interaction_id,
        record_id,
        source,
        channel,
        'return' as type,
        returned_at as occurred_at,
        reason as subject,
        amount,
        product_sku
    from returns
    where record_id is not null
),

unioned as (
    select * from order_interactions
    union all
    select * from return_interactions
)

select * from unioned

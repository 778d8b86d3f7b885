with returns as (
    select * from {{ ref('stg_shop__returns') }}
),

order_lines as (
    select * from {{ ref('stg_shop__order_lines') }}
),

orders as (
    select * from {{ ref('stg_shop__orders') }}
),

products as (
    select * from {{ ref('stg_shop__products') }}
),

harmonised as (
    select
        {{ record_id('shop', 'return', 'returns.return_id') }} as return_id,
        {{ record_id('shop', 'order_line', 'returns.order_line_id') }} as order_line_id,
        {{ record_id('shop', 'order', 'order_lines.order_id') }} as order_id,
        {{ record_id('shop', 'customer', 'orders.customer_id') }} as record_id,
        'shop' as source,
        'shop' as channel,
        products.sku as product_sku,
        returns.returned_at,
        returns.quantity,
        returns.reason,
        returns.refund_amount as amount,
        orders.currency
    from returns
    left join order_lines
        on returns.order_line_id = order_lines.order_line_id
    left join orders
        on order_lines.order_id = orders.order_id
    left join products
        on order_lines.product_id = products.product_id
)

select * from harmonised

with order_lines as (
    select * from {{ ref('stg_shop__order_lines') }}
),

products as (
    select * from {{ ref('stg_shop__products') }}
),

harmonised as (
    select
        {{ record_id('shop', 'order_line', 'order_lines.order_line_id') }} as order_line_id,
        {{ record_id('shop', 'order', 'order_lines.order_id') }} as order_id,
        row_number() over (
            partition by order_lines.order_id
            order by cast(order_lines.order_line_id as bigint)
        ) as line_number,
        products.sku as product_sku,
        products.product_name,
        order_lines.quantity,
        order_lines.unit_price,
        order_lines.discount_amount,
        order_lines.quantity * order_lines.unit_price - order_lines.discount_amount as amount
    from order_lines
    left join products
        on order_lines.product_id = products.product_id
)

select * from harmonised

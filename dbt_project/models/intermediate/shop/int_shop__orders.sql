with orders as (
    select * from {{ ref('stg_shop__orders') }}
),

order_lines as (
    select * from {{ ref('stg_shop__order_lines') }}
),

line_counts as (
    select
        order_id,
        count(*) as line_count
    from order_lines
    group by order_id
),

harmonised as (
    select
        {{ record_id('shop', 'order', 'orders.order_id') }} as order_id,
        {{ record_id('shop', 'customer', 'orders.customer_id') }} as record_id,
        'shop' as source,
        'shop' as channel,
        null as store_code,
        orders.ordered_at,
        orders.status,
        orders.total_amount as amount,
        orders.currency,
        coalesce(line_counts.line_count, 0) as line_count,
        orders.updated_at
    from orders
    left join line_counts
        on orders.order_id = line_counts.order_id
)

select * from harmonised

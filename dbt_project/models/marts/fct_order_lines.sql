{{ config(materialized='view') }}

with

order_lines as (

    select * from {{ ref('int_order_lines__unioned') }}

),

orders as (

    select * from {{ ref('fct_orders') }}

),

joined as (

    select
        order_lines.order_line_id,
        order_lines.order_id,
        orders.profile_id,
        orders.ordered_at,
        orders.is_cancelled,
        order_lines.line_number,
        order_lines.product_sku,
        order_lines.product_name,
        order_lines.quantity,
        order_lines.unit_price,
        order_lines.discount_amount,
        order_lines.amount,
        orders.currency
    from order_lines
    inner join orders on order_lines.order_id = orders.order_id

)

select * from joined

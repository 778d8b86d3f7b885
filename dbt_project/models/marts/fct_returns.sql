{{ config(materialized='view') }}

with

returns as (

    select * from {{ ref('int_returns__unioned') }}

),

orders as (

    select * from {{ ref('int_orders__unioned') }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

joined as (

    select
        returns.return_id,
        returns.order_id,
        returns.order_line_id,
        profile_records.profile_id,
        returns.record_id,
        returns.source,
        returns.channel,
        returns.product_sku,
        returns.returned_at,
        returns.quantity,
        returns.reason,
        returns.amount,
        returns.currency,
        coalesce(orders.status = 'cancelled', false) as is_order_cancelled
    from returns
    left join orders on returns.order_id = orders.order_id
    left join profile_records on returns.record_id = profile_records.record_id

)

select * from joined

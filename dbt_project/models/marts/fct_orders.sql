{{ config(materialized='view') }}

with

orders as (

    select * from {{ ref('int_orders__unioned') }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

joined as (

    select
        orders.order_id,
        profile_records.profile_id,
        orders.record_id,
        orders.source,
        orders.channel,
        orders.store_code,
        orders.ordered_at,
        orders.status,
        orders.status = 'cancelled' as is_cancelled,
        orders.amount,
        orders.currency,
        orders.line_count,
        orders.updated_at
    from orders
    left join profile_records on orders.record_id = profile_records.record_id

)

select * from joined

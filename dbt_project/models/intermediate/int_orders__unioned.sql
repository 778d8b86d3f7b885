{{ config(materialized='table') }}

with unioned as (
    {{ union_harmonised('orders') }}
)

select * from unioned

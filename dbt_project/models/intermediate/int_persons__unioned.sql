{{ config(materialized='table') }}

with unioned as (
    {{ union_harmonised('persons') }}
)

select * from unioned

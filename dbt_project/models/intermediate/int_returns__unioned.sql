{{ config(materialized='table') }}

with unioned as (
    {{ union_harmonised('returns') }}
)

select * from unioned

{{ config(materialized='table') }}

with unioned as (
    {{ union_harmonised('consents') }}
)

select * from unioned

with unioned as (
    {{ union_harmonised('leads') }}
)

select * from unioned

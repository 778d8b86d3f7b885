with unioned as (
    {{ union_harmonised('companies') }}
)

select * from unioned

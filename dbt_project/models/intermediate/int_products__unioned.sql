with unioned as (
    {{ union_harmonised('products') }}
)

select * from unioned

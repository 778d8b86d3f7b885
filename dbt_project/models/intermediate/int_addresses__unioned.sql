with unioned as (
    {{ union_harmonised('addresses') }}
)

select * from unioned

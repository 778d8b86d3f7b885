with unioned as (
    {{ union_harmonised('order_lines') }}
)

select * from unioned

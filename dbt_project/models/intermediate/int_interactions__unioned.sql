with harmonised as (
    {{ union_harmonised('interactions') }}
),

-- what is bought and brought back is an interaction in every source that has orders
orders_and_returns as (
    select * from {{ ref('int_orders__as_interactions') }}
),

unioned as (
    select * from harmonised
    union all
    select * from orders_and_returns
)

select * from unioned

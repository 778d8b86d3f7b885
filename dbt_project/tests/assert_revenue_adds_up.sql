-- The revenue of all profiles together is not that of all orders less all returns. Happens when a join doubles or
-- loses orders, or when money came in that is not in euros. A row is the difference.
{{ config(severity='warn') }}

with orders as (
    select coalesce(sum(amount), 0) as amount
    from {{ ref('fct_orders') }}
    where profile_id is not null and not is_cancelled and ordered_at <= {{ as_of() }}
),

returns as (
    select coalesce(sum(amount), 0) as amount
    from {{ ref('fct_returns') }}
    where profile_id is not null and not is_order_cancelled and returned_at <= {{ as_of() }}
),

profiles as (
    select coalesce(sum(revenue_eur), 0) as amount from {{ ref('profile_orders') }}
)

select
    profiles.amount as revenue_of_profiles,
    orders.amount - returns.amount as revenue_of_orders
from profiles, orders, returns
where profiles.amount <> orders.amount - returns.amount

with

profiles as (

    select profile_id from {{ ref('dim_profiles') }}

),

-- Money of another currency is not added to euros.
orders as (

    select
        *,
        {{ utc_to_local('ordered_at') }} as ordered_at_local
    from {{ ref('fct_orders') }}
    where
        profile_id is not null
        and not is_cancelled
        and currency = 'EUR'
        and ordered_at <= {{ as_of() }}

),

returns as (

    select * from {{ ref('fct_returns') }}
    where
        profile_id is not null
        and not is_order_cancelled
        and currency = 'EUR'
        and returned_at <= {{ as_of() }}

),

orders_of_profiles as (

    select
        profile_id,
        cast(count(*) as integer) as order_count,
        cast(count(case when channel = 'till' then 1 end) as integer) as till_order_count,
        cast(count(case when channel = 'shop' then 1 end) as integer) as shop_order_count,
        sum(amount) as ordered_eur,
        sum(
            case when ordered_at > {{ as_of() }} - interval '365' day then amount else 0 end
        ) as ordered_365_days_eur,
        min(ordered_at) as first_order_at,
        max(ordered_at) as last_order_at,
        cast(min(ordered_at_local) as date) as first_order_date,
        cast(max(ordered_at_local) as date) as last_order_date
    from orders
    group by profile_id

),

returns_of_profiles as (

    select
        profile_id,
        cast(count(*) as integer) as return_count,
        sum(amount) as returned_eur,
        sum(
            case when returned_at > {{ as_of() }} - interval '365' day then amount else 0 end
        ) as returned_365_days_eur,
        max(returned_at) as last_return_at
    from returns
    group by profile_id

),

hours_of_profiles as (

    select
        profile_id,
        cast(extract(hour from ordered_at_local) as integer) as hour_of_day,
        count(*) as order_count,
        max(ordered_at) as last_order_at
    from orders
    group by profile_id, cast(extract(hour from ordered_at_local) as integer)

),

-- Of hours with as many orders the one of the latest order is usual: habits change.
hours_ranked as (

    select
        profile_id,
        hour_of_day,
        row_number() over (
            partition by profile_id
            order by order_count desc, last_order_at desc, hour_of_day asc
        ) as hour_rank
    from hours_of_profiles

),

measured as (

    select
        profiles.profile_id,

        ---- counts
        coalesce(orders_of_profiles.order_count, 0) as order_count,
        coalesce(orders_of_profiles.till_order_count, 0) as till_order_count,
        coalesce(orders_of_profiles.shop_order_count, 0) as shop_order_count,
        coalesce(returns_of_profiles.return_count, 0) as return_count,

        ---- money
        cast(
            coalesce(orders_of_profiles.ordered_eur, 0) - coalesce(returns_of_profiles.returned_eur, 0)
            as decimal(14, 2)
        ) as revenue_eur,
        cast(
            coalesce(orders_of_profiles.ordered_365_days_eur, 0)
            - coalesce(returns_of_profiles.returned_365_days_eur, 0)
            as decimal(14, 2)
        ) as revenue_365_days_eur,
        cast(coalesce(returns_of_profiles.returned_eur, 0) as decimal(14, 2)) as returned_eur,
        cast(orders_of_profiles.ordered_eur / orders_of_profiles.order_count as decimal(14, 2))
            as average_basket_eur,

        ---- time
        orders_of_profiles.first_order_at,
        orders_of_profiles.last_order_at,
        orders_of_profiles.first_order_date,
        orders_of_profiles.last_order_date,
        returns_of_profiles.last_return_at,
        case
            when orders_of_profiles.order_count > 1
                then
                    cast(
                        date_diff(
                            'day',
                            orders_of_profiles.first_order_date,
                            orders_of_profiles.last_order_date
                        ) / (orders_of_profiles.order_count - 1) as decimal(9, 1)
                    )
        end as order_frequency_days,

        ---- habits
        hours_ranked.hour_of_day as usual_purchase_hour,
        -- Two thirds in one channel make it the preferred one.
        case
            when orders_of_profiles.order_count is null then 'Onbekend'
            when orders_of_profiles.till_order_count * 3 >= orders_of_profiles.order_count * 2
                then 'Winkel'
            when orders_of_profiles.shop_order_count * 3 >= orders_of_profiles.order_count * 2
                then 'Webshop'
            else 'Gemengd'
        end as preferred_channel

    from profiles
    left join orders_of_profiles on profiles.profile_id = orders_of_profiles.profile_id
    left join returns_of_profiles on profiles.profile_id = returns_of_profiles.profile_id
    left join hours_ranked
        on profiles.profile_id = hours_ranked.profile_id and hours_ranked.hour_rank = 1

)

select * from measured

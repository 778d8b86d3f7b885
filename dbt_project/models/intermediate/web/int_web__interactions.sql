with events as (
    select * from {{ ref('stg_web__events') }}
),

log_ins as (
    select
        anonymous_id,
        count(distinct shop_record_id) as customer_count,
        min(shop_record_id) as only_record_id
    from events
    where shop_record_id is not null
    group by anonymous_id
),

-- nearly every device is one customer's: no order of events needed
of_own_devices as (
    select
        events.event_id,
        log_ins.only_record_id as record_id
    from events
    inner join log_ins
        on events.anonymous_id = log_ins.anonymous_id
    where log_ins.customer_count = 1
),

events_of_shared_devices as (
    select events.*
    from events
    inner join log_ins
        on events.anonymous_id = log_ins.anonymous_id
    where log_ins.customer_count > 1
),

-- a device that several customers used: in a session with a log-in, whoever logged in last before the event,
-- or else first after it; in a session without one, whoever used the device last before, or else first after
of_shared_devices as (
    select
        event_id,
        coalesce(
            last_value(shop_record_id ignore nulls) over session_so_far,
            first_value(shop_record_id ignore nulls) over session_from_here,
            last_value(shop_record_id ignore nulls) over device_so_far,
            first_value(shop_record_id ignore nulls) over device_from_here
        ) as record_id
    from events_of_shared_devices
    window
        session_so_far as (
            partition by anonymous_id, session_id
            order by occurred_at, event_id
            rows between unbounded preceding and current row
        ),
        session_from_here as (
            partition by anonymous_id, session_id
            order by occurred_at, event_id
            rows between current row and unbounded following
        ),
        device_so_far as (
            partition by anonymous_id
            order by occurred_at, event_id
            rows between unbounded preceding and current row
        ),
        device_from_here as (
            partition by anonymous_id
            order by occurred_at, event_id
            rows between current row and unbounded following
        )
),

-- a log-in without an anonymous id still says who it was
of_log_ins_alone as (
    select
        event_id,
        shop_record_id as record_id
    from events
    where anonymous_id is null and shop_record_id is not null
),

resolved as (
    select * from of_own_devices
    union all
    select * from of_shared_devices
    union all
    select * from of_log_ins_alone
),

harmonised as (
    select
        {{ record_id('web', 'event', 'events.event_id') }} as interaction_id,
        resolved.record_id,
        'web' as source,
        'web' as channel,
        events.event_type as type,
        events.occurred_at,
        null as subject,
        null as amount,
        events.product_sku
    from events
    inner join resolved
        on events.event_id = resolved.event_id
)

select * from harmonised

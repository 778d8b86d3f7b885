with subscribers as (
    select * from {{ ref('stg_newsletter__subscribers') }}
),

opt_ins as (
    select * from {{ ref('stg_newsletter__opt_ins') }}
),

lists as (
    select * from {{ ref('stg_newsletter__lists') }}
),

events as (
    select * from {{ ref('stg_newsletter__events') }}
),

purposes as (
    select 'commercial' as purpose
    union all
    select 'transactional' as purpose
),

statements as (
    select
        {{ record_id('newsletter', 'opt_in', 'opt_ins.opt_in_id') }} as statement_id,
        opt_ins.record_id,
        opt_ins.email,
        lists.purpose,
        case when opt_ins.status = 'opted_in' then 'granted' else 'denied' end as status,
        opt_ins.occurred_at as effective_at,
        opt_ins.loaded_at
    from opt_ins
    inner join lists
        on opt_ins.list_id = lists.list_id
    union all
    -- unsubscribed from a mail: from the purpose that its list serves
    select
        {{ record_id('newsletter', 'event', 'events.event_id') }} as statement_id,
        events.record_id,
        events.email,
        coalesce(lists.purpose, 'commercial') as purpose,
        'denied' as status,
        events.occurred_at as effective_at,
        events.loaded_at
    from events
    left join lists
        on events.list_id = lists.list_id
    where events.event_type = 'unsubscribe'
    union all
    select
        record_id || ':unsubscribed' as statement_id,
        record_id,
        email,
        'commercial' as purpose,
        'denied' as status,
        updated_at as effective_at,
        loaded_at
    from subscribers
    where status = 'unsubscribed'
    union all
    -- an address that bounces can be sent nothing, whatever for; nobody said no
    select
        {{ record_id('newsletter', 'event', 'events.event_id') }} || ':' || purposes.purpose as statement_id,
        events.record_id,
        events.email,
        purposes.purpose,
        'undeliverable' as status,
        events.occurred_at as effective_at,
        events.loaded_at
    from events
    cross join purposes
    where events.event_type = 'bounce'
    union all
    select
        subscribers.record_id || ':bounced:' || purposes.purpose as statement_id,
        subscribers.record_id,
        subscribers.email,
        purposes.purpose,
        'undeliverable' as status,
        subscribers.updated_at as effective_at,
        subscribers.loaded_at
    from subscribers
    cross join purposes
    where subscribers.status = 'bounced'
),

-- not joined to contact points: a withdrawal holds although its subscriber is gone
standardised as (
    select
        *,
        {{ std_email('email') }} as email_std
    from statements
),

harmonised as (
    select
        statement_id as consent_event_id,
        record_id,
        'newsletter' as source,
        'email' as channel,
        email_std as contact_point_std,
        purpose,
        status,
        effective_at,
        cast(null as timestamptz) as expires_at,
        loaded_at
    from standardised
    where email_std is not null
)

select * from harmonised

with customers as (
    select * from {{ ref('stg_shop__customers') }}
),

contact_points as (
    select * from {{ ref('int_contact_points__unioned') }}
),

-- a tick is dated by the shop; a box never ticked is a no of the day on which it was shown, which a later
-- opt-in elsewhere overrules; a tick taken away is a no of the last change
statements as (
    select
        record_id,
        case when is_newsletter_opted_in then 'granted' else 'denied' end as status,
        case
            when is_newsletter_opted_in then coalesce(opt_in_at, created_at)
            when opt_in_at is null then created_at
            else updated_at
        end as effective_at,
        loaded_at
    from customers
    where is_newsletter_opted_in is not null
),

harmonised as (
    select
        contact_points.contact_point_id || ':commercial' as consent_event_id,
        statements.record_id,
        'shop' as source,
        contact_points.channel,
        contact_points.value_std as contact_point_std,
        'commercial' as purpose,
        statements.status,
        statements.effective_at,
        cast(null as timestamptz) as expires_at,
        statements.loaded_at
    from statements
    inner join contact_points
        on statements.record_id = contact_points.record_id
        and contact_points.channel = 'email'
)

select * from harmonised

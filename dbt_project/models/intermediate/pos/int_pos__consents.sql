with members as (
    select * from {{ ref('stg_pos__members') }}
),

contact_points as (
    select * from {{ ref('int_contact_points__unioned') }}
),

permissions as (
    select
        record_id,
        'email' as channel,
        email_permission as permission,
        created_at,
        updated_at,
        loaded_at
    from members
    union all
    select
        record_id,
        'postal' as channel,
        postal_permission as permission,
        created_at,
        updated_at,
        loaded_at
    from members
),

-- the till keeps no date of the answer: a yes is dated as early as it can be, a no as late, so that a change of
-- address never undoes a withdrawal made elsewhere
statements as (
    select
        record_id,
        channel,
        case when permission = 'yes' then 'granted' else 'denied' end as status,
        case when permission = 'yes' then coalesce(created_at, updated_at) else updated_at end as effective_at,
        loaded_at
    from permissions
    where permission in ('yes', 'no')
),

harmonised as (
    select
        contact_points.contact_point_id || ':commercial' as consent_event_id,
        statements.record_id,
        'pos' as source,
        statements.channel,
        contact_points.value_std as contact_point_std,
        'commercial' as purpose,
        statements.status,
        statements.effective_at,
        cast(null as timestamptz) as expires_at,
        statements.loaded_at
    from statements
    inner join contact_points
        on statements.record_id = contact_points.record_id
        and statements.channel = contact_points.channel
)

select * from harmonised

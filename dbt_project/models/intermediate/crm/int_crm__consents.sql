with contacts as (
    select * from {{ ref('stg_crm__contacts') }}
),

contact_points as (
    select * from {{ ref('int_contact_points__unioned') }}
),

-- the three flags as rows; a flag that is not set says nothing
flags as (
    select
        record_id,
        'email' as channel,
        is_email_denied as is_denied,
        consent_date,
        updated_at,
        loaded_at
    from contacts
    union all
    select
        record_id,
        'phone' as channel,
        is_phone_denied as is_denied,
        consent_date,
        updated_at,
        loaded_at
    from contacts
    union all
    select
        record_id,
        'postal' as channel,
        is_postal_denied as is_denied,
        consent_date,
        updated_at,
        loaded_at
    from contacts
),

-- false without a date is the form's default, not somebody's permission
statements as (
    select
        record_id,
        channel,
        case when is_denied then 'denied' else 'granted' end as status,
        coalesce({{ local_to_utc('consent_date') }}, updated_at) as effective_at,
        loaded_at
    from flags
    where is_denied or (not is_denied and consent_date is not null)
),

harmonised as (
    select
        contact_points.contact_point_id || ':commercial' as consent_event_id,
        statements.record_id,
        'crm' as source,
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

{{ config(materialized='view') }}

with

consents as (

    select * from {{ ref('int_consents__unioned') }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

joined as (

    select
        consents.consent_event_id,
        profile_records.profile_id,
        consents.record_id,
        consents.source,
        consents.channel,
        consents.contact_point_std,
        {{ contact_point_key('consents.channel', 'consents.contact_point_std') }} as contact_point_key,
        consents.purpose,
        consents.status,
        consents.effective_at,
        consents.expires_at,
        consents.loaded_at
    from consents
    left join profile_records on consents.record_id = profile_records.record_id

)

select * from joined

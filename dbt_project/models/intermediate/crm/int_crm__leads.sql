with leads as (
    select * from {{ ref('stg_crm__leads') }}
),

harmonised as (
    select
        record_id as lead_id,
        record_id,
        'crm' as source,
        subject,
        lead_source,
        status,
        company_name,
        created_at,
        updated_at
    from leads
)

select * from harmonised

with contacts as (
    select * from {{ ref('stg_crm__contacts') }}
),

leads as (
    select * from {{ ref('stg_crm__leads') }}
),

harmonised as (
    select
        record_id || ':created' as interaction_id,
        record_id,
        'crm' as source,
        'crm' as channel,
        'contact_created' as type,
        created_at as occurred_at,
        null as subject,
        null as amount,
        null as product_sku
    from contacts
    union all
    select
        record_id || ':created' as interaction_id,
        record_id,
        'crm' as source,
        'crm' as channel,
        'lead_created' as type,
        created_at as occurred_at,
        lead_source as subject,
        null as amount,
        null as product_sku
    from leads
)

select * from harmonised

with contacts as (
    select * from {{ ref('stg_crm__contacts') }}
),

leads as (
    select * from {{ ref('stg_crm__leads') }}
),

contacts_with_address_parts as (
    {{ split_address_lines('contacts') }}
),

contacts_harmonised as (
    select
        record_id,
        'crm' as source,
        'contact' as entity,
        contact_id as source_key,
        first_name,
        initials,
        infix,
        last_name,
        maiden_name,
        {{ full_name() }} as full_name,
        {{ standard_gender('gender_label') }} as gender,
        birth_date,
        email,
        phone,
        mobile_phone,
        street,
        house_number,
        house_number_suffix,
        postal_code,
        city,
        {{ country_code('country_name') }} as country_code,
        company_record_id,
        guardian_record_id,
        cast(null as varchar) as linked_record_id,
        loyalty_number,
        false as is_lead,
        is_active,
        created_at,
        updated_at,
        loaded_at
    from contacts_with_address_parts
),

leads_harmonised as (
    select
        record_id,
        'crm' as source,
        'lead' as entity,
        lead_id as source_key,
        first_name,
        null as initials,
        infix,
        last_name,
        null as maiden_name,
        {{ full_name(initials='null') }} as full_name,
        null as gender,
        null as birth_date,
        email,
        null as phone,
        mobile_phone,
        null as street,
        null as house_number,
        null as house_number_suffix,
        postal_code,
        null as city,
        null as country_code,
        null as company_record_id,
        null as guardian_record_id,
        contact_record_id as linked_record_id,
        null as loyalty_number,
        true as is_lead,
        true as is_active,
        created_at,
        updated_at,
        loaded_at
    from leads
),

unioned as (
    select * from contacts_harmonised
    union all
    select * from leads_harmonised
)

select * from unioned

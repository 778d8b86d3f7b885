with subscribers as (
    select * from {{ ref('stg_newsletter__subscribers') }}
),

harmonised as (
    select
        record_id,
        'newsletter' as source,
        'subscriber' as entity,
        subscriber_key as source_key,
        first_name,
        null as initials,
        null as infix,
        last_name,
        null as maiden_name,
        {{ full_name(initials='null', infix='null') }} as full_name,
        null as gender,
        null as birth_date,
        email,
        null as phone,
        null as mobile_phone,
        null as street,
        null as house_number,
        null as house_number_suffix,
        null as postal_code,
        null as city,
        null as country_code,
        null as company_record_id,
        null as guardian_record_id,
        null as linked_record_id,
        null as loyalty_number,
        false as is_lead,
        status = 'active' as is_active,
        created_at,
        updated_at,
        loaded_at
    from subscribers
)

select * from harmonised

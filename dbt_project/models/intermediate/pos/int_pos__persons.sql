with members as (
    select * from {{ ref('stg_pos__members') }}
),

harmonised as (
    select
        record_id,
        'pos' as source,
        'member' as entity,
        loyalty_number as source_key,
        first_name,
        initials,
        infix,
        last_name,
        null as maiden_name,
        {{ full_name() }} as full_name,
        {{ standard_gender('gender_label') }} as gender,
        birth_date,
        email,
        phone,
        null as mobile_phone,
        street,
        house_number,
        house_number_suffix,
        postal_code,
        city,
        null as country_code,
        null as company_record_id,
        null as guardian_record_id,
        null as linked_record_id,
        loyalty_number,
        false as is_lead,
        true as is_active,
        created_at,
        updated_at,
        loaded_at
    from members
)

select * from harmonised

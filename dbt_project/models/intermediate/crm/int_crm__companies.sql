with accounts as (
    select * from {{ ref('stg_crm__accounts') }}
),

accounts_with_address_parts as (
    {{ split_address_lines('accounts') }}
),

harmonised as (
    select
        record_id,
        'crm' as source,
        account_id as source_key,
        account_name as name,
        kvk_number,
        vat_number,
        email,
        phone,
        street,
        house_number,
        house_number_suffix,
        postal_code,
        city,
        {{ country_code('country_name') }} as country_code,
        updated_at
    from accounts_with_address_parts
)

select * from harmonised

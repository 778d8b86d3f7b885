with source_rows as (
    select * from {{ source('raw_shop', 'customers') }}
),

renamed as (
    select
        {{ record_id('shop', 'customer', 'customer_id') }} as record_id,
        cast(customer_id as varchar) as customer_id,
        {{ clean_text('email') }} as email,
        {{ clean_text('first_name') }} as first_name,
        {{ clean_text('last_name') }} as last_name,
        {{ clean_text('phone') }} as phone,
        cast(birth_date as date) as birth_date,
        {{ decode_code(clean_text('gender'), {'M': 'Man', 'V': 'Vrouw'}) }} as gender_label,
        newsletter_opt_in as is_newsletter_opted_in,
        opt_in_at,
        {{ clean_text('loyalty_number') }} as loyalty_number,
        created_at,
        updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

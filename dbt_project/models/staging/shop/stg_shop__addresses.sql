with source_rows as (
    select * from {{ source('raw_shop', 'addresses') }}
),

renamed as (
    select
        cast(address_id as varchar) as address_id,
        cast(customer_id as varchar) as customer_id,
        kind as address_kind,
        {{ clean_text('street') }} as street,
        {{ clean_text('cast(house_number as varchar)') }} as house_number,
        {{ clean_text('house_number_suffix') }} as house_number_suffix,
        {{ clean_text('postal_code') }} as postal_code,
        {{ clean_text('city') }} as city,
        {{ clean_text('country_code') }} as country_code,
        coalesce(is_default, false) as is_default,
        updated_at
    from source_rows
)

select * from renamed

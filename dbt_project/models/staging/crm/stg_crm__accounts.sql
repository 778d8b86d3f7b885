with source_rows as (
    select * from {{ source('raw_crm', 'accounts') }}
),

option_labels as (
    select * from {{ ref('stg_crm__option_labels') }}
),

renamed as (
    select
        {{ record_id('crm', 'account', 'accountid') }} as record_id,
        accountid as account_id,
        {{ clean_text('name') }} as account_name,
        {{ clean_text('cdp_kvknumber') }} as kvk_number,
        {{ clean_text('cdp_vatnumber') }} as vat_number,
        {{ clean_text('telephone1') }} as phone,
        {{ clean_text('emailaddress1') }} as email,
        {{ clean_text('address1_line1') }} as address_line,
        {{ clean_text('address1_postalcode') }} as postal_code,
        {{ clean_text('address1_city') }} as city,
        {{ clean_text('address1_country') }} as country_name,
        {{ clean_text('websiteurl') }} as website_url,
        {{ decode_option('statecode', 'account', 'statecode') }} as state_label,
        coalesce(statecode, 0) = 0 as is_active,
        createdon as created_at,
        modifiedon as updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

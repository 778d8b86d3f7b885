with source_rows as (
    select * from {{ source('raw_crm', 'leads') }}
),

option_labels as (
    select * from {{ ref('stg_crm__option_labels') }}
),

renamed as (
    select
        {{ record_id('crm', 'lead', 'leadid') }} as record_id,
        leadid as lead_id,
        {{ record_id('crm', 'contact', 'parentcontactid') }} as contact_record_id,
        {{ clean_text('firstname') }} as first_name,
        {{ clean_text('middlename') }} as infix,
        {{ clean_text('lastname') }} as last_name,
        {{ clean_text('emailaddress1') }} as email,
        {{ clean_text('mobilephone') }} as mobile_phone,
        {{ clean_text('address1_postalcode') }} as postal_code,
        {{ clean_text('companyname') }} as company_name,
        {{ clean_text('subject') }} as subject,
        {{ decode_option('leadsourcecode', 'lead', 'leadsourcecode') }} as lead_source,
        {{ decode_option('statuscode', 'lead', 'statuscode') }} as status,
        createdon as created_at,
        modifiedon as updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

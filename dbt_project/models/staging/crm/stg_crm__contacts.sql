with source_rows as (
    select * from {{ source('raw_crm', 'contacts') }}
),

option_labels as (
    select * from {{ ref('stg_crm__option_labels') }}
),

renamed as (
    select
        -- keys
        {{ record_id('crm', 'contact', 'contactid') }} as record_id,
        contactid as contact_id,
        {{ record_id('crm', 'account', 'parentcustomerid') }} as company_record_id,
        {{ record_id('crm', 'contact', 'cdp_guardianid') }} as guardian_record_id,
        {{ clean_text('cdp_loyaltynumber') }} as loyalty_number,

        -- name
        {{ clean_text('firstname') }} as first_name,
        {{ clean_text('cdp_initials') }} as initials,
        {{ clean_text('middlename') }} as infix,
        {{ clean_text('lastname') }} as last_name,
        {{ clean_text('cdp_maidenname') }} as maiden_name,

        -- person
        {{ decode_option('gendercode', 'contact', 'gendercode') }} as gender_label,
        cast(birthdate as date) as birth_date,
        {{ decode_option(
            'preferredcontactmethodcode', 'contact', 'preferredcontactmethodcode'
        ) }} as preferred_contact_method,
        {{ clean_text('cdp_favouritecategory') }} as favourite_category,

        -- contact
        {{ clean_text('emailaddress1') }} as email,
        {{ clean_text('telephone1') }} as phone,
        {{ clean_text('mobilephone') }} as mobile_phone,
        {{ clean_text('address1_line1') }} as address_line,
        {{ clean_text('address1_postalcode') }} as postal_code,
        {{ clean_text('address1_city') }} as city,
        {{ clean_text('address1_country') }} as country_name,

        -- consent
        donotemail as is_email_denied,
        donotphone as is_phone_denied,
        donotpostalmail as is_postal_denied,
        cast(cdp_consentdate as date) as consent_date,

        -- state
        {{ decode_option('statecode', 'contact', 'statecode') }} as state_label,
        coalesce(statecode, 0) = 0 as is_active,
        createdon as created_at,
        modifiedon as updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

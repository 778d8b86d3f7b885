with companies as (
    select * from {{ ref('int_companies__unioned') }}
),

located as (
    select
        *,
        coalesce(country_code, {{ default_country() }}) as known_country_code
    from companies
),

linkage_companies as (
    select
        record_id,
        source,
        {{ std_company_name('name') }} as name_std,
        lpad({{ std_code('kvk_number') }}, 8, '0') as kvk_number_std,
        {{ std_code('vat_number') }} as vat_number_std,
        {{ std_email('email') }} as email_std,
        {{ std_phone('phone', 'known_country_code') }} as phone_std,
        {{ std_street(fold_text('street')) }} as street_std,
        {{ std_house_number('house_number') }} as house_number_std,
        {{ std_house_number_suffix('house_number', 'house_number_suffix') }} as house_number_suffix_std,
        {{ std_postal_code('postal_code', 'known_country_code') }} as postal_code_std,
        {{ std_city(fold_text('city')) }} as city_std,
        known_country_code as country_code,
        updated_at
    from located
)

select * from linkage_companies

with companies as (
    select * from {{ ref('int_companies__unioned') }}
),

folded as (
    select
        *,
        {{ fold_text('name') }} as folded_name,
        {{ fold_text('street') }} as folded_street,
        {{ fold_text('city') }} as folded_city,
        {{ phone_digits('phone') }} as phone_digits,
        coalesce(country_code, {{ default_country() }}) as known_country_code
    from companies
),

located as (
    select
        *,
        {{ calling_code('known_country_code') }} as calling_code
    from folded
),

numbered as (
    select
        *,
        {{ phone_international('phone_digits', 'calling_code') }} as phone_international
    from located
),

linkage_companies as (
    select
        record_id,
        source,
        {{ std_company_name('folded_name') }} as name_std,
        {{ std_kvk_number('kvk_number') }} as kvk_number_std,
        {{ std_vat_number('vat_number') }} as vat_number_std,
        {{ std_email('email') }} as email_std,
        {{ e164('phone_international') }} as phone_std,
        {{ std_street('folded_street') }} as street_std,
        {{ std_house_number('house_number') }} as house_number_std,
        {{ std_house_number_suffix('house_number', 'house_number_suffix') }} as house_number_suffix_std,
        {{ std_postal_code('postal_code', 'known_country_code') }} as postal_code_std,
        {{ std_city('folded_city') }} as city_std,
        known_country_code as country_code,
        updated_at
    from numbered
)

select * from linkage_companies

with

companies as (

    select * from {{ ref('int_companies__unioned') }}

),

selected as (

    select
        record_id as company_id,
        source,
        source_key,
        name,
        kvk_number,
        vat_number,
        email,
        phone,
        street,
        house_number,
        house_number_suffix,
        postal_code,
        city,
        country_code,
        updated_at
    from companies

)

select * from selected

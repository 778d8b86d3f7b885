{{ config(materialized='table') }}

with persons as (
    select * from {{ ref('int_persons__unioned') }}
),

standardised as (
    {{ standardise_persons('persons', today=business_date(), country=default_country()) }}
),

linkage_records as (
    select
        -- the record
        persons.record_id,
        persons.source,
        persons.entity,

        -- name
        standardised.first_name_std,
        standardised.initials_std,
        standardised.infix_std,
        standardised.last_name_std,
        standardised.maiden_name_std,
        standardised.full_name_std,

        -- person
        persons.gender,
        standardised.birth_date_std as birth_date,
        persons.birth_date as birth_date_raw,

        -- contact
        standardised.email_std,
        standardised.phone_std,
        standardised.mobile_phone_std,

        -- address
        standardised.street_std,
        standardised.house_number_std,
        standardised.house_number_suffix_std,
        standardised.postal_code_std,
        standardised.city_std,
        standardised.country_code,

        -- links that need no scoring
        standardised.loyalty_number_std,
        'loyalty:' || standardised.loyalty_number_std as deterministic_key,
        persons.linked_record_id,
        persons.company_record_id,

        -- a child as of the run; with an unusable birth date a guardian tells
        coalesce(
            standardised.birth_date_std > {{ business_date() }} - interval '18' year,
            persons.guardian_record_id is not null
        ) as is_minor,
        persons.updated_at
    from persons
    inner join standardised
        on persons.record_id = standardised.record_id
)

select * from linkage_records

{{ config(materialized='table') }}

with persons as (
    select * from {{ ref('int_persons__unioned') }}
),

standardised as (
    {{ standardise_persons(
        'persons',
        today=business_date(),
        country=default_country(),
        keep=[
            'record_id', 'source', 'entity', 'gender', 'birth_date', 'linked_record_id', 'company_record_id',
            'guardian_record_id', 'updated_at',
        ]
    ) }}
),

linkage_records as (
    select
        -- the record
        record_id,
        source,
        entity,

        -- name
        first_name_std,
        initials_std,
        infix_std,
        last_name_std,
        maiden_name_std,
        full_name_std,

        -- person
        gender,
        birth_date_std as birth_date,
        birth_date as birth_date_raw,

        -- contact
        email_std,
        phone_std,
        mobile_phone_std,

        -- address
        street_std,
        house_number_std,
        house_number_suffix_std,
        postal_code_std,
        city_std,
        country_code,

        -- links that need no scoring
        loyalty_number_std,
        'loyalty:' || loyalty_number_std as deterministic_key,
        linked_record_id,
        company_record_id,

        -- a child as of the run; with an unusable birth date a guardian tells
        coalesce(
            birth_date_std > {{ business_date() }} - interval '18' year,
            guardian_record_id is not null
        ) as is_minor,
        updated_at
    from standardised
)

select * from linkage_records

{{ config(materialized='table') }}

with persons as (
    select * from {{ ref('int_persons__unioned') }}
),

linkage_records as (
    select * from {{ ref('int_linkage_records') }}
),

other_addresses as (
    select * from {{ ref('int_addresses__unioned') }}
),

emails as (
    select
        persons.record_id || ':email' as contact_point_id,
        persons.record_id,
        persons.source,
        'email' as channel,
        persons.email as value,
        linkage_records.email_std as value_std,
        true as is_primary,
        persons.updated_at
    from persons
    inner join linkage_records
        on persons.record_id = linkage_records.record_id
    where linkage_records.email_std is not null
),

mobile_phones as (
    select
        persons.record_id || ':mobile' as contact_point_id,
        persons.record_id,
        persons.source,
        'phone' as channel,
        -- the only number a source has may be a mobile one
        coalesce(persons.mobile_phone, persons.phone) as value,
        linkage_records.mobile_phone_std as value_std,
        true as is_primary,
        persons.updated_at
    from persons
    inner join linkage_records
        on persons.record_id = linkage_records.record_id
    where linkage_records.mobile_phone_std is not null
),

phones as (
    select
        persons.record_id || ':phone' as contact_point_id,
        persons.record_id,
        persons.source,
        'phone' as channel,
        persons.phone as value,
        linkage_records.phone_std as value_std,
        linkage_records.mobile_phone_std is null as is_primary,
        persons.updated_at
    from persons
    inner join linkage_records
        on persons.record_id = linkage_records.record_id
    where
        linkage_records.phone_std is not null
        and linkage_records.phone_std is distinct from linkage_records.mobile_phone_std
),

addresses as (
    select
        persons.record_id || ':postal' as contact_point_id,
        persons.record_id,
        persons.source,
        'postal' as channel,
        {{ address_text('persons') }} as value,
        {{ address_key(
            'linkage_records.postal_code_std', 'linkage_records.house_number_std',
            'linkage_records.house_number_suffix_std'
        ) }} as value_std,
        true as is_primary,
        persons.updated_at
    from persons
    inner join linkage_records
        on persons.record_id = linkage_records.record_id
    where
        linkage_records.postal_code_std is not null
        and linkage_records.house_number_std is not null
),

located_other_addresses as (
    select
        *,
        coalesce(country_code, {{ default_country() }}) as known_country_code
    from other_addresses
    where not is_primary
),

other_addresses_standardised as (
    select
        contact_point_id,
        record_id,
        source,
        'postal' as channel,
        {{ address_text() }} as value,
        {{ address_key(
            std_postal_code('postal_code', 'known_country_code'), std_house_number('house_number'),
            std_house_number_suffix('house_number', 'house_number_suffix')
        ) }} as value_std,
        false as is_primary,
        updated_at
    from located_other_addresses
),

-- an address that a record has twice is one contact point
other_addresses_once as (
    select other_addresses_standardised.*
    from other_addresses_standardised
    left join addresses
        on other_addresses_standardised.record_id = addresses.record_id
        and other_addresses_standardised.value_std = addresses.value_std
    where other_addresses_standardised.value_std is not null and addresses.record_id is null
),

other_addresses_ranked as (
    select
        *,
        row_number() over (
            partition by record_id, value_std
            order by updated_at desc, contact_point_id desc
        ) as value_rank
    from other_addresses_once
),

unioned as (
    select * from emails
    union all
    select * from mobile_phones
    union all
    select * from phones
    union all
    select * from addresses
    union all
    select
        contact_point_id,
        record_id,
        source,
        channel,
        value,
        value_std,
        is_primary,
        updated_at
    from other_addresses_ranked
    where value_rank = 1
)

select * from unioned

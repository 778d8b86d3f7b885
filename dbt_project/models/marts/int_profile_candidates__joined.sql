{{ config(access='protected') }}

with

persons as (

    select * from {{ ref('int_persons__unioned') }}

),

linkage_records as (

    select * from {{ ref('int_linkage_records') }}

),

company_records as (

    select * from {{ ref('bridge_company_records') }}

),

companies as (

    select * from {{ ref('dim_companies') }}

),

profile_records as (

    select * from {{ source('identity', 'profile_records') }}

),

-- A contact point of many profiles (info@, an office line, 0612345678) is nobody's own.
contact_points_used as (

    select
        profile_records.profile_id,
        linkage_records.email_std as value_std
    from linkage_records
    inner join profile_records on linkage_records.record_id = profile_records.record_id
    where linkage_records.email_std is not null

    union all

    select
        profile_records.profile_id,
        linkage_records.phone_std as value_std
    from linkage_records
    inner join profile_records on linkage_records.record_id = profile_records.record_id
    where linkage_records.phone_std is not null

    union all

    select
        profile_records.profile_id,
        linkage_records.mobile_phone_std as value_std
    from linkage_records
    inner join profile_records on linkage_records.record_id = profile_records.record_id
    where linkage_records.mobile_phone_std is not null

),

shared_values as (

    select value_std
    from contact_points_used
    group by value_std
    having count(distinct profile_id) >= {{ var('shared_contact_point_profiles') }}

),

joined as (

    select

        ---- the record and its profile
        profile_records.profile_id,
        persons.record_id,
        persons.source,
        persons.entity,
        coalesce(
            persons.updated_at, persons.created_at, timestamp '1900-01-01'
        ) as updated_at,

        ---- values as their source has them; an empty text says nothing
        {%- for field in standard_profile_fields()
            if field not in ('email', 'birth_date', 'company_id', 'company_name') %}
        nullif(trim(persons.{{ field }}), '') as {{ field }},
        {%- endfor %}
        -- `onbekend@…` says nothing either
        case
            when {{ is_placeholder_mailbox('persons.email') }} then null
            else nullif(trim(persons.email), '')
        end as email,
        persons.birth_date,

        ---- the company as all its records together know it
        companies.company_id,
        companies.name as company_name,

        ---- how values are compared
        linkage_records.first_name_std,
        linkage_records.last_name_std,
        linkage_records.email_std,
        linkage_records.phone_std,
        linkage_records.mobile_phone_std,

        ---- values of last resort: golden only where nothing better is known
        coalesce(
            length(replace(trim(persons.first_name), '.', '')) <= 1 or persons.first_name like '%.%', false
        ) as is_first_name_initials,
        persons.birth_date is not null and linkage_records.birth_date is null
            as is_birth_date_doubtful,
        coalesce(persons.street, '') = '' or coalesce(persons.postal_code, '') = ''
            as is_address_incomplete,
        shared_emails.value_std is not null as is_email_doubtful,
        shared_phones.value_std is not null as is_phone_doubtful,
        shared_mobile_phones.value_std is not null as is_mobile_phone_doubtful

    from persons
    inner join profile_records on persons.record_id = profile_records.record_id
    left join linkage_records on persons.record_id = linkage_records.record_id
    left join company_records on persons.company_record_id = company_records.record_id
    left join companies on company_records.company_id = companies.company_id
    left join shared_values as shared_emails
        on linkage_records.email_std = shared_emails.value_std
    left join shared_values as shared_phones
        on linkage_records.phone_std = shared_phones.value_std
    left join shared_values as shared_mobile_phones
        on linkage_records.mobile_phone_std = shared_mobile_phones.value_std

)

select * from joined

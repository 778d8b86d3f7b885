with

golden_values as (

    select * from {{ ref('dim_profile_values') }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

persons as (

    select * from {{ ref('int_persons__unioned') }}

),

linkage_records as (

    select * from {{ ref('int_linkage_records') }}

),

profile_sources as (

    select distinct
        profile_id,
        source
    from profile_records

),

household_members as (

    select
        profile_id,
        household_id,
        cast(count(*) over (partition by household_id) as integer) as member_count
    from {{ ref('bridge_profile_households') }}

),

source_lists as (

    select
        profile_id,
        string_agg(source, ', ' order by source) as sources
    from profile_sources
    group by profile_id

),

-- One record that says so is enough: leaving an adult out costs a message, writing to a child breaks a promise.
record_measures as (

    select
        profile_records.profile_id,
        cast(count(*) as integer) as record_count,
        coalesce(bool_or(linkage_records.is_minor), false) as is_minor,
        min(persons.created_at) as first_seen_at,
        max(persons.updated_at) as last_updated_at
    from profile_records
    inner join persons on profile_records.record_id = persons.record_id
    left join linkage_records on profile_records.record_id = linkage_records.record_id
    group by profile_records.profile_id

),

pivoted as (

    select
        profile_id,
        {%- for field in standard_profile_fields() if field != 'birth_date' %}
        max(case when field = '{{ field }}' then value end) as {{ field }},
        {%- endfor %}
        {%- for carried in carried_columns() %}
        cast(max(case when field = '{{ carried.name }}' then value end) as {{ carried.get('data_type', 'varchar') }})
            as {{ carried.name }},
        {%- endfor %}
        cast(max(case when field = 'birth_date' then value end) as date) as birth_date
    from golden_values
    group by profile_id

),

profiles as (

    select
        record_measures.profile_id,

        ---- name
        pivoted.first_name,
        pivoted.initials,
        pivoted.infix,
        pivoted.last_name,
        pivoted.maiden_name,
        nullif(
            concat_ws(
                ' ', coalesce(pivoted.first_name, pivoted.initials), pivoted.infix, pivoted.last_name
            ), ''
        ) as full_name,

        ---- person
        pivoted.gender,
        pivoted.birth_date,
        record_measures.is_minor,

        ---- contact points
        pivoted.email,
        pivoted.phone,
        pivoted.mobile_phone,

        ---- address, always of one record
        pivoted.street,
        pivoted.house_number,
        pivoted.house_number_suffix,
        pivoted.postal_code,
        pivoted.city,
        pivoted.country_code,

        ---- relations
        pivoted.loyalty_number,
        pivoted.company_id,
        pivoted.company_name,
        household_members.household_id,
        coalesce(household_members.member_count, 1) as household_member_count,

        ---- carried from one source, see vars: carried_columns
        {%- for carried in carried_columns() %}
        pivoted.{{ carried.name }},
        {%- endfor %}

        ---- records
        record_measures.record_count,
        source_lists.sources,
        record_measures.first_seen_at,
        record_measures.last_updated_at

    from record_measures
    left join pivoted on record_measures.profile_id = pivoted.profile_id
    left join source_lists on record_measures.profile_id = source_lists.profile_id
    left join household_members on record_measures.profile_id = household_members.profile_id

)

select * from profiles

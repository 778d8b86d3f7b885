{%- set texts = ['name', 'email', 'phone'] -%}
{%- set details = ['name', 'kvk_number', 'vat_number', 'email', 'phone'] -%}
{%- set address = ['street', 'house_number', 'house_number_suffix', 'postal_code', 'city', 'country_code'] -%}

with

companies as (

    select * from {{ ref('int_companies__unioned') }}

),

company_records as (

    select * from {{ ref('bridge_company_records') }}

),

records as (

    select
        company_records.company_id,
        company_records.source,
        companies.updated_at,
        {%- for field in texts + address %}
        nullif(trim(companies.{{ field }}), '') as {{ field }},
        {%- endfor %}
        -- a branch has its own number, and is its company
        {{ std_kvk_number('companies.kvk_number') }} as kvk_number,
        {{ std_vat_number('companies.vat_number') }} as vat_number,
        companies.record_id
    from company_records
    inner join companies on company_records.record_id = companies.record_id

),

-- The newest record that says something says it for all; half an address only where nobody knows more.
ranked as (

    select
        *,
        row_number() over (
            partition by company_id
            order by updated_at asc nulls first, record_id desc
        ) as newness,
        row_number() over (
            partition by company_id
            order by
                (street is not null and postal_code is not null) asc, updated_at asc nulls first, record_id desc
        ) as address_newness
    from records

),

source_lists as (

    select
        company_id,
        string_agg(source, ', ' order by source) as sources
    from (select distinct company_id, source from records) as company_sources
    group by company_id

),

golden as (

    select
        company_id,
        {%- for field in details %}
        max_by({{ field }}, newness) filter (where {{ field }} is not null) as {{ field }},
        {%- endfor %}
        max(address_newness) as address_newness,
        cast(count(*) as integer) as record_count,
        max(updated_at) as last_updated_at
    from ranked
    group by company_id

),

-- An address is always that of one record.
joined as (

    select
        golden.company_id,
        {%- for field in details %}
        golden.{{ field }},
        {%- endfor %}
        {%- for field in address %}
        ranked.{{ field }},
        {%- endfor %}
        golden.record_count,
        source_lists.sources,
        golden.last_updated_at
    from golden
    inner join ranked
        on golden.company_id = ranked.company_id and golden.address_newness = ranked.address_newness
    inner join source_lists on golden.company_id = source_lists.company_id

)

select * from joined

{%- set units = survivorship_units() -%}
{%- set carried_units = carried_survivorship_units() -%}

with

candidates as (

    select * from {{ ref('int_profile_candidates__joined') }}

),

carried_values as (

    select * from {{ ref('int_carried_values__unioned') }}

),

carried_candidates as (

    select
        candidates.profile_id,
        candidates.record_id,
        candidates.source,
        candidates.entity,
        candidates.updated_at,
        carried_values.field,
        nullif(trim(carried_values.value), '') as value
    from carried_values
    inner join candidates on carried_values.record_id = candidates.record_id

),

{% for unit in units %}
chosen_{{ unit.name }} as (

    {{ chosen_records(unit, 'candidates', {}) }}

),

{% endfor -%}
{% for unit in carried_units %}
chosen_{{ unit.name }} as (

    {{ chosen_records(unit, 'carried_candidates', {unit.name: 'value'}, "field = '" ~ unit.name ~ "'") }}

),

{% endfor -%}
golden_values as (
    {% for unit in units + carried_units %}
    {{ golden_values_of(unit, 'chosen_' ~ unit.name) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

-- A tab or a line break that somebody pasted along is a space; a published value is one line of text.
cleaned as (

    select
        profile_id,
        field,
        trim({{ regex_replace('value', '[\\x00-\\x1f\\x7f]+', ' ') }}) as value,
        source,
        record_id,
        updated_at,
        rule
    from golden_values

),

keyed as (

    select
        profile_id || ':' || field as profile_value_id,
        profile_id,
        field,
        value,
        source,
        record_id,
        updated_at,
        rule
    from cleaned
    where value <> ''

)

select * from keyed

{#
    Survivorship: which record gives a profile each of its golden values.

    Belongs here: reading `vars: survivorship` and `vars: carried_columns`, and turning them into SQL.
    Does not: which candidates exist (`int_profile_candidates__joined`), and what the values mean.

    vars: survivorship -> survivorship_units() -> golden_values() -> dim_profile_values -> dim_profiles

    A *unit* is what moves together: one field, or a group of fields (an address) that is always taken from
    one record. Per unit and profile the candidates are put in order and the first one wins:

        1. values of last resort (initials for a name, a default date, a junk mailbox) after all others
        2. the unit's rule
        3. ties: source rank, then newest, then record id, so that the same input always gives the same answer
#}

{% macro survivorship_rules() %}
    {{ return(['source_priority', 'most_recent', 'least_recent', 'most_frequent', 'most_complete']) }}
{% endmacro %}

{#- The golden fields that every installation has, with the columns of the candidates that hold them. -#}
{% macro standard_profile_fields() %}
    {{ return([
        'first_name', 'initials', 'infix', 'last_name', 'maiden_name', 'gender', 'birth_date',
        'email', 'phone', 'mobile_phone',
        'street', 'house_number', 'house_number_suffix', 'postal_code', 'city', 'country_code',
        'loyalty_number', 'company_id', 'company_name',
    ]) }}
{% endmacro %}

{% macro carried_columns() %}
    {{ return(var('carried_columns', [])) }}
{% endmacro %}

{#- What a unit says about itself, checked: a typing error in the configuration is found before any SQL runs. -#}
{% macro survivorship_unit(name, given, fields) %}
    {% set defaults = var('survivorship').get('defaults', {}) %}
    {% set unit = {
        'name': name,
        'fields': fields,
        'rule': given.get('rule', defaults.get('rule', 'source_priority')),
        'priority': given.get('priority', defaults.get('priority', [])),
        'ignore_empty': given.get('ignore_empty', defaults.get('ignore_empty', true)),
        'filled_by': given.get('filled_by', fields),
        'compare_as': given.get('compare_as'),
        'last_resort_when': given.get('last_resort_when'),
    } %}
    {% set known = ['rule', 'priority', 'ignore_empty', 'fields', 'filled_by', 'compare_as', 'last_resort_when'] %}
    {% for key in given if key not in known %}
        {% do exceptions.raise_compiler_error(
            "dbt_project.yml, vars: survivorship: '" ~ name ~ "' has an unknown setting '" ~ key
            ~ "'. Expected one of: " ~ known | join(', ')
        ) %}
    {% endfor %}
    {% if unit.rule not in survivorship_rules() %}
        {% do exceptions.raise_compiler_error(
            "dbt_project.yml, vars: survivorship: '" ~ name ~ "' has the unknown rule '" ~ unit.rule
            ~ "'. Expected one of: " ~ survivorship_rules() | join(', ')
        ) %}
    {% endif %}
    {% for field in unit.filled_by if field not in fields %}
        {% do exceptions.raise_compiler_error(
            "dbt_project.yml, vars: survivorship: '" ~ name ~ "' is filled_by '" ~ field
            ~ "', which is not one of its fields: " ~ fields | join(', ')
        ) %}
    {% endfor %}
    {{ return(unit) }}
{% endmacro %}

{% macro survivorship_units() %}
    {% set given = var('survivorship') %}
    {% set units = [] %}
    {% set placed = [] %}
    {% for name, group in given.get('groups', {}).items() %}
        {% do units.append(survivorship_unit(name, group, group.get('fields', []))) %}
        {% do placed.extend(group.get('fields', [])) %}
    {% endfor %}
    {% for field, settings in given.get('fields', {}).items() %}
        {% do units.append(survivorship_unit(field, settings or {}, [field])) %}
        {% do placed.append(field) %}
    {% endfor %}
    {% for field in placed %}
        {% if field not in standard_profile_fields() %}
            {% do exceptions.raise_compiler_error(
                "dbt_project.yml, vars: survivorship: there is no golden field '" ~ field
                ~ "'. Expected one of: " ~ standard_profile_fields() | join(', ')
                ~ ". A column of one source only belongs in vars: carried_columns."
            ) %}
        {% elif placed.count(field) > 1 %}
            {% do exceptions.raise_compiler_error(
                "dbt_project.yml, vars: survivorship: the field '" ~ field
                ~ "' is decided more than once. A field belongs to one group or has one rule of its own."
            ) %}
        {% endif %}
    {% endfor %}
    {#- A field that nobody configured follows the defaults, so that it never silently disappears. -#}
    {% for field in standard_profile_fields() if field not in placed %}
        {% do units.append(survivorship_unit(field, {}, [field])) %}
    {% endfor %}
    {{ return(units) }}
{% endmacro %}

{% macro carried_survivorship_units() %}
    {% set units = [] %}
    {% for carried in carried_columns() %}
        {% set given = {} %}
        {% for key in ['rule', 'priority', 'ignore_empty'] if key in carried %}
            {% do given.update({key: carried[key]}) %}
        {% endfor %}
        {% do units.append(survivorship_unit(carried.name, given, [carried.name])) %}
    {% endfor %}
    {{ return(units) }}
{% endmacro %}

{#- Rank of a record's source: its place in the list. `crm.lead` names one entity of a source, `crm` all of them. -#}
{% macro source_rank(priority) -%}
    {%- if not priority -%}
        0
    {%- else -%}
        case
            {%- for name in priority if '.' in name %}
            when source || '.' || entity = '{{ name }}' then {{ priority.index(name) }}
            {%- endfor %}
            {%- for name in priority if '.' not in name %}
            when source = '{{ name }}' then {{ priority.index(name) }}
            {%- endfor %}
            else {{ priority | length }}
        end
    {%- endif -%}
{%- endmacro %}

{#- The order in which a unit's candidates are considered; the first one wins. -#}
{% macro survivorship_order(unit) -%}
    {%- if unit.last_resort_when %}
                {{ unit.last_resort_when }},
    {%- endif %}
    {%- if unit.rule == 'most_recent' %}
                updated_at desc,
    {%- elif unit.rule == 'least_recent' %}
                updated_at,
    {%- elif unit.rule == 'most_frequent' %}
                times_seen desc,
    {%- elif unit.rule == 'most_complete' %}
                completeness desc,
    {%- endif %}
                {{ source_rank(unit.priority) }},
                updated_at desc,
                record_id
{%- endmacro %}

{#-
    One row per profile: the record whose values win for this unit, with those values.
    `value` maps a field to the expression that holds it; `condition` limits the candidates.
-#}
{% macro chosen_records(unit, relation, value, condition=none) -%}
    select
        profile_id,
        record_id,
        source,
        updated_at,
        {%- for field in unit.fields %}
        {{ field }}{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            row_number() over (
                partition by profile_id
                order by {{ survivorship_order(unit) }}
            ) as choice_number
        from (
            select
                profile_id,
                record_id,
                source,
                entity,
                updated_at,
                {%- if unit.last_resort_when %}
                {{ unit.last_resort_when }},
                {%- endif %}
                {%- if unit.rule == 'most_frequent' %}
                {#- A spelling is counted in its standardised form, and published as somebody wrote it. #}
                count(*) over (
                    partition by
                        profile_id,
                        {%- for field in unit.filled_by %}
                        {%- set as_written = "lower(trim(cast(" ~ value.get(field, field) ~ " as varchar)))" %}
                        {{ unit.compare_as or as_written }}{{ ',' if not loop.last }}
                        {%- endfor %}
                ) as times_seen,
                {%- elif unit.rule == 'most_complete' %}
                {%- if unit.fields | length == 1 %}
                coalesce(length(trim(cast({{ value.get(unit.name, unit.name) }} as varchar))), 0) as completeness,
                {%- else %}
                {%- for field in unit.fields %}
                case when {{ value.get(field, field) }} is null then 0 else 1 end{{ ' +' if not loop.last }}
                {%- endfor %} as completeness,
                {%- endif %}
                {%- endif %}
                {%- for field in unit.fields %}
                {{ value.get(field, field) }} as {{ field }}{{ ',' if not loop.last }}
                {%- endfor %}
            from {{ relation }}
            where
                {{ condition or 'true' }}
                {%- if unit.ignore_empty %}
                and (
                    {%- for field in unit.filled_by %}
                    {{ value.get(field, field) }} is not null{{ ' or' if not loop.last }}
                    {%- endfor %}
                )
                {%- endif %}
        ) as candidates
    ) as ordered_candidates
    where choice_number = 1
{%- endmacro %}

{#- The same, one row per profile and field. -#}
{% macro golden_values_of(unit, chosen) -%}
    {%- for field in unit.fields %}
    select
        profile_id,
        '{{ field }}' as field,
        cast({{ field }} as varchar) as value,
        source,
        record_id,
        updated_at,
        '{{ unit.rule }}' as rule
    from {{ chosen }}
    where {{ field }} is not null
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

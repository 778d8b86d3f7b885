{#
    From a segment to an audience that may be sent.

    Belongs here: the check of an audience's `meta`, and the table `activation.audience_<name>` made from it.
    Does not: who belongs in it (`models/segments/seg_<name>.sql`), and sending.

    segments.seg_<name> + dim_contact_points + dim_profiles + profile_measures -> activation.audience_<name>

    The audience's author writes neither consent nor columns: a member is in the audience only with a contact
    point of the channel that may be used for the purpose, children are never in a commercial one, and a contact
    point that several members share is in it once.
#}

{#- What the columns of an audience may come from: the contact point that may be used, or the golden profile. -#}
{% macro audience_contact_columns() %}
    {{ return({'email': 'email', 'phone': 'phone'}) }}
{% endmacro %}

{% macro audience_relation(name) %}
    {{ return(api.Relation.create(
        database=target.database, schema='activation', identifier='audience_' ~ name, type='table'
    )) }}
{% endmacro %}

{% macro raise_audience_error(problem, expected) %}
    {% do exceptions.raise_compiler_error(
        model.original_file_path ~ ": " ~ problem ~ "\n  Expected: " ~ expected
    ) %}
{% endmacro %}

{#- The columns without which nobody can be reached over a channel. -#}
{% macro audience_needed_columns() %}
    {{ return({'email': ['email'], 'phone': ['phone'], 'postal': ['street', 'postal_code']}) }}
{% endmacro %}

{#- The audience's `meta`, checked. -#}
{% macro audience_settings() %}
    {% set meta = model.config.meta %}
    {% set destinations = var('approved_columns') %}
    {% set expected = {
        'owner': 'who answers for the audience, as in meta={"owner": "marketing"}',
        'purpose': 'one of ' ~ consent_purposes() | join(', '),
        'channel': 'one of ' ~ var('consent_defaults').values() | map('list') | sum(start=[]) | unique | join(', '),
        'destination': 'one of ' ~ destinations.keys() | join(', '),
        'columns': 'a list of columns that the destination may receive',
    } %}
    {% if not model.name.startswith('seg_') %}
        {% do raise_audience_error(
            "the model is not named as an audience", "a file models/segments/seg_<audience>.sql"
        ) %}
    {% endif %}
    {% for key, meaning in expected.items() if not meta.get(key) %}
        {% do raise_audience_error("meta has no '" ~ key ~ "'", key ~ ': ' ~ meaning) %}
    {% endfor %}
    {% if meta.purpose not in var('consent_defaults') %}
        {% do raise_audience_error("unknown purpose '" ~ meta.purpose ~ "' in meta", expected.purpose) %}
    {% elif meta.channel not in var('consent_defaults')[meta.purpose] %}
        {% do raise_audience_error("unknown channel '" ~ meta.channel ~ "' in meta", expected.channel) %}
    {% elif meta.destination not in destinations %}
        {% do raise_audience_error("unknown destination '" ~ meta.destination ~ "' in meta", expected.destination) %}
    {% elif meta.columns is string or meta.columns is mapping %}
        {% do raise_audience_error("meta.columns is not a list", expected.columns) %}
    {% endif %}
    {% for column in meta.columns if column not in destinations[meta.destination] %}
        {% do raise_audience_error(
            "the column '" ~ column ~ "' is not approved for the destination '" ~ meta.destination ~ "'",
            'any of ' ~ destinations[meta.destination] | join(', ')
            ~ ' (vars: approved_columns in dbt_project.yml)'
        ) %}
    {% endfor %}
    {% for column in audience_needed_columns().get(meta.channel, []) if column not in meta.columns %}
        {% do raise_audience_error(
            "meta.columns lacks '" ~ column ~ "', so nobody could be reached over the channel '"
            ~ meta.channel ~ "'",
            audience_needed_columns()[meta.channel] | join(', ') ~ ' among the columns'
        ) %}
    {% endfor %}
    {{ return(meta) }}
{% endmacro %}

{#- Where an approved column comes from, as SQL. -#}
{% macro audience_column(column, profile_columns, measure_columns) %}
    {% if column in audience_contact_columns() %}
        {{ return('usable_' ~ column ~ '.value_std') }}
    {% elif column in profile_columns %}
        {{ return('profiles.' ~ column) }}
    {% elif column in measure_columns %}
        {{ return('profile_measures.' ~ column) }}
    {% endif %}
    {% do raise_audience_error(
        "the column '" ~ column ~ "' is approved, but exists neither in dim_profiles nor in profile_measures",
        'any of ' ~ (audience_contact_columns().keys() | list + profile_columns + measure_columns) | join(', ')
    ) %}
{% endmacro %}

{#- The post-hook of models/segments. dbt collects what it refers to while parsing, so the refs come first. -#}
{% macro shape_audience() %}
    {%- set contact_points = ref('dim_contact_points') -%}
    {%- set profiles = ref('dim_profiles') -%}
    {%- set measures = ref('profile_measures') -%}
    {%- if execute -%}
        {%- set settings = audience_settings() -%}
        {%- set name = model.name | replace('seg_', '', 1) -%}
        {%- set relation = audience_relation(name) -%}
        {%- do adapter.create_schema(relation) -%}
        {%- set profile_columns = adapter.get_columns_in_relation(profiles) | map(attribute='name') | list -%}
        {%- set measure_columns = adapter.get_columns_in_relation(measures) | map(attribute='name') | list -%}
        create or replace table {{ relation }} as (
            {{ shaped_audience(
                this, contact_points, profiles, measures, settings, profile_columns, measure_columns
            ) }}
        )
    {%- endif -%}
{% endmacro %}

{#- The audience itself: one row per contact point, with the approved columns and nothing else. -#}
{% macro shaped_audience(
    segment, contact_points, profiles, measures, settings, profile_columns, measure_columns
) -%}
    with

    members as (

        select distinct profile_id from {{ segment }}

    ),

    -- Letters go to the address in the golden profile; a message may go to any mailbox or number that may be used.
    usable_points as (

        select
            *,
            row_number() over (
                partition by profile_id, channel
                order by is_primary desc, last_updated_at desc, contact_point_key
            ) as preference
        from {{ contact_points }}
        where is_{{ settings.purpose }}_allowed and (channel <> 'postal' or is_primary)

    ),
    {% for column, channel in audience_contact_columns().items() %}
    usable_{{ column }} as (

        select * from usable_points
        where channel = '{{ channel }}' and preference = 1

    ),
    {% endfor %}
    reachable_members as (

        select
            members.profile_id,
            usable_points.contact_point_key,
            -- Of several people behind one contact point it is addressed to one whose own it is.
            row_number() over (
                partition by usable_points.contact_point_key
                order by usable_points.is_primary desc, usable_points.last_updated_at desc, members.profile_id
            ) as place
        from members
        inner join usable_points
            on members.profile_id = usable_points.profile_id and usable_points.preference = 1
        inner join {{ profiles }} as profiles on members.profile_id = profiles.profile_id
        where
            usable_points.channel = '{{ settings.channel }}'
            {%- if settings.purpose == 'commercial' %}
            and not profiles.is_minor
            {%- endif %}
            {%- if settings.channel == 'postal' %}
            and profiles.street is not null
            and profiles.house_number is not null
            and profiles.postal_code is not null
            {%- endif %}

    ),

    shaped as (

        select
            reachable_members.contact_point_key,
            reachable_members.profile_id,
            {%- for column in settings.columns %}
            {{ audience_column(column, profile_columns, measure_columns) }} as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from reachable_members
        inner join {{ profiles }} as profiles on reachable_members.profile_id = profiles.profile_id
        inner join {{ measures }} as profile_measures
            on reachable_members.profile_id = profile_measures.profile_id
        {%- for column in audience_contact_columns() %}
        left join usable_{{ column }} on reachable_members.profile_id = usable_{{ column }}.profile_id
        {%- endfor %}
        where reachable_members.place = 1

    )

    select * from shaped
{%- endmacro %}

{#-
    The members of all shaped audiences. A model that reads this runs after the hooks that shape them, since a hook
    belongs to its segment; what an audience is for is read from its segment's `meta`.
-#}
{% macro shaped_audience_members() -%}
    {%- for name in audience_names() %}
    {%- set segment = ref('seg_' ~ name) %}
    {%- set meta = audience_meta(name) %}
    select
        '{{ name }}' as audience,
        '{{ meta.purpose }}' as purpose,
        '{{ meta.channel }}' as channel,
        '{{ meta.destination }}' as destination,
        profile_id,
        contact_point_key
    from {{ audience_relation(name) }}
    {{ 'union all' if not loop.last }}
    {%- else %}
    select
        cast(null as varchar) as audience,
        cast(null as varchar) as purpose,
        cast(null as varchar) as channel,
        cast(null as varchar) as destination,
        cast(null as varchar) as profile_id,
        cast(null as varchar) as contact_point_key
    where false
    {%- endfor %}
{%- endmacro %}

{#- The `meta` of an audience, once dbt knows all models; before that (while parsing) nothing. -#}
{% macro audience_meta(name) %}
    {% if execute %}
        {% for node in graph.nodes.values() if node.name == 'seg_' ~ name and node.resource_type == 'model' %}
            {{ return(node.config.meta) }}
        {% endfor %}
    {% endif %}
    {{ return({}) }}
{% endmacro %}

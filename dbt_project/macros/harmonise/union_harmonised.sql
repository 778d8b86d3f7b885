{#-
    All sources of one entity of the standard model. The sources are found in the generated registry, so that a
    new source is new files only; an entity that no source knows is an empty table with the right columns.
-#}
{% macro union_harmonised(entity) %}
    {%- set columns = standard_model()[entity] -%}
    {%- for model in harmonised_models().get(entity, []) %}
    select
        {%- for column, data_type in columns.items() %}
        cast({{ column }} as {{ data_type }}) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref(model) }}
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- else %}
    select
        {%- for column, data_type in columns.items() %}
        cast(null as {{ data_type }}) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    where false
    {%- endfor %}
{% endmacro %}

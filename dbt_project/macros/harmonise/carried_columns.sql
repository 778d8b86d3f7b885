{#-
    Columns of a source that the standard model lacks, by the list `vars: carried_columns:`. Each value keeps its
    record and time, so the golden profile can choose among them as it does for its own fields.
-#}
{% macro union_carried_columns() %}
    {%- for carried in var('carried_columns') %}
    select
        record_id,
        '{{ carried.name }}' as field,
        cast({{ carried.column }} as varchar) as value,
        updated_at
    from {{ ref(carried.model) }}
    where {{ carried.column }} is not null
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- else %}
    select
        cast(null as varchar) as record_id,
        cast(null as varchar) as field,
        cast(null as varchar) as value,
        cast(null as timestamptz) as updated_at
    where false
    {%- endfor %}
{% endmacro %}

{#- What a record is called everywhere: `source:entity:key`. The twin of klantbeeld.records.record_id_sql. -#}
{% macro record_id(source_name, entity, key) -%}
    '{{ source_name }}:{{ entity }}:'
    || replace(replace(cast({{ key }} as varchar), '%', '%25'), ':', '%3A')
{%- endmacro %}

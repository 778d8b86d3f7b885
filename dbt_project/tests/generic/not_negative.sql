{#- Quantities and amounts that cannot be below zero. The row tells how many are, in each column. -#}
{% test not_negative(model, columns) %}

{%- set broken = {} -%}
{%- for column in columns -%}
    {%- do broken.update({column: column ~ ' < 0'}) -%}
{%- endfor -%}
{{ columns_with(model, broken) }}

{% endtest %}

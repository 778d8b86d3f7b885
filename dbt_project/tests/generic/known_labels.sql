{#-
    Codes that the label list does not know. Happens when a source gets a new option: the label shows as
    "unknown code 9" until the list is loaded again or completed. The row tells how many there are in each column.
-#}
{% test known_labels(model, columns) %}

{%- set broken = {} -%}
{%- for column in columns -%}
    {%- do broken.update({column: column ~ " like 'unknown code %'"}) -%}
{%- endfor -%}
{{ columns_with(model, broken) }}

{% endtest %}

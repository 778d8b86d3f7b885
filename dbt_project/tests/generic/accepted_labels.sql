{#-
    Each column holds only the labels that are listed for it; null is for other tests. The row tells how many others
    there are in each column.
-#}
{% test accepted_labels(model, labels) %}

{%- set broken = {} -%}
{%- for column, accepted in labels.items() -%}
    {%- do broken.update({column: column ~ " not in ('" ~ accepted | join("', '") ~ "')"}) -%}
{%- endfor -%}
{{ columns_with(model, broken) }}

{% endtest %}

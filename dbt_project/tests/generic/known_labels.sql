{#-
    Codes that the label list does not know. Happens when a source gets a new option: the label shows as
    "unknown code 9" until the list is loaded again or completed. A row is such a code.
-#}
{% test known_labels(model, column_name) %}

select
    {{ column_name }} as unknown_label,
    count(*) as row_count
from {{ model }}
where {{ column_name }} like 'unknown code %'
group by {{ column_name }}

{% endtest %}

{#-
    The column names its row: never null, never twice. One query where unique and not_null would be two, since a
    view is computed again for each. A row is a value that stands for no row or for several.
-#}
{% test primary_key(model, column_name) %}

select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null

{% endtest %}

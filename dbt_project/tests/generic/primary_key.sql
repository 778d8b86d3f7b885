{#-
    The column names its row: never null, never twice; and every row has the columns of `required`. One query where
    unique and each not_null would be one, since a view is computed again for each. A row is a value that stands for
    no row, for several, or for one that lacks something.
-#}
{% test primary_key(model, column_name, required=[]) %}

select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
group by {{ column_name }}
having
    {{ column_name }} is null
    or count(*) > 1
    {%- for column in required %}
    or count({{ column }}) < count(*)
    {%- endfor %}

{% endtest %}

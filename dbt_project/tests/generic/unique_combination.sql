{#-
    No two rows agree in all of `columns`, and every row has the columns of `required`. A row is a combination that
    occurs more than once or lacks something.
-#}
{% test unique_combination(model, columns, required=[]) %}

select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in required %}
    or count({{ column }}) < count(*)
    {%- endfor %}

{% endtest %}

{#-
    How many rows of a model break a rule, for several columns in one query: a test of its own for each would read the
    model once for each, and a test costs dbt more than its query. `broken` has a condition for each column. One row
    with a count per column, or none where no row breaks any rule.
-#}
{% macro columns_with(model, broken) %}
select *
from (
    select
        {%- for column, condition in broken.items() %}
        count(case when {{ condition }} then 1 end) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}
) as counted
where
    {%- for column in broken %}
    {{ column }} > 0{{ ' or' if not loop.last }}
    {%- endfor %}
{% endmacro %}

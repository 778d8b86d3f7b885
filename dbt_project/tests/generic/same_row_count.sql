{#-
    Nothing vanishes on the way: the model has as many rows as the relations in `as_sum_of` together.
    A row is the difference. `where` applies to those relations, for models that leave rows out on purpose.
-#}
{% test same_row_count(model, as_sum_of, where='true') %}

with row_counts as (
    select
        (select count(*) from {{ model }}) as actual_count,
        {%- for relation in as_sum_of %}
        (select count(*) from {{ relation }} where {{ where }}){{ ' +' if not loop.last }}
        {%- endfor %} as expected_count
)

select *
from row_counts
where actual_count != expected_count

{% endtest %}

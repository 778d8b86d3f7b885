{#- A rule of one row, such as `refund_amount <= amount`. A row is one that breaks it; null does not. -#}
{% test expression_is_true(model, expression) %}

select 1 as broken_row
from {{ model }}
where not ({{ expression }})

{% endtest %}

{#
    Bands: labels for ranges of a measure. Their bounds are variables, their labels are those of the CRM's option sets.
#}

{#- The label of the highest bound that is reached; `lowest` is the label below all of them. -#}
{% macro band(measure, bounds, lowest) -%}
    case
        {%- for label, bound in bounds.items() | list | sort(attribute='1', reverse=true) %}
        when {{ measure }} >= {{ bound }} then '{{ label }}'
        {%- endfor %}
        else '{{ lowest }}'
    end
{%- endmacro %}

{#-
    Where somebody is in their life as a customer, on the business date: never bought, bought for the first time
    lately, and then by the time since the last order.
-#}
{% macro lifecycle_stage(first_order_date, last_order_date) -%}
    {%- set days = var('lifecycle_days') -%}
    case
        when {{ last_order_date }} is null then 'Prospect'
        when date_diff('day', {{ first_order_date }}, {{ business_date() }}) < {{ days['Nieuw'] }} then 'Nieuw'
        when date_diff('day', {{ last_order_date }}, {{ business_date() }}) < {{ days['Actief'] }} then 'Actief'
        when date_diff('day', {{ last_order_date }}, {{ business_date() }}) < {{ days['Sluimerend'] }} then 'Sluimerend'
        else 'Vertrokken'
    end
{%- endmacro %}

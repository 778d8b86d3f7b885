{#-
    Codes to labels. A code that has no label stays visible as "unknown code 9" and is counted by the test
    known_labels: a new option in a source must not vanish, and must not stop a run.
-#}

{#- A CRM option by its label; expects a CTE option_labels. -#}
{% macro decode_option(column, entity, attribute) -%}
    coalesce(
        (
            select max(option_labels.label) from option_labels
            where
                option_labels.entity = '{{ entity }}'
                and option_labels.attribute = '{{ attribute }}'
                and option_labels.value = {{ column }}
        ),
        'unknown code ' || {{ column }}
    )
{%- endmacro %}

{#- A code by a short list that a source documents but does not publish. -#}
{% macro decode_code(column, labels) -%}
    case {{ column }}
        {%- for code, label in labels.items() %}
        when '{{ code }}' then '{{ label }}'
        {%- endfor %}
        else 'unknown code ' || {{ column }}
    end
{%- endmacro %}

{#- Every source's word for a gender in the standard model's; null where it is unknown. -#}
{% macro standard_gender(label) -%}
    case
        when lower({{ label }}) in (
            'm', 'man', 'male', 'männlich', 'maennlich', 'homme', 'hombre', 'uomo',
            'heer', 'de heer', 'dhr', 'dhr.', 'herr', 'mister', 'monsieur'
        ) then 'male'
        when lower({{ label }}) in (
            'v', 'f', 'w', 'vrouw', 'female', 'woman', 'weiblich', 'femme', 'mujer', 'donna',
            'mevrouw', 'mevr', 'mevr.', 'mw', 'mw.', 'frau', 'mrs', 'mrs.', 'ms', 'ms.', 'miss', 'madame', 'mme'
        ) then 'female'
    end
{%- endmacro %}

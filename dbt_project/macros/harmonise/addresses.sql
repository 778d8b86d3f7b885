{#- An address in one line of text, as its source has it. -#}
{% macro address_text(relation=none) -%}
    {%- set prefix = relation ~ '.' if relation else '' -%}
    concat_ws(
        ', ',
        nullif(concat_ws(
            ' ', {{ prefix }}street, {{ prefix }}house_number, {{ prefix }}house_number_suffix
        ), ''),
        nullif(concat_ws(' ', {{ prefix }}postal_code, {{ prefix }}city), '')
    )
{%- endmacro %}

{#- What makes two addresses the same place: postcode, number, suffix; null without the first two. -#}
{% macro address_key(postal_code_std, house_number_std, house_number_suffix_std) -%}
    {{ postal_code_std }} || '|' || {{ house_number_std }} || '|' || coalesce({{ house_number_suffix_std }}, '')
{%- endmacro %}

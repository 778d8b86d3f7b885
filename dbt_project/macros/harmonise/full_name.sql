{#- A name as its source has it, in one text. -#}
{% macro full_name(first_name='first_name', initials='initials', infix='infix', last_name='last_name') -%}
    nullif(
        concat_ws(' ', coalesce({{ first_name }}, {{ initials }}), {{ infix }}, {{ last_name }}), ''
    )
{%- endmacro %}

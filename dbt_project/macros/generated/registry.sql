{#- Written by `klantbeeld.dbt.registry` from the files in models/intermediate; do not edit. -#}
{% macro harmonised_models() %}{{ return({
    'companies': [],
}) }}{% endmacro %}

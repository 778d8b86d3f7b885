{#- Written by `klantbeeld dev prepare` from models/intermediate and models/segments. -#}
{% macro harmonised_models() %}{{ return({
    'addresses': ['int_shop__addresses'],
    'companies': ['int_crm__companies'],
    'consents': ['int_crm__consents', 'int_newsletter__consents', 'int_pos__consents', 'int_shop__consents'],
    'interactions': ['int_crm__interactions', 'int_newsletter__interactions', 'int_web__interactions'],
    'leads': ['int_crm__leads'],
    'order_lines': ['int_pos__order_lines', 'int_shop__order_lines'],
    'orders': ['int_pos__orders', 'int_shop__orders'],
    'persons': ['int_crm__persons', 'int_newsletter__persons', 'int_pos__persons', 'int_shop__persons'],
    'products': ['int_shop__products'],
    'returns': ['int_pos__returns', 'int_shop__returns'],
}) }}{% endmacro %}
{% macro audience_names() %}{{ return([
    'breakfast_shoppers',
    'cross_sell_without_recent_buyers',
    'lapsed_loyal_members',
    'store_and_web_shoppers',
    'win_back_lookalikes',
]) }}{% endmacro %}

{#-
    A company's name for comparison: letters and digits, without the words that say only its legal form. Takes what
    fold_text made.
-#}
{% macro std_company_name(folded) -%}
    nullif(
        replace(
            {{ regex_replace(
                "' ' || replace(trim("
                ~ regex_replace("replace(" ~ folded ~ ", '.', '')", '[^\\p{L}0-9]+', ' ')
                ~ "), ' ', '  ') || ' '",
                ' (?:' ~ company_noise_words() | join('|') ~ ') ', ''
            ) }}, ' ', ''
        ), ''
    )
{%- endmacro %}

{% macro company_noise_words() %}{{ return([
    'bv', 'nv', 'vof', 'cv', 'ua', 'holding', 'beheer', 'groep', 'group', 'stichting', 'vereniging', 'de', 'het', 'the',
    'en', 'and', 'zn', 'zonen', 'gmbh', 'ag', 'kg', 'ltd', 'limited', 'plc', 'inc', 'llc', 'corp', 'sa', 'sarl', 'srl',
    'bvba', 'nederland', 'netherlands', 'international', 'co',
]) }}{% endmacro %}

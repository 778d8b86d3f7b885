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
    'bvba', 'nederland', 'netherlands', 'international', 'co', 'company', 'eenmanszaak', 'maatschap', 'cooperatie', 'sas',
    'spa', 'sprl', 'ohg', 'ug', 'llp', 'ab', 'aps', 'oy',
]) }}{% endmacro %}

{#-
    The eight digits of the trade register. A branch has four digits more, and is the company it belongs to; fewer
    have lost their zeros. Null when it is neither.
-#}
{% macro std_kvk_number(kvk_number) -%}
    {%- set digits = regex_replace(kvk_number, '[^0-9]+', '') -%}
    case
        when length({{ digits }}) = 12 then substr({{ digits }}, 1, 8)
        when length({{ digits }}) between 6 and 8 then lpad({{ digits }}, 8, '0')
    end
{%- endmacro %}

{#- A tax number with its country in front, also where somebody left the Dutch one out; null when it is none. -#}
{% macro std_vat_number(vat_number) -%}
    {%- set characters = regex_replace('upper(' ~ vat_number ~ ')', '[^0-9A-Z]+', '') -%}
    case
        when {{ regex_matches(characters, '^[0-9]{9}B[0-9]{2}$') }} then 'NL' || {{ characters }}
        when {{ regex_matches(characters, '^[A-Z]{2}[0-9A-Z]{6,12}$') }} then {{ characters }}
    end
{%- endmacro %}

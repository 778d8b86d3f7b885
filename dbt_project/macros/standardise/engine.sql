{#-
    The few text functions that engines spell differently. A pattern is written once, in the syntax that RE2
    (DuckDB) and Java (Spark) share: no look-around, no back-references.
-#}

{#- Every match of the pattern replaced. -#}
{% macro regex_replace(text, pattern, replacement) -%}
    {{ adapter.dispatch('regex_replace', 'klantbeeld')(text, pattern, replacement) }}
{%- endmacro %}

{% macro default__regex_replace(text, pattern, replacement) -%}
    regexp_replace({{ text }}, '{{ pattern | replace('\\', '\\\\') }}', '{{ replacement }}')
{%- endmacro %}

{% macro duckdb__regex_replace(text, pattern, replacement) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ replacement }}', 'g')
{%- endmacro %}

{#- In a replacement: what the pattern's nth group matched. -#}
{% macro group_reference(number) -%}
    {{ adapter.dispatch('group_reference', 'klantbeeld')(number) }}
{%- endmacro %}

{% macro default__group_reference(number) -%}
    ${{ number }}
{%- endmacro %}

{% macro duckdb__group_reference(number) -%}
    {{ '\\' ~ number }}
{%- endmacro %}

{#- Is there a match? Anchor the pattern to ask about the whole text. -#}
{% macro regex_matches(text, pattern) -%}
    {{ adapter.dispatch('regex_matches', 'klantbeeld')(text, pattern) }}
{%- endmacro %}

{% macro default__regex_matches(text, pattern) -%}
    ({{ text }} rlike '{{ pattern | replace('\\', '\\\\') }}')
{%- endmacro %}

{% macro duckdb__regex_matches(text, pattern) -%}
    regexp_matches({{ text }}, '{{ pattern }}')
{%- endmacro %}

{#- A group of the first match, the empty string where nothing matches. -#}
{% macro regex_group(text, pattern, group) -%}
    {{ adapter.dispatch('regex_group', 'klantbeeld')(text, pattern, group) }}
{%- endmacro %}

{% macro default__regex_group(text, pattern, group) -%}
    regexp_extract({{ text }}, '{{ pattern | replace('\\', '\\\\') }}', {{ group }})
{%- endmacro %}

{% macro duckdb__regex_group(text, pattern, group) -%}
    regexp_extract({{ text }}, '{{ pattern }}', {{ group }})
{%- endmacro %}

{#- The groups of the first match as a struct with these names, empty strings where nothing matches. -#}
{% macro regex_groups(text, pattern, names) -%}
    {{ adapter.dispatch('regex_groups', 'klantbeeld')(text, pattern, names) }}
{%- endmacro %}

{% macro default__regex_groups(text, pattern, names) -%}
    named_struct(
        {%- for name in names %}
        '{{ name }}', {{ regex_group(text, pattern, loop.index) }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{% macro duckdb__regex_groups(text, pattern, names) -%}
    regexp_extract({{ text }}, '{{ pattern }}', ['{{ names | join("', '") }}'])
{%- endmacro %}

{#- Only ASCII characters? Cheaper than any regex: bytes counted against characters. -#}
{% macro is_ascii(text) -%}
    {{ adapter.dispatch('is_ascii', 'klantbeeld')(text) }}
{%- endmacro %}

{% macro default__is_ascii(text) -%}
    (octet_length({{ text }}) = char_length({{ text }}))
{%- endmacro %}

{% macro duckdb__is_ascii(text) -%}
    (strlen({{ text }}) = length({{ text }}))
{%- endmacro %}

{#- Text without surrounding space; null where nothing is left. -#}
{% macro clean_text(text) -%}
    nullif(trim({{ text }}), '')
{%- endmacro %}

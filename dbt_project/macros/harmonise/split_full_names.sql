{#-
    A relation with a `full_name`, with first_name and last_name added, for a source that keeps a name in one text:
    "Jan van der Berg", "Berg, Jan van der", "J.P. Jansen - de Vries", "Berg J.P. van der", "BERG Jan". The surname is
    the last word, with the infix words before it and, in a double name, what the dash joins to it; given names are
    what stands before.
-#}
{% macro split_full_names(relation) %}
    {%- set infix = '(?i:' ~ any_infix_word() ~ ')' -%}
    {%- set surname = '(?:' ~ infix ~ ' +)*(?:[^ ]+-(?:' ~ infix ~ ' +)+)?[^ ]+' -%}
    select
        named.*,
        nullif(
            trim(case
                when is_surname_first then after_comma.given
                when not is_surname_only then name_parts.given
            end), ''
        ) as first_name,
        nullif(
            trim(case
                when is_surname_first then concat(after_comma.infix, ' ', before_comma)
                when is_surname_only or name_parts.surname = '' then before_comma
                else name_parts.surname
            end), ''
        ) as last_name
    from (
        select
            halved.*,
            {{ regex_matches('before_comma', '^ *' ~ surname ~ ' *$') }} as is_surname_only,
            {# "Thomas Berg, baron" has its given name in front. #}
            after_comma.given != '' and {{ regex_matches(
                'before_comma', '^ *' ~ surname ~ '(?: +' ~ infix ~ ')* *$'
            ) }} as is_surname_first,
            {{ regex_groups(
                'before_comma', '^ *(.+?) +(' ~ surname ~ ') *$', ['given', 'surname']
            ) }} as name_parts
        from (
            select
                untitled.*,
                split_part(name_text, ',', 1) as before_comma,
                {{ regex_groups(
                    "substr(name_text, length(split_part(name_text, ',', 1)) + 2)",
                    '^ *(.*?)((?: +' ~ infix ~ ')*) *$', ['given', 'infix']
                ) }} as after_comma
            from (
                select
                    {{ relation }}.*,
                    {{ name_in_order(
                        regex_replace(
                            regex_replace(called_name('full_name'), '^ *(?i:' ~ any_title() ~ ')', ''), ' *- *', '-'
                        )
                    ) }} as name_text
                from {{ relation }}
            ) as untitled
        ) as halved
    ) as named
{% endmacro %}

{#- "P.J. (Piet)" and "P.J. van der (Piet)": who is called Piet. What else stands in brackets is not the name. -#}
{% macro called_name(name) -%}
    {%- set initials = '(?:\\p{L}{1,3}[.] ?)+' -%}
    case
        when position('(' in {{ name }}) = 0 then {{ name }}
        else {{ regex_replace(
            regex_replace(
                name, '(?:^|( ))' ~ initials ~ '((?:' ~ any_infix_word() ~ ' +)*)[(] *(\\p{L}[\\p{L} -]+?) *[)]',
                group_reference(1) ~ group_reference(3) ~ ' ' ~ group_reference(2)
            ), '[(][^)]*[)]?', ''
        ) }}
    end
{%- endmacro %}

{#-
    A full name with a comma where the surname is written first and none stands: "Berg J.P. van der", "BERG Jan"; a
    space behind initials ("J.P.Berg"); without what follows a name ("Jr.", "PhD").
-#}
{% macro name_in_order(name) -%}
    {%- set infix = '(?i:' ~ any_infix_word() ~ ')' -%}
    {%- set initials = '(?:\\p{L}{1,2}[.] ?)+' -%}
    {{ regex_replace(
        regex_replace(
            regex_replace(
                regex_replace(name, '[ ,]+(?i:jr|sr|jnr|snr|phd|ph[.]d|msc|bsc|mba|md|esq|ii|iii)[.]? *$', ''),
                '[.](\\p{L}{2,})', '. ' ~ group_reference(1)
            ),
            '^ *((?:' ~ infix ~ ' +)*[^ ,.]{2,}) +(' ~ initials ~ '(?: *' ~ infix ~ ')*) *$',
            group_reference(1) ~ ', ' ~ group_reference(2)
        ),
        '^ *((?:\\p{Lu}+ )*\\p{Lu}{4,}) +(\\p{Lu}\\p{Ll}.*)$', group_reference(1) ~ ', ' ~ group_reference(2)
    ) }}
{%- endmacro %}

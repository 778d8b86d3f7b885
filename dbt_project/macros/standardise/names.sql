{#-
    Names for comparison. A surname is compared by its core: "van der Berg", "Berg, van der", "v.d. Berg" and
    "Berg" with the infix in a field of its own are all `berg`. A double name is two cores: in the Netherlands
    "Jansen-de Vries" is Jansen by marriage and De Vries by birth, so `jansen` and maiden name `vries`.

    The macros take text that fold_text made. They are steps of standardise_persons, which gives each step its
    own CTE, because an expression repeated inside a case is computed again.
-#}

{#- Words that belong to a surname without being its core. -#}
{% macro infix_words() %}{{ return([
    'aan', 'af', 'al', 'auf', 'aus', 'bei', 'ben', 'bij', 'bin', 'boven', 'd', 'da', 'dal', 'dalla', 'das', 'de',
    'degli', 'dei', 'del', 'della', 'dem', 'den', 'der', 'des', 'di', 'die', 'do', 'don', 'dos', 'du', 'e', 'een',
    'el', 'en', 'het', 'ibn', 'im', 'in', 'l', 'la', 'las', 'le', 'les', 'lo', 'los', 'met', 'of', 'onder', 'op',
    'over', 's', 't', 'te', 'ten', 'ter', 'thoe', 'tot', 'uijt', 'uit', 'und', 'unter', 'v', 'van', 'vd', 'vande',
    'vanden', 'vander', 'vom', 'von', 'voor', 'vor', 'zu', 'zum', 'zur',
]) }}{% endmacro %}

{% macro any_infix_word() -%}
    (?:{{ infix_words() | join('|') }})
{%- endmacro %}

{#- Letters and single spaces: what is neither a letter nor a space separates words. -#}
{% macro name_words(folded) -%}
    trim({{ regex_replace(folded, '[^\\p{L}]+', ' ') }})
{%- endmacro %}

{#- A form of address in front of a name is not part of it. -#}
{% macro without_title(folded) -%}
    {{ regex_replace(folded, '^ *' ~ any_title(), '') }}
{%- endmacro %}

{% macro any_title() -%}
    (?:(?:dhr|de heer|mevr|mevrouw|mw|fam|familie|drs|dr|ir|ing|mr|mrs|ms|miss|sir|prof|rev|herr|hr|frau|monsieur|madame|mme|mlle|sra|srta)[.]? +)+
{%- endmacro %}

{#- Is a given name only initials: "J.", "J.P.", "J P", "Th."? -#}
{% macro is_initials(folded) -%}
    {{ regex_matches(
        folded, '^ *(?:(?:(?:[a-z]|chr|fr|joh|ph|st|th)[.][ -]*)+[a-z]?|(?:[a-z] )*[a-z]) *$'
    ) }}
{%- endmacro %}

{#-
    One dash between the two halves of a double name, however it is written: "Jansen - de Vries",
    "Jansen e/v de Vries", "Jansen geb. de Vries", "Jansen/de Vries". What tells father from son ("Smith Jr.") is no
    part of the name.
-#}
{% macro double_name_with_dash(folded) -%}
    {{ regex_replace(
        regex_replace("replace(" ~ folded ~ ", 'v/d', 'v d')", '[ ,]+(?:jr|sr|jnr|snr|iii?)[.]? *$', ''),
        ' *(?:-| e[/.]v[.]? | geb[.]? | geboren |/)[ -]*', '-'
    ) }}
{%- endmacro %}

{#- Only infix words, such as the "al" of "Al-Hassan": then the dash joins an infix, not two surnames. -#}
{% macro is_only_infix(words) -%}
    {{ regex_matches(words, '^(?:' ~ any_infix_word() ~ '(?: |$))*$') }}
{%- endmacro %}

{#- The surname without infix words and spaces; a surname that is nothing but infix words ("Le") is kept whole. -#}
{% macro surname_core(words) -%}
    coalesce(
        nullif(
            replace(
                {{ regex_replace(
                    "' ' || replace(" ~ words ~ ", ' ', '  ') || ' '", ' ' ~ any_infix_word() ~ ' ', ''
                ) }},
                ' ', ''
            ),
            ''
        ),
        nullif(replace({{ words }}, ' ', ''), '')
    )
{%- endmacro %}

{#- The first run of infix words in a surname: "van der" of "van der Berg" and of "Berg van der". -#}
{% macro surname_infix(words) -%}
    nullif(
        replace(
            trim({{ regex_group(
                "' ' || replace(" ~ words ~ ", ' ', '  ') || ' '", '(?: ' ~ any_infix_word() ~ ' )+', 0
            ) }}),
            '  ', ' '
        ),
        ''
    )
{%- endmacro %}

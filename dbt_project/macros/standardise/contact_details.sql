{#- E-mail, telephone, address and dates for comparison. Null in or unusable, null out. -#}

{#- Lower case, trimmed; null unless it can be somebody's. Dots and tags stay: they are the owner's choice. -#}
{% macro std_email(email) -%}
    case
        when {{ is_placeholder_mailbox(email) }} then null
        when {{ regex_matches(
            trimmed_email(email), '^[^@ ,;:<>()]+@(?:[^@ ,;:<>()._]+[.])+[^@ ,;:<>()._0-9-]{2,}$'
        ) }}
            then {{ trimmed_email(email) }}
    end
{%- endmacro %}

{#- "onbekend@…": somebody had to fill in an address and had none (`vars: placeholder_mailboxes`). Null in, null out. -#}
{% macro is_placeholder_mailbox(email) -%}
    split_part({{ trimmed_email(email) }}, '@', 1) in ('{{ var('placeholder_mailboxes') | join("', '") }}')
{%- endmacro %}

{% macro trimmed_email(email) -%}
    trim(both ' <>;,.' from replace(lower({{ email }}), 'mailto:', ''))
{%- endmacro %}

{#- Digits and a leading plus of the first number in a text; "(0)", extensions and words around it dropped. -#}
{% macro phone_digits(phone) -%}
    {%- set separators = ' ()./\u00a0\u2010\u2011\u2012\u2013-' -%}
    translate(
        replace({{ regex_group(phone, '[+(0-9][+0-9' ~ separators ~ ']*', 0) }}, '(0)', ''),
        '{{ separators }}', ''
    )
{%- endmacro %}

{#- The digits of a number with its country in front; `code` is what the record's country dials as. -#}
{% macro phone_international(digits, code) -%}
    case
        when {{ digits }} like '+%' or {{ digits }} like '00%'
            then {{ without_trunk_zero("ltrim(" ~ digits ~ ", '+0')") }}
        when {{ digits }} like '0%' then {{ code }} || substr({{ digits }}, 2)
        when length({{ digits }}) >= 10 and {{ digits }} like {{ code }} || '%'
            then {{ without_trunk_zero(digits) }}
        else {{ code }} || {{ digits }}
    end
{%- endmacro %}

{#- "+31 06 …": the zero is dialled at home only. Italy and others keep theirs. -#}
{% macro without_trunk_zero(digits) -%}
    case
        when substr({{ digits }}, 1, 3) in ('310', '320', '330', '430', '440', '490')
            then substr({{ digits }}, 1, 2) || substr({{ digits }}, 4)
        else {{ digits }}
    end
{%- endmacro %}

{#- E.164, or null when no country could have given out such a number. -#}
{% macro e164(international) -%}
    case
        when {{ international }} like '31%'
            then case
                when length({{ international }}) = 11 and substr({{ international }}, 3, 1) != '0'
                    then '+' || {{ international }}
            end
        when length({{ international }}) between 8 and 15 and {{ international }} not like '0%'
            then '+' || {{ international }}
    end
{%- endmacro %}

{#- A number that is known to be a mobile one, in the countries that number them apart. -#}
{% macro is_mobile(e164_number) -%}
    {{ regex_matches(e164_number, '^[+](?:316|324|336|337|4915|4916|4917|447)') }}
{%- endmacro %}

{#- A Dutch postcode as 1234AB, null when it is not one; another country's as letters and digits. -#}
{% macro std_postal_code(postal_code, country_code) -%}
    case
        when {{ country_code }} = 'NL'
            then nullif(
                {{ regex_group(
                    postal_code_characters(postal_code), '^(?:NL)?([1-9][0-9]{3}[A-Z]{2})$', 1
                ) }}, ''
            )
        else nullif({{ postal_code_characters(postal_code) }}, '')
    end
{%- endmacro %}

{% macro postal_code_characters(postal_code) -%}
    translate(upper({{ postal_code }}), ' .-', '')
{%- endmacro %}

{#- The number itself: "12" of "12", "012" and "12-3hg". -#}
{% macro std_house_number(house_number) -%}
    nullif(ltrim({{ regex_group(house_number, '[0-9]+', 0) }}, '0'), '')
{%- endmacro %}

{#- What follows the number, in its own field or behind the number: "3hg" of "12-3 hg" and of "12" with "3hg". -#}
{% macro std_house_number_suffix(house_number, suffix) -%}
    nullif(
        {{ regex_replace(
            'lower(concat(' ~ regex_replace("coalesce(" ~ house_number ~ ", '')", '^[^0-9]*[0-9]+', '')
            ~ ", coalesce(" ~ suffix ~ ", '')))", '[^0-9a-z]+', ''
        ) }}, ''
    )
{%- endmacro %}

{#- Letters and digits of a street name; "Kerkstr." is "Kerkstraat", "Kirchstr." "Kirchstraße". Takes what fold_text made. -#}
{% macro std_street(folded) -%}
    nullif({{ regex_replace(
        regex_replace(folded, 'str(?:[.]|asse)? *$', 'straat'), '[^\\p{L}0-9]+', ''
    ) }}, '')
{%- endmacro %}

{#- Letters of a place name; two Dutch cities go by two names. Takes what fold_text made. -#}
{% macro std_city(folded) -%}
    case {{ place_letters(folded) }}
        when '' then null
        when 'denhaag' then 'sgravenhage'
        when 'denbosch' then 'shertogenbosch'
        else {{ place_letters(folded) }}
    end
{%- endmacro %}

{% macro place_letters(folded) -%}
    {{ regex_replace(folded, '[^\\p{L}]+', '') }}
{%- endmacro %}

{#-
    One address line in parts, as a struct of street, number, suffix, long_number, long_suffix. The number is the
    last one that can be a house number, so that "Laan 1940-1945 12-3hg" is number 12 in Laan 1940-1945. What can
    stand behind a number: letters ("bis", "A"), digits after a dash or slash ("-3hg"), and behind a number
    below 1000 also digits after a space ("12 3"). One match per line gives all parts.
-#}
{% macro address_line_parts(line) -%}
    {%- set suffix = ' *[-/]? *[a-zA-Z][a-zA-Z0-9]{0,4}|[-/] *[0-9]{1,3}[a-zA-Z]{0,3}' -%}
    {%- set short = '([0-9]{1,3})((?:' ~ suffix ~ '| +[0-9]{1,2}[a-zA-Z]{0,3}){0,2})' -%}
    {%- set long = '([0-9]{4,5})((?:' ~ suffix ~ '){0,2})' -%}
    {{ regex_groups(
        line, '^ *(.*?[^0-9 ,].*?)[ ,]+(?:' ~ short ~ '|' ~ long ~ ') *$',
        ['street', 'number', 'suffix', 'long_number', 'long_suffix']
    ) }}
{%- endmacro %}

{#- "12 Main Street", as a struct of number and street: for a line in which no number stands last. -#}
{% macro number_first_address_line_parts(line) -%}
    {{ regex_groups(line, '^ *([0-9]{1,5}[a-zA-Z]?),? +(.*[^0-9 ].*)$', ['number', 'street']) }}
{%- endmacro %}

{#- A birth date that says something: not a system's default date, not in the future, not over 120 years ago. -#}
{% macro std_birth_date(birth_date, today) -%}
    case
        when {{ birth_date }} in (
            date '1900-01-01', date '1901-01-01', date '1911-11-11', date '1970-01-01'
        ) then null
        when {{ birth_date }} > {{ today }} then null
        when {{ birth_date }} < {{ today }} - interval '120' year then null
        else {{ birth_date }}
    end
{%- endmacro %}

{#- Letters and digits of a code such as a loyalty number, without leading zeros. -#}
{% macro std_code(code) -%}
    nullif(ltrim({{ regex_replace('upper(' ~ code ~ ')', '[^0-9A-Z]+', '') }}, '0'), '')
{%- endmacro %}

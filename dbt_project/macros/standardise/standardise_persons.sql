{#-
    Persons in, their comparison columns out, one row per row: the columns to keep, then the `_std` columns.

    persons: a relation or CTE with the standard model's person columns.
    keep: columns that pass through; a join afterwards would cost a quarter of the time again.
    today: SQL for the date that decides which birth dates are possible.
    country: SQL for the country that is meant where a record names none.

    Steps as CTEs, because a macro nested in a macro would compute the inner one many times. Most names are one
    plain word: those take the short way (is_plain), which saves two thirds of the time.
-#}
{% macro standardise_persons(persons, today, country, keep=['record_id']) %}

with folded as (
    select
        {%- for column in keep %}
        {{ column }} as kept_{{ column }},
        {%- endfor %}
        birth_date,
        house_number,
        house_number_suffix,
        {{ without_title(fold_text('first_name')) }} as first_name,
        {{ fold_text('initials') }} as initials,
        {{ fold_text('infix') }} as infix,
        {{ without_title(fold_text('last_name')) }} as last_name,
        {{ fold_text('maiden_name') }} as maiden_name,
        {{ fold_text('street') }} as street,
        {{ fold_text('city') }} as city,
        {{ std_email('email') }} as email_std,
        {{ phone_digits('phone') }} as phone_digits,
        {{ phone_digits('mobile_phone') }} as mobile_phone_digits,
        {{ std_code('loyalty_number') }} as loyalty_number_std,
        postal_code,
        coalesce(country_code, {{ country }}) as known_country_code
    from {{ persons }}
),

halved as (
    select
        *,
        {{ regex_matches('last_name', '^[a-z]+$') }} as is_plain,
        {{ double_name_with_dash('last_name') }} as dashed_last_name,
        {{ is_initials('first_name') }} as has_only_initials,
        {{ calling_code('known_country_code') }} as own_calling_code,
        {{ calling_code(country) }} as default_calling_code
    from folded
),

worded as (
    select
        *,
        case
            when is_plain then last_name
            when {{ is_only_infix(name_words("split_part(dashed_last_name, '-', 1)")) }}
                then {{ name_words('dashed_last_name') }}
            else {{ name_words("split_part(dashed_last_name, '-', 1)") }}
        end as last_name_words,
        case
            when is_plain or position('-' in dashed_last_name) = 0 then null
            when not {{ is_only_infix(name_words("split_part(dashed_last_name, '-', 1)")) }}
                then {{ name_words("substr(dashed_last_name, position('-' in dashed_last_name) + 1)") }}
        end as second_name_words,
        {{ name_words('maiden_name') }} as maiden_name_words,
        nullif({{ name_words('infix') }}, '') as infix_words,
        nullif({{ name_words('first_name') }}, '') as first_name_words,
        coalesce(own_calling_code, default_calling_code) as calling_code
    from halved
),

numbered as (
    select
        *,
        {{ phone_international('phone_digits', 'calling_code') }} as phone_international,
        {{ phone_international('mobile_phone_digits', 'calling_code') }} as mobile_phone_international,
        case
            when is_plain then last_name
            else {{ surname_core('last_name_words') }}
        end as last_name_std,
        coalesce(
            {{ surname_core('maiden_name_words') }},
            {{ surname_core('second_name_words') }}
        ) as maiden_name_std,
        case
            when infix_words is not null then infix_words
            when is_plain then null
            else {{ surname_infix('last_name_words') }}
        end as infix_found,
        case when not has_only_initials then first_name_words end as first_name_std,
        coalesce(
            nullif({{ regex_replace('initials', '[^\\p{L}]+', '') }}, ''),
            case
                when has_only_initials then replace(first_name_words, ' ', '')
                else nullif({{ regex_replace('first_name_words', '(\\p{L})\\p{L}* ?', group_reference(1)) }}, '')
            end
        ) as initials_std
    from worded
),

standardised as (
    select
        *,
        {{ e164('phone_international') }} as phone_e164,
        {{ e164('mobile_phone_international') }} as mobile_phone_e164
    from numbered
)

select
    {%- for column in keep %}
    kept_{{ column }} as {{ column }},
    {%- endfor %}

    -- name
    first_name_std,
    initials_std,
    case when infix_found in ('vd', 'v d') then 'v d' else infix_found end as infix_std,
    last_name_std,
    nullif(maiden_name_std, last_name_std) as maiden_name_std,
    nullif(
        concat_ws(' ', coalesce(first_name_std, initials_std), last_name_std), ''
    ) as full_name_std,

    -- birth
    {{ std_birth_date('birth_date', today) }} as birth_date_std,

    -- contact: a mobile number given as the only number is compared with mobile numbers
    email_std,
    case
        when mobile_phone_e164 is null and {{ is_mobile('phone_e164') }} then null
        else phone_e164
    end as phone_std,
    coalesce(
        mobile_phone_e164, case when {{ is_mobile('phone_e164') }} then phone_e164 end
    ) as mobile_phone_std,

    -- address
    {{ std_street('street') }} as street_std,
    {{ std_house_number('house_number') }} as house_number_std,
    {{ std_house_number_suffix('house_number', 'house_number_suffix') }} as house_number_suffix_std,
    {{ std_postal_code('postal_code', 'known_country_code') }} as postal_code_std,
    {{ std_city('city') }} as city_std,
    known_country_code as country_code,

    -- keys
    loyalty_number_std
from standardised

{% endmacro %}

{#
    Consent: per contact point, channel and purpose, as of the run.

    Belongs here: the purposes, what holds when nobody said anything, and how a contact point is named.
    Does not: the events (`int_consents__unioned`) and their evaluation (`dim_contact_points`).
#}

{% macro consent_purposes() %}
    {{ return(var('consent_defaults').keys() | list) }}
{% endmacro %}

{#- Whether a channel may be used for a purpose as long as nobody ever said anything about the contact point. -#}
{% macro allowed_by_default(purpose, channel='channel') -%}
    case {{ channel }}
        {%- for name, is_allowed in var('consent_defaults')[purpose].items() %}
        when '{{ name }}' then {{ is_allowed | string | lower }}
        {%- endfor %}
        else false
    end
{%- endmacro %}

{#-
    What one contact point (a mailbox, a number, a letterbox) is called wherever its value should not be seen.
    The same for all who share it, and another in every home: without the home's secret nobody can test a guess. A
    digest of personal data is personal data: pii, and never logged.
-#}
{% macro contact_point_key(channel='channel', value_std='value_std') -%}
    substr(
        sha256(
            {{ contact_point_secret() }}
            || sha256({{ contact_point_secret() }} || {{ channel }} || '|' || {{ value_std }})
        ),
        1, 32
    )
{%- endmacro %}

{#- The state that the latest events of a contact point add up to; `events` holds only those of the latest time. -#}
{% macro consent_state() -%}
    case
        when bool_or(status <> 'granted') then 'denied'
        when bool_or(expires_at <= {{ as_of() }}) then 'expired'
        else 'granted'
    end
{%- endmacro %}

{#-
    Local clock times and UTC. Stored times are UTC; a till, a form or a file knows only its local clock.
    An hour that the clock shows twice in autumn is taken as the engine takes it: once.
-#}

{#- A local timestamp (no zone) in the business time zone, as a UTC timestamp. -#}
{% macro local_to_utc(local_timestamp) -%}
    {{ adapter.dispatch('local_to_utc', 'klantbeeld')(local_timestamp) }}
{%- endmacro %}

{% macro default__local_to_utc(local_timestamp) -%}
    to_utc_timestamp({{ local_timestamp }}, {{ time_zone() }})
{%- endmacro %}

{% macro duckdb__local_to_utc(local_timestamp) -%}
    timezone({{ time_zone() }}, cast({{ local_timestamp }} as timestamp))
{%- endmacro %}

{#- A UTC timestamp as the business time zone's clock shows it (a timestamp without a zone). -#}
{% macro utc_to_local(utc_timestamp) -%}
    {{ adapter.dispatch('utc_to_local', 'klantbeeld')(utc_timestamp) }}
{%- endmacro %}

{% macro default__utc_to_local(utc_timestamp) -%}
    from_utc_timestamp({{ utc_timestamp }}, {{ time_zone() }})
{%- endmacro %}

{% macro duckdb__utc_to_local(utc_timestamp) -%}
    timezone({{ time_zone() }}, cast({{ utc_timestamp }} as timestamptz))
{%- endmacro %}

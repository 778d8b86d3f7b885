{#-
    A relation with an `address_text`, with address_line, postal_code and city added, for a source that keeps an
    address in one text: "Kerkstraat 12, 1234 AB Utrecht", "12 High Street, London, SW1A 1AA". What has no postal
    code in it is cut at its last comma, if no number stands behind that.
-#}
{% macro split_address_texts(relation) %}
    select
        coded.*,
        case
            when code_parts.code != '' and code_parts.place != '' then code_parts.line
            else coalesce(nullif(place_parts.line, ''), nullif(code_parts.line, ''), address_text)
        end as address_line,
        nullif(code_parts.code, '') as postal_code,
        nullif(trim(coalesce(nullif(code_parts.place, ''), place_parts.place)), '') as city
    from (
        select
            matched.*,
            {{ regex_groups(
                "case when code_parts.code = '' then address_text else code_parts.line end",
                '^(.+?) *,(?:.*,)? *([^0-9,]+)$', ['line', 'place']
            ) }} as place_parts
        from (
            select
                {{ relation }}.*,
                {{ regex_groups(
                    'address_text',
                    '^(.+?)[, ]+((?i:[1-9][0-9]{3} ?[a-z]{2}|[a-z]{1,2}[0-9][0-9a-z]? [0-9][a-z]{2})|[0-9]{5})(?:[, ]+(.*))?$',
                    ['line', 'code', 'place']
                ) }} as code_parts
            from {{ relation }}
        ) as matched
    ) as coded
{% endmacro %}

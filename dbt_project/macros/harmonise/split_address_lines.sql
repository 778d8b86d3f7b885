{#-
    A relation with an `address_line`, with the line's street, house_number and house_number_suffix added. Lines
    that end in no number are read the other way round ("12 Main Street"); else the whole line is the street.
-#}
{% macro split_address_lines(relation) %}
    select
        split_lines.*,
        coalesce(
            nullif(parts.street, ''), nullif(number_first_parts.street, ''), address_line
        ) as street,
        coalesce(
            nullif(concat(parts.number, parts.long_number), ''), nullif(number_first_parts.number, '')
        ) as house_number,
        nullif(
            trim(both ' -/' from concat(parts.suffix, parts.long_suffix)), ''
        ) as house_number_suffix
    from (
        select
            matched_lines.*,
            case
                when parts.street = '' then {{ number_first_address_line_parts('address_line') }}
            end as number_first_parts
        from (
            select
                {{ relation }}.*,
                {{ address_line_parts('address_line') }} as parts
            from {{ relation }}
        ) as matched_lines
    ) as split_lines
{% endmacro %}

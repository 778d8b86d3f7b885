with source_rows as (
    select * from {{ source('raw_pos', 'receipt_lines') }}
),

renamed as (
    select
        -- keys
        filiaal || '-' || bonnummer || '-' || regel as receipt_line_id,
        filiaal || '-' || bonnummer as receipt_id,
        cast(bonnummer as varchar) as receipt_number,
        cast(regel as integer) as line_number,
        {{ clean_text('klantkaart') }} as loyalty_number,

        -- where and when: a till knows its local clock only; without a usable time the day is what is known
        cast(filiaal as varchar) as store_code,
        cast(kassa as varchar) as register_code,
        {{ local_to_utc(
            "coalesce(try_cast(datum || ' ' || tijd as timestamp), cast(datum as timestamp))"
        ) }} as sold_at,

        -- what
        {{ clean_text('artikel') }} as product_sku,
        {{ clean_text('omschrijving') }} as product_name,
        cast(aantal as decimal(14, 3)) as quantity,
        cast(prijs as decimal(14, 2)) as unit_price,
        cast(coalesce(korting, 0) as decimal(14, 2)) as discount_amount,
        cast(bedrag as decimal(14, 2)) as amount,
        {{ decode_code(
            'betaalwijze', {'PIN': 'debit card', 'CONTANT': 'cash', 'CREDITCARD': 'credit card'}
        ) }} as payment_method,
        {{ decode_code('soort', {'VERKOOP': 'sale', 'RETOUR': 'return'}) }} as line_type,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

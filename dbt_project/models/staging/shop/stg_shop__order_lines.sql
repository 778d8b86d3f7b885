with source_rows as (
    select * from {{ source('raw_shop', 'order_lines') }}
),

renamed as (
    select
        cast(order_line_id as varchar) as order_line_id,
        cast(order_id as varchar) as order_id,
        cast(product_id as varchar) as product_id,
        cast(quantity as decimal(14, 3)) as quantity,
        cast(unit_price as decimal(14, 2)) as unit_price,
        cast(coalesce(discount_amount, 0) as decimal(14, 2)) as discount_amount,
        updated_at
    from source_rows
)

select * from renamed

with source_rows as (
    select * from {{ source('raw_shop', 'products') }}
),

renamed as (
    select
        cast(product_id as varchar) as product_id,
        {{ clean_text('sku') }} as sku,
        {{ clean_text('name') }} as product_name,
        cast(category_id as varchar) as category_id,
        cast(price as decimal(14, 2)) as price,
        currency,
        coalesce(is_active, true) as is_active,
        updated_at
    from source_rows
)

select * from renamed

with source_rows as (
    select * from {{ source('raw_shop', 'orders') }}
),

renamed as (
    select
        cast(order_id as varchar) as order_id,
        cast(customer_id as varchar) as customer_id,
        ordered_at,
        status,
        cast(total_amount as decimal(14, 2)) as total_amount,
        currency,
        cast(shipping_address_id as varchar) as shipping_address_id,
        updated_at
    from source_rows
)

select * from renamed

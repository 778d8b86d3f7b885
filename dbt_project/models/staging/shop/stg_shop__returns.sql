with source_rows as (
    select * from {{ source('raw_shop', 'returns') }}
),

renamed as (
    select
        cast(return_id as varchar) as return_id,
        cast(order_line_id as varchar) as order_line_id,
        returned_at,
        cast(quantity as decimal(14, 3)) as quantity,
        {{ decode_code(
            clean_text('reason_code'),
            {'D': 'defect', 'W': 'wrong article', 'S': 'size', 'O': 'other'}
        ) }} as reason,
        cast(refund_amount as decimal(14, 2)) as refund_amount,
        updated_at
    from source_rows
)

select * from renamed

with receipt_lines as (
    select * from {{ ref('stg_pos__receipt_lines') }}
),

harmonised as (
    select
        {{ record_id('pos', 'receipt_line', 'receipt_line_id') }} as order_line_id,
        {{ record_id('pos', 'receipt', 'receipt_id') }} as order_id,
        line_number,
        product_sku,
        product_name,
        quantity,
        unit_price,
        discount_amount,
        amount
    from receipt_lines
    where line_type = 'sale'
)

select * from harmonised

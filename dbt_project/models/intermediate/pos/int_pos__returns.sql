with receipt_lines as (
    select * from {{ ref('stg_pos__receipt_lines') }}
),

-- a till takes an article back without knowing on which receipt it was sold
harmonised as (
    select
        {{ record_id('pos', 'receipt_line', 'receipt_line_id') }} as return_id,
        cast(null as varchar) as order_line_id,
        cast(null as varchar) as order_id,
        {{ record_id('pos', 'member', 'loyalty_number') }} as record_id,
        'pos' as source,
        'till' as channel,
        product_sku,
        sold_at as returned_at,
        abs(quantity) as quantity,
        cast(null as varchar) as reason,
        abs(amount) as amount,
        'EUR' as currency
    from receipt_lines
    where line_type = 'return'
)

select * from harmonised

with receipt_lines as (
    select * from {{ ref('stg_pos__receipt_lines') }}
),

harmonised as (
    select
        {{ record_id('pos', 'receipt', 'receipt_id') }} as order_id,
        {{ record_id('pos', 'member', 'max(loyalty_number)') }} as record_id,
        'pos' as source,
        'till' as channel,
        max(store_code) as store_code,
        max(sold_at) as ordered_at,
        'delivered' as status,
        sum(amount) as amount,
        'EUR' as currency,
        count(*) as line_count,
        max(sold_at) as updated_at
    from receipt_lines
    where line_type = 'sale'
    group by receipt_id
)

select * from harmonised

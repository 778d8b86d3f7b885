with source_rows as (
    select * from {{ source('raw_web', 'events') }}
),

renamed as (
    select
        cast(event_id as varchar) as event_id,
        type as event_type,
        {{ clean_text('anonymous_id') }} as anonymous_id,
        {{ clean_text('session_id') }} as session_id,
        {{ record_id('shop', 'customer', 'shop_customer_id') }} as shop_record_id,
        {{ clean_text('url') }} as url,
        {{ clean_text('sku') }} as product_sku,
        {{ clean_text('referrer') }} as referrer,
        occurred_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

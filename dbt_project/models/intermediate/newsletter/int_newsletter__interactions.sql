with events as (
    select * from {{ ref('stg_newsletter__events') }}
),

harmonised as (
    select
        {{ record_id('newsletter', 'event', 'event_id') }} as interaction_id,
        record_id,
        'newsletter' as source,
        'email' as channel,
        'email_' || event_type as type,
        occurred_at,
        campaign_name as subject,
        null as amount,
        null as product_sku
    from events
)

select * from harmonised

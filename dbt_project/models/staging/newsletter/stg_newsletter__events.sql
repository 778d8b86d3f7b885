with source_rows as (
    select * from {{ source('raw_newsletter', 'events') }}
),

renamed as (
    select
        cast(event_id as varchar) as event_id,
        {{ record_id('newsletter', 'subscriber', 'subscriber_key') }} as record_id,
        {{ clean_text('email') }} as email,
        type as event_type,
        cast(campaign_id as varchar) as campaign_id,
        {{ clean_text('campaign_name') }} as campaign_name,
        cast(list_id as varchar) as list_id,
        {{ clean_text('url') }} as url,
        occurred_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

with source_rows as (
    select * from {{ source('raw_newsletter', 'subscribers') }}
),

renamed as (
    select
        {{ record_id('newsletter', 'subscriber', 'subscriber_key') }} as record_id,
        subscriber_key,
        {{ clean_text('email') }} as email,
        {{ clean_text('first_name') }} as first_name,
        {{ clean_text('last_name') }} as last_name,
        status,
        created_at,
        updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

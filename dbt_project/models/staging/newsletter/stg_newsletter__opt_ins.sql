with source_rows as (
    select * from {{ source('raw_newsletter', 'opt_ins') }}
),

renamed as (
    select
        cast(opt_in_id as varchar) as opt_in_id,
        {{ record_id('newsletter', 'subscriber', 'subscriber_key') }} as record_id,
        {{ clean_text('email') }} as email,
        cast(list_id as varchar) as list_id,
        status,
        {{ clean_text('method') }} as opt_in_method,
        occurred_at,
        updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

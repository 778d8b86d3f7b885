with source_rows as (
    select * from {{ source('raw_newsletter', 'lists') }}
),

renamed as (
    select
        cast(list_id as varchar) as list_id,
        {{ clean_text('name') }} as list_name,
        purpose,
        updated_at
    from source_rows
)

select * from renamed

with source_rows as (
    select * from {{ source('raw_shop', 'categories') }}
),

renamed as (
    select
        cast(category_id as varchar) as category_id,
        {{ clean_text('name') }} as category_name,
        cast(parent_category_id as varchar) as parent_category_id,
        updated_at
    from source_rows
)

select * from renamed

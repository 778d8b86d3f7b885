with source_rows as (
    select * from {{ source('raw_crm', 'option_labels') }}
),

renamed as (
    select
        entity || ':' || attribute || ':' || value as option_label_id,
        entity,
        attribute,
        cast(value as integer) as value,
        label
    from source_rows
)

select * from renamed

with

products as (

    select * from {{ ref('int_products__unioned') }}

),

selected as (

    select
        product_id,
        source,
        sku,
        name,
        category_name,
        parent_category_name,
        price,
        currency,
        is_active,
        updated_at
    from products

)

select * from selected

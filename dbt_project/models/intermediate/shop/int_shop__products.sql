with products as (
    select * from {{ ref('stg_shop__products') }}
),

categories as (
    select * from {{ ref('stg_shop__categories') }}
),

parent_categories as (
    select * from {{ ref('stg_shop__categories') }}
),

harmonised as (
    select
        {{ record_id('shop', 'product', 'products.product_id') }} as product_id,
        'shop' as source,
        products.sku,
        products.product_name as name,
        categories.category_name,
        parent_categories.category_name as parent_category_name,
        products.price,
        products.currency,
        products.is_active,
        products.updated_at
    from products
    left join categories
        on products.category_id = categories.category_id
    left join parent_categories
        on categories.parent_category_id = parent_categories.category_id
)

select * from harmonised

with addresses as (
    select * from {{ ref('stg_shop__addresses') }}
),

-- where the customer lives, as far as a shop knows: the default billing address, the newest of several
ranked as (
    select
        *,
        row_number() over (
            partition by customer_id
            order by
                case when address_kind = 'billing' then 0 else 1 end,
                case when is_default then 0 else 1 end,
                updated_at desc,
                address_id desc
        ) as address_rank
    from addresses
),

harmonised as (
    select
        {{ record_id('shop', 'customer', 'customer_id') }} || ':postal:' || address_id as contact_point_id,
        {{ record_id('shop', 'customer', 'customer_id') }} as record_id,
        'shop' as source,
        street,
        house_number,
        house_number_suffix,
        postal_code,
        city,
        {{ country_code('country_code') }} as country_code,
        address_rank = 1 as is_primary,
        updated_at
    from ranked
)

select * from harmonised

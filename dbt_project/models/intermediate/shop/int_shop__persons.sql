with customers as (
    select * from {{ ref('stg_shop__customers') }}
),

addresses as (
    select * from {{ ref('int_shop__addresses') }}
),

harmonised as (
    select
        customers.record_id,
        'shop' as source,
        'customer' as entity,
        customers.customer_id as source_key,
        customers.first_name,
        null as initials,
        null as infix,
        customers.last_name,
        null as maiden_name,
        {{ full_name('customers.first_name', 'null', 'null', 'customers.last_name') }} as full_name,
        {{ standard_gender('customers.gender_label') }} as gender,
        customers.birth_date,
        customers.email,
        customers.phone,
        null as mobile_phone,
        addresses.street,
        addresses.house_number,
        addresses.house_number_suffix,
        addresses.postal_code,
        addresses.city,
        addresses.country_code,
        null as company_record_id,
        null as guardian_record_id,
        null as linked_record_id,
        customers.loyalty_number,
        false as is_lead,
        true as is_active,
        customers.created_at,
        greatest(
            customers.updated_at, coalesce(addresses.updated_at, customers.updated_at)
        ) as updated_at,
        customers.loaded_at
    from customers
    left join addresses
        on customers.record_id = addresses.record_id
        and addresses.is_primary
)

select * from harmonised

{{
    config(
        meta={
            'owner': 'loyalty',
            'purpose': 'commercial',
            'channel': 'postal',
            'destination': 'print_house',
            'columns': [
                'full_name', 'street', 'house_number', 'house_number_suffix', 'postal_code', 'city', 'country_code'
            ],
        }
    )
}}

with

members as (

    select profile_id from {{ ref('dim_profiles') }}
    where loyalty_number is not null

),

lapsed_customers as (

    select profile_id from {{ ref('profile_measures') }}
    where lifecycle_stage in ('Sluimerend', 'Vertrokken') and revenue_eur >= 100

),

lapsed_members as (

    select members.profile_id
    from members
    inner join lapsed_customers on members.profile_id = lapsed_customers.profile_id

)

select * from lapsed_members

{{
    config(
        meta={
            'owner': 'marketing',
            'purpose': 'commercial',
            'channel': 'email',
            'destination': 'advertising',
            'columns': ['email', 'phone'],
        }
    )
}}

with

-- Customers who were worth having and left: the platform looks for people who resemble them.
good_customers_who_left as (

    select profile_id from {{ ref('profile_measures') }}
    where lifecycle_stage in ('Sluimerend', 'Vertrokken') and order_count >= 3 and revenue_eur >= 150

)

select * from good_customers_who_left

with

contacts as (

    select * from {{ ref('bridge_profile_records') }}
    where source = 'crm' and entity = 'contact'

),

profiles as (

    select * from {{ ref('dim_profiles') }}

),

profile_measures as (

    select * from {{ ref('profile_measures') }}

),

profile_audiences as (

    select * from {{ ref('bridge_profile_audiences') }}

),

audience_lists as (

    select
        profile_id,
        string_agg(audience, '; ' order by audience) as audiences
    from profile_audiences
    group by profile_id

),

customer_profiles as (

    select

        ---- whose row it is
        contacts.source_key as contact_id,
        contacts.profile_id,

        ---- golden profile
        profiles.full_name,
        profiles.email as primary_email,
        coalesce(profiles.mobile_phone, profiles.phone) as primary_phone,
        profiles.city,

        ---- labels, encoded to option codes when they are sent
        profile_measures.lifecycle_stage,
        profile_measures.loyalty_tier,
        profile_measures.preferred_channel,
        profile_measures.email_engagement,

        ---- measures
        profile_measures.revenue_eur as total_revenue,
        profile_measures.average_basket_eur as average_basket,
        profile_measures.order_count,
        profile_measures.first_order_date,
        profile_measures.last_order_date,
        profile_measures.usual_purchase_hour,

        ---- audiences and records
        audience_lists.audiences,
        profiles.sources,
        profiles.record_count

    from contacts
    inner join profiles on contacts.profile_id = profiles.profile_id
    inner join profile_measures on contacts.profile_id = profile_measures.profile_id
    left join audience_lists on contacts.profile_id = audience_lists.profile_id

)

select * from customer_profiles

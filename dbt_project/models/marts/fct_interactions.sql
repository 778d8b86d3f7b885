{{ config(materialized='view') }}

with

interactions as (

    select * from {{ ref('int_interactions__unioned') }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

-- Joined when read: an event keeps the record it happened to, so that its profile is always today's.
joined as (

    select
        interactions.interaction_id,
        profile_records.profile_id,
        interactions.record_id,
        interactions.source,
        interactions.channel,
        interactions.type,
        interactions.occurred_at,
        interactions.subject,
        interactions.amount,
        interactions.product_sku
    from interactions
    left join profile_records on interactions.record_id = profile_records.record_id

)

select * from joined

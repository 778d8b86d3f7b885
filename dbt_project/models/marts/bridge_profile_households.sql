with

household_profiles as (

    select * from {{ source('identity', 'household_profiles') }}

),

selected as (

    select
        profile_id,
        household_id,
        shared as shared_besides_address,
        home_record_id as address_record_id,
        home_known_at as address_known_at
    from household_profiles

)

select * from selected

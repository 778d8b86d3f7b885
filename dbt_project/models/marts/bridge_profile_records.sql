with

persons as (

    select * from {{ ref('int_persons__unioned') }}

),

profile_records as (

    select * from {{ source('identity', 'profile_records') }}

),

joined as (

    select
        profile_records.record_id,
        profile_records.profile_id,
        persons.source,
        persons.entity,
        persons.source_key,
        cast(profile_records.match_probability as double) as match_probability
    from profile_records
    inner join persons on profile_records.record_id = persons.record_id

)

select * from joined

with

members as (

    select * from {{ ref('bridge_profile_households') }}

),

profiles as (

    select * from {{ ref('dim_profiles') }}

),

persons as (

    select * from {{ ref('int_persons__unioned') }}

),

-- Members may spell their address differently; the newest one says how.
homes as (

    select
        household_id,
        address_record_id,
        address_known_at
    from (
        select
            *,
            row_number() over (
                partition by household_id order by address_known_at desc nulls last, address_record_id asc
            ) as choice_number
        from members
    ) as ordered_members
    where choice_number = 1

),

surnames as (

    select
        members.household_id,
        nullif(concat_ws(' ', profiles.infix, profiles.last_name), '') as surname,
        row_number() over (
            partition by members.household_id
            order by count(*) desc, profiles.last_name asc nulls last, profiles.infix asc nulls last
        ) as choice_number
    from members
    inner join profiles on members.profile_id = profiles.profile_id
    where profiles.last_name is not null
    group by members.household_id, profiles.infix, profiles.last_name

),

measures as (

    select
        members.household_id,
        cast(count(*) as integer) as member_count,
        cast(count(case when profiles.is_minor then 1 end) as integer) as child_count
    from members
    inner join profiles on members.profile_id = profiles.profile_id
    group by members.household_id

),

joined as (

    select
        measures.household_id,
        surnames.surname,
        measures.member_count,
        measures.child_count,

        ---- the address, always of one record
        persons.street,
        persons.house_number,
        persons.house_number_suffix,
        persons.postal_code,
        persons.city,
        persons.country_code,
        homes.address_known_at

    from measures
    inner join homes on measures.household_id = homes.household_id
    left join surnames on measures.household_id = surnames.household_id and surnames.choice_number = 1
    left join persons on homes.address_record_id = persons.record_id

)

select * from joined

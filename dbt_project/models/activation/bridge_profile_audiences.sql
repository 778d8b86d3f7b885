with

members as (

    {{ shaped_audience_members() }}

),

keyed as (

    select
        profile_id || ':' || audience as profile_audience_id,
        profile_id,
        audience,
        contact_point_key
    from members

)

select * from keyed

{{ config(pre_hook='{{ drop_former_audiences() }}') }}

with

members as (

    {{ shaped_audience_members() }}

),

keyed as (

    select
        profile_id || ':' || audience as profile_audience_id,
        profile_id,
        audience,
        purpose,
        channel,
        destination,
        contact_point_key
    from members

)

select * from keyed

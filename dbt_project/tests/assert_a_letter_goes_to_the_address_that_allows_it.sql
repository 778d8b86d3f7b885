-- A member of a postal audience whose golden address is another one than the letterbox that was checked. Happens when
-- the golden address and the primary letterbox are chosen differently. A row is such a member.
select
    members.profile_id,
    members.audience
from {{ ref('bridge_profile_audiences') }} as members
inner join {{ ref('dim_contact_points') }} as contact_points
    on
        members.profile_id = contact_points.profile_id
        and members.contact_point_key = contact_points.contact_point_key
inner join {{ ref('dim_profiles') }} as profiles on members.profile_id = profiles.profile_id
where
    members.channel = 'postal'
    and split_part(contact_points.value_std, '|', 1) <> upper(replace(profiles.postal_code, ' ', ''))

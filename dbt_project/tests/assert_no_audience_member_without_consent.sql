-- A member of a shaped audience whose contact point may not be used for the audience's purpose. Happens when an
-- audience is made in another way than by the hook of models/segments. A row is such a member.
with members as (
    select * from {{ ref('bridge_profile_audiences') }}
),

contact_points as (
    select * from {{ ref('dim_contact_points') }}
)

select
    members.profile_id,
    members.audience
from members
left join contact_points
    on
        members.profile_id = contact_points.profile_id
        and members.contact_point_key = contact_points.contact_point_key
        and members.channel = contact_points.channel
where
    contact_points.profile_id is null
    or (members.purpose = 'commercial' and not contact_points.is_commercial_allowed)
    or (members.purpose = 'transactional' and not contact_points.is_transactional_allowed)
    or members.purpose not in ('commercial', 'transactional')

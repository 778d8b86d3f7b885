-- A child in a commercial audience. Happens when an audience is made in another way than by the hook of
-- models/segments. A row is such a member.
select
    members.profile_id,
    members.audience
from {{ ref('bridge_profile_audiences') }} as members
inner join {{ ref('dim_profiles') }} as profiles on members.profile_id = profiles.profile_id
where members.purpose = 'commercial' and profiles.is_minor

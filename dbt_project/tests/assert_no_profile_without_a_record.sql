-- A golden profile that no record belongs to. Happens when the profiles and the bridge come from different link
-- steps. A row is such a profile.
with profiles as (
    select profile_id from {{ ref('dim_profiles') }}
),

profile_records as (
    select distinct profile_id from {{ ref('bridge_profile_records') }}
)

select profiles.profile_id
from profiles
left join profile_records on profiles.profile_id = profile_records.profile_id
where profile_records.profile_id is null

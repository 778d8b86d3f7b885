-- A profile with two first choices for one channel, or none. Happens when the choice is not deterministic; the CRM
-- would show another number every day. A row is such a profile and channel.
select
    profile_id,
    channel
from {{ ref('dim_contact_points') }}
group by profile_id, channel
having count(case when is_primary then 1 end) <> 1

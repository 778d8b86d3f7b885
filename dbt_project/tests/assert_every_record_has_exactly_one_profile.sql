-- A person's record that is in no profile, or in two. Happens when the link stage worked on other records than
-- these, or left some out; such a customer would vanish from every list. A row is such a record.
with persons as (
    select record_id from {{ ref('int_persons__unioned') }}
),

profile_records as (
    select
        record_id,
        count(distinct profile_id) as profile_count
    from {{ ref('bridge_profile_records') }}
    group by record_id
)

select
    persons.record_id,
    profile_records.profile_count
from persons
left join profile_records on persons.record_id = profile_records.record_id
where profile_records.profile_count is null or profile_records.profile_count <> 1

-- A golden value that comes from a record of somebody else. Happens when candidates and bridge disagree; it would
-- show one customer's data to another. A row is such a value.
with golden_values as (
    select * from {{ ref('dim_profile_values') }}
),

profile_records as (
    select * from {{ ref('bridge_profile_records') }}
)

select golden_values.profile_value_id
from golden_values
left join profile_records
    on
        golden_values.record_id = profile_records.record_id
        and golden_values.profile_id = profile_records.profile_id
where profile_records.record_id is null

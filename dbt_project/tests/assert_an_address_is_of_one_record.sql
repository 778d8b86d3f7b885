-- A golden address put together from several records: a street from one, a suffix from another. Happens when a
-- field is taken out of its group in vars: survivorship. A row is such a profile.
select profile_id
from {{ ref('dim_profile_values') }}
where
    field in ('street', 'house_number', 'house_number_suffix', 'postal_code', 'city', 'country_code')
group by profile_id
having count(distinct record_id) > 1

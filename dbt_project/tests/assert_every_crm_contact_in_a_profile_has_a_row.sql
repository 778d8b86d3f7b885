-- A CRM contact that is in a profile but not in the sync, or the other way round. Happens when a join loses or
-- doubles contacts; the profile beside the contact would be cleared or written twice. A row is such a contact.
with contacts as (
    select source_key as contact_id
    from {{ ref('bridge_profile_records') }}
    where source = 'crm' and entity = 'contact'
),

synced as (
    select contact_id from {{ ref('sync_crm__customer_profiles') }}
)

select coalesce(contacts.contact_id, synced.contact_id) as contact_id
from contacts
full outer join synced on contacts.contact_id = synced.contact_id
where contacts.contact_id is null or synced.contact_id is null

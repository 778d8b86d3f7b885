with

contact_points as (

    select * from {{ ref('int_contact_points__unioned') }}
    where value_std is not null and value_std <> ''

),

consents as (

    select * from {{ ref('int_consents__unioned') }}
    where effective_at <= {{ as_of() }}

),

profile_records as (

    select * from {{ ref('bridge_profile_records') }}

),

golden_values as (

    select * from {{ ref('dim_profile_values') }}

),

candidates as (

    select * from {{ ref('int_profile_candidates__joined') }}

),

-- Where the golden e-mail address, phone number and address come from, best first: a mobile number before a
-- landline.
golden_records as (

    select
        golden_values.record_id,
        case golden_values.field
            when 'email' then 'email'
            when 'postal_code' then 'postal'
            else 'phone'
        end as channel,
        case golden_values.field
            when 'email' then candidates.email_std
            when 'mobile_phone' then candidates.mobile_phone_std
            when 'phone' then candidates.phone_std
        end as value_std,
        case golden_values.field when 'phone' then 2 else 1 end as preference
    from golden_values
    inner join candidates on golden_values.record_id = candidates.record_id
    where golden_values.field in ('email', 'mobile_phone', 'phone', 'postal_code')

),

-- Of a record's letterboxes its own primary one is the address that it gives to the golden profile.
golden_points as (

    select
        golden_records.record_id,
        golden_records.channel,
        coalesce(golden_records.value_std, contact_points.value_std) as value_std,
        min(golden_records.preference) as preference
    from golden_records
    left join contact_points
        on
            golden_records.record_id = contact_points.record_id
            and golden_records.channel = contact_points.channel
            and contact_points.channel = 'postal'
            and contact_points.is_primary
    group by
        golden_records.record_id,
        golden_records.channel,
        coalesce(golden_records.value_std, contact_points.value_std)

),

points_of_profiles as (

    select
        profile_records.profile_id,
        contact_points.channel,
        contact_points.value_std,
        -- One of its spellings, always the same one.
        min(contact_points.value) as value,
        min(coalesce(golden_points.preference, 3)) as preference,
        bool_or(contact_points.is_primary) as is_primary_of_record,
        cast(count(distinct contact_points.record_id) as integer) as record_count,
        max(contact_points.updated_at) as last_updated_at
    from contact_points
    inner join profile_records on contact_points.record_id = profile_records.record_id
    left join golden_points
        on
            contact_points.record_id = golden_points.record_id
            and contact_points.channel = golden_points.channel
            and contact_points.value_std = golden_points.value_std
    group by profile_records.profile_id, contact_points.channel, contact_points.value_std

),

points as (

    select
        *,
        {{ contact_point_key() }} as contact_point_key,
        row_number() over (
            partition by profile_id, channel
            order by preference asc, is_primary_of_record desc, last_updated_at desc, value_std asc
        ) = 1 as is_primary
    from points_of_profiles

),

-- Nobody's no: a message came back, and nobody said yes again since.
undeliverable_points as (

    select
        channel,
        contact_point_std
    from consents
    group by channel, contact_point_std
    having
        max(effective_at) filter (where status = 'undeliverable')
        >= coalesce(max(effective_at) filter (where status = 'granted'), '-infinity')

),

-- The latest event counts, whichever record it came from. Two events of one moment are both kept here, so that
-- a no among them can win.
events_ranked as (

    select
        consents.channel,
        consents.contact_point_std,
        consents.purpose,
        consents.status,
        consents.effective_at,
        consents.expires_at,
        profile_records.profile_id,
        rank() over (
            partition by consents.channel, consents.contact_point_std, consents.purpose
            order by consents.effective_at desc
        ) as rank_at_point,
        rank() over (
            partition by
                consents.channel, consents.contact_point_std, consents.purpose, profile_records.profile_id
            order by consents.effective_at desc
        ) as rank_of_profile
    from consents
    left join profile_records on consents.record_id = profile_records.record_id
    where consents.status <> 'undeliverable'

),

states_of_points as (

    select
        channel,
        contact_point_std,
        purpose,
        max(effective_at) as effective_at,
        {{ consent_state() }} as state
    from events_ranked
    where rank_at_point = 1
    group by channel, contact_point_std, purpose

),

-- Somebody else's later yes on a shared mailbox or letterbox does not overrule a person's own no.
own_denials as (

    select
        profile_id,
        channel,
        contact_point_std,
        purpose
    from events_ranked
    where rank_of_profile = 1 and profile_id is not null
    group by profile_id, channel, contact_point_std, purpose
    having bool_or(status <> 'granted')

),

-- Every purpose beside the other, so that a contact point is looked up once.
states_by_purpose as (

    select
        channel,
        contact_point_std
        {%- for purpose in consent_purposes() %},
        max(case when purpose = '{{ purpose }}' then state end) as {{ purpose }}_state,
        max(case when purpose = '{{ purpose }}' then effective_at end) as {{ purpose }}_at
        {%- endfor %}
    from states_of_points
    group by channel, contact_point_std

),

own_denials_by_purpose as (

    select
        profile_id,
        channel,
        contact_point_std
        {%- for purpose in consent_purposes() %},
        bool_or(purpose = '{{ purpose }}') as is_{{ purpose }}_denied
        {%- endfor %}
    from own_denials
    group by profile_id, channel, contact_point_std

),

with_states as (

    select
        points.*,
        undeliverable_points.channel is null as is_deliverable
        {%- for purpose in consent_purposes() %},
        case
            when own_denials_by_purpose.is_{{ purpose }}_denied then 'denied'
            else coalesce(states_by_purpose.{{ purpose }}_state, 'unknown')
        end as {{ purpose }}_consent,
        states_by_purpose.{{ purpose }}_at as {{ purpose }}_consent_at
        {%- endfor %}
    from points
    left join states_by_purpose
        on
            points.channel = states_by_purpose.channel
            and points.value_std = states_by_purpose.contact_point_std
    left join own_denials_by_purpose
        on
            points.profile_id = own_denials_by_purpose.profile_id
            and points.channel = own_denials_by_purpose.channel
            and points.value_std = own_denials_by_purpose.contact_point_std
    left join undeliverable_points
        on
            points.channel = undeliverable_points.channel
            and points.value_std = undeliverable_points.contact_point_std

),

evaluated as (

    select
        profile_id || ':' || contact_point_key as contact_point_id,
        contact_point_key,
        profile_id,
        channel,
        value,
        value_std,
        is_primary,
        is_deliverable,
        {%- for purpose in consent_purposes() %}

        ---- may it be used for a {{ purpose }} message, and why
        is_deliverable and case {{ purpose }}_consent
            when 'granted' then true
            when 'unknown' then {{ allowed_by_default(purpose) }}
            else false
        end as is_{{ purpose }}_allowed,
        {{ purpose }}_consent,
        {{ purpose }}_consent_at,
        {%- endfor %}

        ---- records
        record_count,
        last_updated_at

    from with_states

)

select * from evaluated

with

profiles as (

    select profile_id from {{ ref('dim_profiles') }}

),

interactions as (

    select * from {{ ref('fct_interactions') }}
    where profile_id is not null and occurred_at <= {{ as_of() }}

),

-- What somebody did, not what was done to them: a message that was sent, or bounced, is no interaction of theirs.
interactions_of_profiles as (

    select
        profile_id,
        max(occurred_at) as last_interaction_at,
        max(case when channel = 'web' then occurred_at end) as last_web_visit_at,
        max(case when channel = 'email' then occurred_at end) as last_email_reaction_at,
        cast(
            count(
                case
                    when
                        channel = 'email' and type = 'email_open'
                        and occurred_at > {{ as_of() }} - interval '180' day
                        then 1
                end
            ) as integer
        ) as email_open_180_days_count,
        cast(
            count(
                case
                    when
                        channel = 'email' and type = 'email_click'
                        and occurred_at > {{ as_of() }} - interval '180' day
                        then 1
                end
            ) as integer
        ) as email_click_180_days_count
    from interactions
    where type not in ('email_sent', 'email_bounce', 'contact_created')
    group by profile_id

),

measured as (

    select
        profiles.profile_id,
        interactions_of_profiles.last_interaction_at,
        interactions_of_profiles.last_web_visit_at,
        interactions_of_profiles.last_email_reaction_at,
        coalesce(interactions_of_profiles.email_open_180_days_count, 0) as email_open_180_days_count,
        coalesce(interactions_of_profiles.email_click_180_days_count, 0) as email_click_180_days_count
    from profiles
    left join interactions_of_profiles on profiles.profile_id = interactions_of_profiles.profile_id

),

banded as (

    select
        *,
        {{ band(
            'email_open_180_days_count + 3 * email_click_180_days_count',
            var('email_engagement_points'), 'Geen'
        ) }} as email_engagement
    from measured

)

select * from banded

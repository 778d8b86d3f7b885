with

companies as (

    select * from {{ ref('int_companies__unioned') }}

),

company_records as (

    select * from {{ source('identity', 'company_records') }}

),

joined as (

    select
        company_records.record_id,
        company_records.company_id,
        companies.source,
        companies.source_key,
        company_records.match_key
    from company_records
    inner join companies on company_records.record_id = companies.record_id

)

select * from joined

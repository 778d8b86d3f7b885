with source_rows as (
    select * from {{ source('raw_pos', 'members') }}
),

renamed as (
    select
        -- key
        {{ record_id('pos', 'member', 'kaartnummer') }} as record_id,
        cast(kaartnummer as varchar) as loyalty_number,

        -- name
        {{ clean_text('voorletters') }} as initials,
        {{ clean_text('voornaam') }} as first_name,
        {{ clean_text('tussenvoegsel') }} as infix,
        {{ clean_text('achternaam') }} as last_name,

        -- person
        {{ decode_code(clean_text('geslacht'), {'M': 'Man', 'V': 'Vrouw'}) }} as gender_label,
        cast(geboortedatum as date) as birth_date,

        -- contact
        {{ clean_text('straat') }} as street,
        {{ clean_text('cast(huisnummer as varchar)') }} as house_number,
        {{ clean_text('toevoeging') }} as house_number_suffix,
        {{ clean_text('postcode') }} as postal_code,
        {{ clean_text('plaats') }} as city,
        {{ clean_text('telefoon') }} as phone,
        {{ clean_text('email') }} as email,

        -- consent
        {{ decode_code(clean_text('mailing'), {'J': 'yes', 'N': 'no'}) }} as email_permission,
        {{ decode_code(clean_text('post'), {'J': 'yes', 'N': 'no'}) }} as postal_permission,

        -- time: the till's local clock
        {{ local_to_utc('aanmelddatum') }} as created_at,
        {{ local_to_utc('gewijzigd') }} as updated_at,
        _loaded_at as loaded_at
    from source_rows
)

select * from renamed

"""Who is known in which system, and what that system's tables say.

Here: membership (about 2.2 records a person, some twice in one system), and one function per kind
of record that shapes what was observed into the columns of its system, with consents that every
system asked for on its own. The truth about every record is kept beside them.
Not here: mistakes in names, dates and addresses (`demo.records`), what people buy and read
(`demo.history`).

Flow: people, companies -> `draw_records()` -> tables named `<system>.<table>`, and `truth`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demo import names
from demo.people import (
    BOTH,
    NO_SYSTEM,
    SHOP_ONLY,
    TILL_ONLY,
    Bools,
    Ints,
    day_number,
    draw_addresses,
)
from demo.records import Counters, Habits, draws, moments, observe, observer, rows_of

CRM_HABITS: Final = Habits(call_name=0.5, first_missing=0.08, initial_only=0.08, birth_missing=0.45)
SHOP_HABITS: Final = Habits(
    call_name=0.8, birth_missing=0.75, email_missing=0.0, landline_missing=0.85, keeps_up=0.75
)
TILL_HABITS: Final = Habits(
    call_name=0.6,
    first_missing=0.35,
    birth_missing=0.35,
    birth_default=0.02,
    email_missing=0.45,
    landline_missing=0.5,
    mobile_missing=0.4,
    typo=0.045,
    keeps_up=0.4,
)
#: What people type into a form themselves, often on a telephone.
FORM_HABITS: Final = Habits(
    call_name=0.92, first_missing=0.12, email_missing=0.0, infix_lost=0.06, typo=0.02
)

#: Shares of people known in the CRM, shop, till and newsletter, by how they shop.
SHARES: Final = {
    NO_SYSTEM: (0.90, 0.0, 0.0, 0.40),
    SHOP_ONLY: (0.48, 1.0, 0.08, 0.68),
    TILL_ONLY: (0.46, 0.0, 1.0, 0.45),
    BOTH: (0.66, 1.0, 0.94, 0.72),
}

#: Of so many companies, one is in the CRM twice.
COMPANIES_PER_DOUBLE: Final = 6

TRUTH_SCHEMA: Final = pa.schema(
    [
        ("source", pa.string()),
        ("entity", pa.string()),
        ("natural_key", pa.string()),
        ("person_id", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Membership:
    """Which persons (rows of the block) are written down in which system."""

    contacts: Ints
    business_contacts: Ints
    leads: Ints
    customers: Ints
    members: Ints
    subscribers: Ints


def draw_membership(rng: np.random.Generator, people: pa.Table) -> Membership:
    """Decide who is known where; every person is known somewhere, some twice in one system."""
    count = people.num_rows
    child = people["is_child"].to_numpy(zero_copy_only=False)
    works = np.asarray(pc.is_valid(people["company_id"]))
    has_mail = np.asarray(pc.is_valid(people["email"]))
    u = rng.random((6, count))
    share = np.array([SHARES[kind] for kind in range(4)])[people["shopper"].to_numpy()]
    in_crm = (u[0] < share[:, 0]) | child
    # Whoever is the guardian of a child is known too.
    guardians = rows_of(people, people["guardian_id"].drop_null().to_numpy())
    in_crm[guardians[guardians >= 0]] = True
    in_shop = (u[1] < share[:, 1]) & has_mail & ~child
    in_store = (u[2] < share[:, 2]) & ~child
    in_letter = (u[3] < share[:, 3]) & has_mail & ~child
    is_lead = (u[4] < np.where(works, 0.35, 0.07)) & ~child
    business = works & (u[5] < 0.8)
    in_crm |= ~(in_shop | in_store | in_letter | is_lead | business)

    def twice(known: Bools, again: float) -> Ints:
        first = np.flatnonzero(known)
        return np.concatenate([first, first[rng.random(first.size) < again]])

    return Membership(
        contacts=twice(in_crm, 0.06),
        business_contacts=np.flatnonzero(business),
        leads=twice(is_lead, 0.1),
        customers=twice(in_shop, 0.05),
        members=twice(in_store, 0.06),
        subscribers=np.flatnonzero(in_letter),
    )


def draw_records(
    rng: np.random.Generator,
    people: pa.Table,
    companies: pa.Table,
    membership: Membership,
    counters: Counters,
    as_of: int,
    today: dt.date,
    is_fresh: bool = False,
) -> dict[str, pa.Table]:
    """Write the members of a block down in every system.

    Args:
        rng: The random stream.
        people: The block's people, in order of person_id.
        companies: The block's companies; all of them become CRM accounts, some of them two.
        membership: Who is known where.
        counters: Numbers given out so far; moved on.
        as_of: The latest moment that exists, in microseconds since 1970.
        today: The business date.
        is_fresh: Whether everything was written down today, or over the years.

    Returns:
        Tables by `<system>.<table>`, `truth`, and `company_truth` (which company an account is);
        tables of persons have a `person_id`.
    """
    with observer() as con:
        pen = _Pen(con, rng, people, companies, counters, as_of, day_number(today), is_fresh)
        # Members come first: the other systems sometimes know the card.
        members, cards = pen.members(membership.members)
        accounts = pen.accounts()
        contacts, contact_ids = pen.contacts(
            membership.contacts, membership.business_contacts, accounts, cards
        )
        leads = pen.leads(membership.leads, contact_ids)
        customers, addresses = pen.customers(membership.customers, cards)
        subscribers, opt_ins = pen.subscribers(membership.subscribers)
    return {
        "crm.accounts": accounts.drop_columns(["company_id", "slug"]),
        "crm.contacts": contacts,
        "crm.leads": leads,
        "shop.customers": customers,
        "shop.addresses": addresses,
        "pos.members": members,
        "newsletter.subscribers": subscribers,
        "newsletter.opt_ins": opt_ins,
        "truth": pa.concat_tables(
            [
                _truth("crm", "contact", contacts, "contactid"),
                _truth("crm", "lead", leads, "leadid"),
                _truth("shop", "customer", customers, "customer_id"),
                _truth("pos", "member", members, "kaartnummer"),
                _truth("newsletter", "subscriber", subscribers, "email"),
            ]
        ),
        "company_truth": accounts.select(["accountid", "company_id"]),
    }


@dataclass(frozen=True)
class _Keys:
    """The key of each person's first record in a system, by row of the block."""

    place: Ints
    keys: pa.Array

    @classmethod
    def of(cls, rows: Ints, keys: pa.ChunkedArray, people: int) -> _Keys:
        place = np.full(people, -1, dtype=np.int64)
        place[rows[::-1]] = np.arange(rows.size)[::-1]
        return cls(place, keys.combine_chunks())

    def known(self, rows: Ints, is_known: Bools) -> pa.Array:
        """Those persons' keys; null when there is none or it is not known."""
        at = np.where(is_known & (rows >= 0), self.place[np.where(rows >= 0, rows, 0)], -1)
        return self.keys.take(pa.array(np.where(at >= 0, at, 0), mask=at < 0))


@dataclass(frozen=True)
class _Pen:
    """Writes the people of one block down."""

    con: duckdb.DuckDBPyConnection
    rng: np.random.Generator
    people: pa.Table
    companies: pa.Table
    counters: Counters
    as_of: int
    day: int
    is_fresh: bool

    def members(self, rows: Ints) -> tuple[pa.Table, _Keys]:
        """Holders of a customer card."""
        last = self.counters.take("members", rows.size)
        seen = self._observe(rows, 5, TILL_HABITS)
        members = self._sql(
            """
            select
                printf('29%09d', (number * 104729) % 1000000000) as kaartnummer,
                if(u_letters < 0.08, null, initials) as voorletters,
                first_name as voornaam,
                infix as tussenvoegsel,
                surname as achternaam,
                if(u_gender < 0.1, null, gender) as geslacht,
                birth_date as geboortedatum,
                street as straat,
                house_number as huisnummer,
                house_number_suffix as toevoeging,
                postal_code as postcode,
                city as plaats,
                coalesce(mobile, landline) as telefoon,
                email,
                cast(created_at as date) as aanmelddatum,
                if(u_mailing < 0.55, 'J', 'N') as mailing,
                if(u_post < 0.65, 'J', 'N') as post,
                date_trunc(
                    'minute', (updated_at at time zone 'UTC') at time zone 'Europe/Amsterdam'
                ) as gewijzigd,
                cast(store as integer) as store,
                person_id,
            from seen
            order by row_number
            """,
            _with(
                seen,
                number=pa.array(last + 1 + np.arange(rows.size)),
                **draws(self.rng, rows.size, ["gender", "mailing", "post", "letters"]),
            ),
        )
        return members, _Keys.of(rows, members["kaartnummer"], self.people.num_rows)

    def accounts(self) -> pa.Table:
        """Companies, some twice; with the columns that their contacts are made from."""
        # A stream of its own: without them, the rest of the world would be the same.
        (rng,) = self.rng.spawn(1)
        again = self._entered_again(rng)
        return pa.concat_tables(
            [self._accounts_of(self.companies, self.rng), self._accounts_of(again, rng)]
        )

    def _entered_again(self, rng: np.random.Generator) -> pa.Table:
        """Companies as somebody else knew them: with a slip, without legal form, or a branch."""
        number = self.companies["company_id"].to_numpy()
        again = self.companies.filter(pa.array(number % COMPANIES_PER_DOUBLE == 2))
        branch = draw_addresses(rng, again.num_rows)
        places = ("street", "house_number", "house_number_suffix", "postal_code", "city")
        branch_places = ", ".join(
            f"if(kind = 2, branch_{place}, {place}) as {place}" for place in places
        )
        return self._sql(
            f"""
            select
                company_id,
                case kind
                    when 0 then regexp_replace(name, '([aeiou])([a-z])', '\\2\\1')
                    when 1 then regexp_replace(name, ' (B[.]V[.]|BV|V[.]O[.]F[.]|Holding)', '', 'g')
                    else name
                end as name,
                if(kind = 2, kvk_number || '0002', kvk_number) as kvk_number,
                vat_number,
                slug,
                phone,
                {branch_places},
            from (select *, (1 + company_id // {COMPANIES_PER_DOUBLE}) % 3 as kind from seen)
            """,
            _with(again, **{f"branch_{place}": branch[place] for place in places}),
        )

    def _accounts_of(self, companies: pa.Table, rng: np.random.Generator) -> pa.Table:
        count = companies.num_rows
        return self._sql(
            """
            select
                guid(guid_a, guid_b) as accountid,
                name,
                if(u_kvk < 0.2, null, kvk_number) as cdp_kvknumber,
                if(u_kvk > 0.6, vat_number, null) as cdp_vatnumber,
                phone as telephone1,
                'info@' || slug || '.example' as emailaddress1,
                concat_ws(' ', street, house_number, house_number_suffix) as address1_line1,
                postal_code as address1_postalcode,
                city as address1_city,
                'Nederland' as address1_country,
                if(u_site < 0.6, 'https://www.' || slug || '.example', null) as websiteurl,
                cast(0 as integer) as statecode,
                make_timestamp(created) at time zone 'UTC' as createdon,
                make_timestamp(created) at time zone 'UTC' as modifiedon,
                company_id,
                slug,
            from seen
            """,
            _with(
                companies,
                created=pa.array(self._since(6, count, rng)),
                **self._guids(count, rng),
                **draws(rng, count, ["site", "kvk"]),
            ),
        )

    def contacts(
        self, private: Ints, business: Ints, accounts: pa.Table, cards: _Keys
    ) -> tuple[pa.Table, _Keys]:
        """Contacts of the CRM: private ones, and those known through their work."""
        rng = self.rng
        rows = np.concatenate([private, business])
        is_business = np.arange(rows.size) >= private.size
        seen = self._observe(rows, 6, CRM_HABITS)
        guids = self._guids(rows.size)
        ids = self._sql(
            "select guid(guid_a, guid_b) as contactid from seen order by row_number",
            pa.table({"row_number": np.arange(rows.size), **guids}),
        )["contactid"]
        keys = _Keys.of(rows, ids, self.people.num_rows)
        # A child is reached through its guardian.
        guardian_id = seen["guardian_id"].combine_chunks().fill_null(0).to_numpy()
        guardian = rows_of(self.people, guardian_id)
        guardian_person = self.people.take(pa.array(np.maximum(guardian, 0)))
        company = accounts.take(self._accounts_known(accounts, seen["company_id"], is_business))
        contacts = self._sql(
            """
            select
                contactid,
                first_name as firstname,
                infix as middlename,
                surname as lastname,
                if(u_initials < 0.25, null, initials) as cdp_initials,
                if(u_maiden < 0.5, maiden_name, null) as cdp_maidenname,
                cast(
                    case when u_gender < 0.12 then 3 when gender = 'M' then 1 else 2 end as integer
                ) as gendercode,
                birth_date as birthdate,
                case
                    when company_accountid is not null and u_office_mail < 0.55
                        then 'info@' || company_slug || '.example'
                    when company_accountid is not null
                        then lower(left(initials, 1)) || '.'
                            || regexp_replace(lower(strip_accents(surname)), '[^a-z]', '', 'g')
                            || '@' || company_slug || '.example'
                    when is_child and u_parent_mail < 0.6 then guardian_email
                    else email
                end as emailaddress1,
                if(company_accountid is not null, company_telephone1, landline) as telephone1,
                if(is_child and u_parent_mail < 0.5, guardian_mobile, mobile) as mobilephone,
                if(
                    company_accountid is not null,
                    company_address1_line1,
                    nullif(concat_ws(' ', street, house_number, house_number_suffix), '')
                ) as address1_line1,
                if(company_accountid is not null, company_address1_postalcode, postal_code)
                    as address1_postalcode,
                if(company_accountid is not null, company_address1_city, city) as address1_city,
                if(coalesce(company_address1_city, city) is null, null, 'Nederland')
                    as address1_country,
                company_accountid as parentcustomerid,
                guardian_contactid as cdp_guardianid,
                cast(
                    case
                        when u_preferred < 0.6 then 1
                        when u_preferred < 0.8 then 2
                        when u_preferred < 0.9 then 3
                        else 4
                    end as integer
                ) as preferredcontactmethodcode,
                card as cdp_loyaltynumber,
                if(
                    u_has_favourite < 0.3,
                    one_of(
                        [
                            'Ontbijt', 'Koffie en thee', 'Wijn', 'Keuken', 'Tuin en balkon',
                            'Textiel'
                        ],
                        u_favourite
                    ),
                    null
                ) as cdp_favouritecategory,
                u_no_mail < 0.22 as donotemail,
                u_no_phone < 0.35 as donotphone,
                u_no_post < 0.12 as donotpostalmail,
                if(u_consent < 0.55, cast(created_at as date), null) as cdp_consentdate,
                cast(if(u_state < 0.04, 1, 0) as integer) as statecode,
                created_at at time zone 'UTC' as createdon,
                updated_at at time zone 'UTC' as modifiedon,
                person_id,
            from seen
            order by row_number
            """,
            _with(
                seen,
                contactid=ids.combine_chunks(),
                card=cards.known(rows, rng.random(rows.size) < 0.35),
                guardian_contactid=keys.known(guardian, guardian >= 0),
                guardian_email=guardian_person["email"].combine_chunks(),
                guardian_mobile=guardian_person["mobile"].combine_chunks(),
                **{
                    f"company_{name}": company[name].combine_chunks()
                    for name in (
                        "accountid",
                        "slug",
                        "telephone1",
                        "address1_line1",
                        "address1_postalcode",
                        "address1_city",
                    )
                },
                **draws(
                    rng,
                    rows.size,
                    [
                        "gender",
                        "preferred",
                        "has_favourite",
                        "favourite",
                        "no_mail",
                        "no_phone",
                        "no_post",
                        "consent",
                        "state",
                        "office_mail",
                        "maiden",
                        "parent_mail",
                        "initials",
                    ],
                ),
            ),
        )
        return contacts, keys

    def leads(self, rows: Ints, contact_ids: _Keys) -> pa.Table:
        """Leads; the better ones have become a contact."""
        seen = self._observe(rows, 1.5, FORM_HABITS)
        has_company = np.asarray(pc.is_valid(seen["company_id"]))
        company = self.companies["name"].take(self._companies(seen["company_id"], has_company))
        return self._sql(
            f"""
            select
                guid(guid_a, guid_b) as leadid,
                first_name as firstname,
                if(u_infix_apart < 0.4, infix, null) as middlename,
                if(u_infix_apart < 0.4, surname, concat_ws(' ', infix, surname)) as lastname,
                email as emailaddress1,
                mobile as mobilephone,
                companyname,
                one_of({list(names.LEAD_SUBJECTS)}, u_subject) as subject,
                cast(1 + floor(u_source * 4) as integer) as leadsourcecode,
                cast(
                    case
                        when parent is not null then 3
                        when u_status < 0.5 then 1
                        when u_status < 0.85 then 2
                        else 4
                    end as integer
                ) as statuscode,
                parent as parentcontactid,
                postal_code as address1_postalcode,
                created_at at time zone 'UTC' as createdon,
                updated_at at time zone 'UTC' as modifiedon,
                person_id,
            from seen
            order by row_number
            """,
            _with(
                seen,
                parent=contact_ids.known(rows, self.rng.random(rows.size) < 0.4),
                companyname=company.combine_chunks(),
                **self._guids(rows.size),
                **draws(self.rng, rows.size, ["subject", "source", "status", "infix_apart"]),
            ),
        )

    def customers(self, rows: Ints, cards: _Keys) -> tuple[pa.Table, pa.Table]:
        """Customers of the shop and their addresses."""
        last = self.counters.take("customers", rows.size)
        last_address = self.counters.take("addresses", rows.size * 2)
        seen = self._observe(rows, 3, SHOP_HABITS)
        base = _with(
            seen,
            customer_id=pa.array(last + 1 + np.arange(rows.size)),
            address_id=pa.array(last_address + 1 + 2 * np.arange(rows.size)),
            loyalty_number=cards.known(rows, self.rng.random(rows.size) < 0.32),
            **draws(self.rng, rows.size, ["gender", "opt_in", "opt_when", "second_address"]),
        )
        customers = self._sql(
            """
            select
                customer_id,
                coalesce(email, 'klant' || customer_id || '@post.example') as email,
                first_name,
                concat_ws(' ', infix, surname) as last_name,
                coalesce(mobile, landline) as phone,
                birth_date,
                if(u_gender < 0.25, null, gender) as gender,
                u_opt_in < 0.52 as newsletter_opt_in,
                case
                    when u_opt_in >= 0.52 then null
                    when u_opt_when < 0.8 then created_at
                    else updated_at
                end at time zone 'UTC' as opt_in_at,
                loyalty_number,
                created_at at time zone 'UTC' as created_at,
                updated_at at time zone 'UTC' as updated_at,
                person_id,
            from seen
            order by row_number
            """,
            base,
        )
        addresses = self._sql(
            """
            with kinds as (
                select *, unnest(['billing', 'shipping']) as kind,
                from seen
                where street is not null
            )

            select
                address_id + cast(kind = 'shipping' as integer) as address_id,
                customer_id,
                kind,
                street,
                house_number,
                house_number_suffix,
                postal_code,
                city,
                'NL' as country_code,
                kind = 'billing' as is_default,
                updated_at at time zone 'UTC' as updated_at,
            from kinds
            where kind = 'billing' or u_second_address < 0.35
            order by 1
            """,
            base,
        )
        return customers, addresses

    def subscribers(self, rows: Ints) -> tuple[pa.Table, pa.Table]:
        """Subscribers of the newsletter, one per address, and what they have agreed to."""
        second = rows[np.asarray(pc.is_valid(self.people["second_email"]))[rows]]
        second = second[self.rng.random(second.size) < 0.35]
        # Some subscribe with their second address as well.
        again = _set(self.people.take(pa.array(second)), email="second_email")
        once = self.people.take(pa.array(rows))
        written = pa.concat_tables([once, again])
        written = _set(written, second_email=pa.nulls(written.num_rows, pa.string()))
        count = written.num_rows
        seen = observe(
            self.con,
            self.rng,
            written,
            self._since(2.5, count),
            self.as_of,
            replace(FORM_HABITS, junk=0.0),
        )
        # Nobody has left on the day of joining.
        status = "'active'" if self.is_fresh else "status_drawn"
        subscribers = self._sql(
            f"""
            with keyed as (
                select
                    *,
                    row_number() over (partition by lower(email) order by row_number) as place,
                    case
                        when u_status < 0.09 then 'unsubscribed'
                        when u_status < 0.12 then 'bounced'
                        else 'active'
                    end as status_drawn,
                    {self.as_of} - epoch_us(created_at) as age,
                from seen
            )

            select
                email,
                first_name,
                concat_ws(' ', infix, surname) as last_name,
                {status} as status,
                created_at at time zone 'UTC' as created_at,
                if(
                    {status} = 'active',
                    updated_at,
                    created_at + to_microseconds(cast(u_status_at * age as bigint))
                ) at time zone 'UTC' as updated_at,
                u_offers < 0.6 as wants_offers,
                u_offers_out < 0.12 as regrets_offers,
                u_method,
                person_id,
                row_number,
            from keyed
            where place = 1
            order by row_number
            """,
            _with(
                seen,
                **draws(self.rng, count, ["status", "status_at", "offers", "offers_out", "method"]),
            ),
        )
        last = self.counters.take("opt_ins", subscribers.num_rows * 5)
        opt_ins = self._sql(
            f"""
            with offers_out as (
                select
                    *,
                    least(
                        make_timestamp({self.as_of}) at time zone 'UTC',
                        created_at + interval 40 day
                    ) as regretted_at,
                from seen
                where wants_offers and (regrets_offers or status = 'unsubscribed')
            ),

            happened as (
                select row_number, email, u_method, 1 as list_id, 'opted_in' as status,
                    created_at as occurred_at
                from seen
                union all
                select row_number, email, u_method, 1, 'opted_out', updated_at
                from seen
                where status = 'unsubscribed'
                union all
                select row_number, email, u_method, 2, 'opted_in', created_at
                from seen
                where wants_offers
                union all
                select row_number, email, u_method, 2, 'opted_out', regretted_at
                from offers_out
                union all
                select row_number, email, u_method, 3, 'opted_in', created_at
                from seen
                where u_method < 0.5
            ),

            numbered as (
                select
                    *,
                    row_number() over (order by row_number, list_id, occurred_at, status) as number,
                from happened
            )

            select
                cast({last} + number as bigint) as opt_in_id,
                email,
                list_id,
                status,
                case
                    when status = 'opted_out' then 'unsubscribe_link'
                    when u_method < 0.6 then 'web_form'
                    when u_method < 0.85 then 'checkout'
                    else 'paper_form'
                end as method,
                occurred_at,
                occurred_at as updated_at,
            from numbered
            order by number
            """,
            subscribers,
        )
        return subscribers, opt_ins

    # -- tools ----------------------------------------------------------------------------------

    def _since(self, years: float, count: int, rng: np.random.Generator | None = None) -> Ints:
        """Moments of writing down, over so many years or today."""
        first = self.day if self.is_fresh else self.day - int(years * 365)
        return np.minimum(moments(rng or self.rng, first, self.day, count), self.as_of)

    def _observe(self, rows: Ints, years: float, habits: Habits) -> pa.Table:
        written = self.people.take(pa.array(rows))
        created = self._since(years, rows.size)
        return observe(self.con, self.rng, written, created, self.as_of, habits)

    def _sql(self, query: str, seen: pa.Table) -> pa.Table:
        self.con.register("seen", seen)
        result: pa.Table = self.con.execute(query).to_arrow_table()
        self.con.unregister("seen")
        return result

    def _guids(self, count: int, rng: np.random.Generator | None = None) -> dict[str, pa.Array]:
        rng = rng or self.rng
        return {name: pa.array(rng.integers(0, 2**62, count)) for name in ("guid_a", "guid_b")}

    def _accounts_known(
        self, accounts: pa.Table, company_id: pa.ChunkedArray, is_wanted: Bools
    ) -> pa.Array:
        """Rows of accounts; of a company that is there twice, now one and then the other."""
        first = self._companies(company_id, is_wanted)
        count = self.companies.num_rows
        again = pc.index_in(
            self.companies["company_id"].combine_chunks(),
            value_set=accounts["company_id"].combine_chunks()[count:],
        )
        second = pc.add(again.take(first), count)
        is_second = pc.and_(pa.array(np.arange(len(first)) % 2 == 1), pc.is_valid(second))
        return pc.if_else(is_second, second, first)

    def _companies(self, company_id: pa.ChunkedArray, is_wanted: Bools) -> pa.Array:
        """Rows of those companies; null when not wanted, or not among this block's."""
        known = self.companies["company_id"].combine_chunks()
        place = pc.index_in(company_id.combine_chunks(), value_set=known)
        return pc.if_else(pa.array(is_wanted), place, None)


def _truth(source: str, entity: str, records: pa.Table, key: str) -> pa.Table:
    count = records.num_rows
    return pa.table(
        {
            "source": pa.repeat(source, count),
            "entity": pa.repeat(entity, count),
            "natural_key": records[key].cast(pa.string()),
            "person_id": records["person_id"],
        },
        schema=TRUTH_SCHEMA,
    )


def _with(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _set(table: pa.Table, **columns: pa.Array | str) -> pa.Table:
    """The table with other values (or another column's) in some columns."""
    for name, values in columns.items():
        new = table[values] if isinstance(values, str) else values
        table = table.set_column(table.column_names.index(name), name, new)
    return table

"""The generated world: repeatable, whole in its references, and full of real-life trouble."""

from __future__ import annotations

import datetime as dt

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from demo import people
from demo.tables import draw_blocks, end_of_day, generate_tables

PERSONS = 4_000
Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return generate_tables(PERSONS, seed=7)


@pytest.fixture(scope="module")
def world(tables: Tables) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": 2})
    con.execute("set TimeZone = 'UTC'")
    for name, table in tables.items():
        con.register(name.replace(".", "_"), table)
    return con


def number(world: duckdb.DuckDBPyConnection, query: str) -> float:
    row = world.execute(query).fetchone()
    assert row is not None
    return float(row[0] or 0)


def test_a_seed_gives_the_same_world_and_another_seed_another() -> None:
    first, again, other = (generate_tables(300, seed) for seed in (1, 1, 2))
    assert first.keys() == again.keys()
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["crm.contacts"].equals(other["crm.contacts"])


def test_every_person_is_known_somewhere_and_twice_on_average(tables: Tables) -> None:
    truth = tables["truth"]
    assert 2.0 < truth.num_rows / PERSONS < 2.5
    assert pc.count_distinct(truth["person_id"]).as_py() == PERSONS
    sources = truth.group_by("source").aggregate([("source", "count")]).to_pylist()
    assert {row["source"] for row in sources} == {"crm", "shop", "pos", "newsletter"}
    keys = truth.group_by(["source", "entity", "natural_key"]).aggregate([("person_id", "count")])
    assert keys.num_rows == truth.num_rows


def test_no_system_says_who_a_record_really_is(tables: Tables) -> None:
    hidden = {"person_id", "household_id", "store", "wants_offers", "row_number"}
    for name, table in tables.items():
        if name not in ("truth", "people"):
            assert not hidden & set(table.column_names), name


@pytest.mark.parametrize(
    ("what", "query", "low", "high"),
    [
        (
            "people who share an address with another",
            (
                "select avg(cast(n > 1 as integer))"
                " from (select count(*) over (partition by street, house_number,"
                " postal_code, household_id) as n from people)"
            ),
            0.4,
            0.8,
        ),
        (
            "people whose landline is another's too",
            (
                "select avg(cast(n > 1 as integer))"
                " from (select count(*) over (partition by landline) as n from people"
                " where landline is not null)"
            ),
            0.3,
            0.9,
        ),
        (
            "people whose e-mail address is another's too",
            (
                "select avg(cast(n > 1 as integer))"
                " from (select count(*) over (partition by email) as n from people"
                " where email is not null)"
            ),
            0.02,
            0.12,
        ),
        (
            "twins",
            (
                "select 2 * count(*) / 4000 from people a join people b using"
                " (household_id, birth_date)"
                " where a.person_id < b.person_id"
            ),
            0.008,
            0.035,
        ),
        (
            "parent and child of one name",
            (
                "select count(*) from people a join people b"
                " using (household_id, formal_name, own_surname, is_male)"
                " where a.birth_date + interval 20 year < b.birth_date"
            ),
            5,
            400,
        ),
        (
            "people who moved",
            "select avg(cast(moved_on is not null as integer)) from people",
            0.10,
            0.2,
        ),
        (
            "people with a changed or double surname",
            "select avg(cast(has_changed_name as integer)) from people",
            0.04,
            0.2,
        ),
        (
            "tussenvoegsel in a field of its own",
            "select count(*) from crm_contacts where middlename in ('van', 'de', 'van der', 'ter')",
            100,
            4000,
        ),
        (
            "tussenvoegsel in the surname",
            "select count(*) from shop_customers where last_name similar to '(van|de|ter) .*'",
            50,
            4000,
        ),
        (
            "tussenvoegsel lost",
            (
                "select count(*) from crm_contacts join truth on natural_key = contactid"
                " join people using (person_id) where infix is not null and middlename is null"
            ),
            20,
            400,
        ),
        (
            "nicknames",
            "select count(*) from crm_contacts where firstname in ('Jan', 'Kees', 'Els', 'Ria')",
            3,
            1000,
        ),
        (
            "initials only",
            "select count(*) from crm_contacts where firstname similar to '[A-Z]\\.'",
            50,
            1000,
        ),
        (
            "default birth dates",
            "select count(*) from pos_members where geboortedatum = date '1970-01-01'",
            8,
            200,
        ),
        (
            "swapped day and month",
            (
                "select count(*) from pos_members join truth on natural_key = kaartnummer"
                " join people using (person_id) where month(geboortedatum) = day(birth_date)"
                " and day(geboortedatum) = month(birth_date) and geboortedatum <> birth_date"
            ),
            2,
            100,
        ),
        (
            "junk e-mail addresses",
            (
                "select count(*) from crm_contacts where emailaddress1 in"
                " ('info@voorbeeld.example', 'geen@geen.example', 'onbekend@voorbeeld.example',"
                " 'info@post.example')"
            ),
            2,
            100,
        ),
        (
            "junk mobile numbers",
            "select count(*) from crm_contacts where mobilephone in ('0612345678', '06-12345678')",
            2,
            100,
        ),
        (
            "children with a guardian",
            "select count(*) from crm_contacts where cdp_guardianid is not null",
            100,
            1500,
        ),
        (
            "contacts of companies",
            "select count(*) from crm_contacts where parentcustomerid is not null",
            50,
            1000,
        ),
        (
            "mailboxes of companies shared by contacts",
            (
                "select count(*) from crm_contacts where emailaddress1 like 'info@%'"
                " and parentcustomerid is not null"
            ),
            20,
            500,
        ),
        ("leads that became a contact", "select count(parentcontactid) from crm_leads", 20, 500),
        (
            "people with two contacts in the CRM",
            (
                "select count(*) from (select person_id from truth where entity = 'contact'"
                " group by person_id having count(*) > 1)"
            ),
            80,
            600,
        ),
        (
            "consents that contradict each other",
            (
                "select count(*) from truth c join truth s using (person_id)"
                " join crm_contacts on c.natural_key = contactid"
                " join newsletter_subscribers on s.natural_key = email"
                " where c.entity = 'contact' and donotemail and status = 'active'"
            ),
            50,
            1000,
        ),
        (
            "breakfast buyers",
            (
                "select count(*) from (select klantkaart from pos_receipt_lines"
                " where tijd < '10:00' and klantkaart is not null"
                " group by klantkaart having count(distinct bonnummer) > 8)"
            ),
            50,
            1000,
        ),
    ],
)
def test_it_knows(
    world: duckdb.DuckDBPyConnection, what: str, query: str, low: float, high: float
) -> None:
    assert low <= number(world, query) <= high, what


def test_every_child_has_a_guardian_who_is_a_contact(world: duckdb.DuckDBPyConnection) -> None:
    dangling = """
        select count(*) from crm_contacts as child
        left join crm_contacts as guardian on child.cdp_guardianid = guardian.contactid
        where child.cdp_guardianid is not null and guardian.contactid is null
    """
    assert number(world, dangling) == 0
    without = """
        select count(*) from people join truth using (person_id)
        join crm_contacts on contactid = natural_key
        where is_child and cdp_guardianid is null
    """
    # The last household may be cut off.
    assert number(world, without) <= 2


@pytest.mark.parametrize(
    ("table", "key", "target", "target_key"),
    [
        ("shop_addresses", "customer_id", "shop_customers", "customer_id"),
        ("shop_orders", "customer_id", "shop_customers", "customer_id"),
        ("shop_orders", "shipping_address_id", "shop_addresses", "address_id"),
        ("shop_order_lines", "order_id", "shop_orders", "order_id"),
        ("shop_order_lines", "product_id", "shop_products", "product_id"),
        ("shop_returns", "order_line_id", "shop_order_lines", "order_line_id"),
        ("pos_receipt_lines", "klantkaart", "pos_members", "kaartnummer"),
        ("pos_receipt_lines", "artikel", "shop_products", "sku"),
        ("newsletter_opt_ins", "email", "newsletter_subscribers", "email"),
        ("newsletter_events", "email", "newsletter_subscribers", "email"),
        ("web_events", "shop_customer_id", "shop_customers", "customer_id"),
        ("crm_contacts", "parentcustomerid", "crm_accounts", "accountid"),
        ("crm_leads", "parentcontactid", "crm_contacts", "contactid"),
        ("shop_customers", "loyalty_number", "pos_members", "kaartnummer"),
        ("crm_contacts", "cdp_loyaltynumber", "pos_members", "kaartnummer"),
    ],
)
def test_references_lead_somewhere(
    world: duckdb.DuckDBPyConnection, table: str, key: str, target: str, target_key: str
) -> None:
    used = f"select count(*) from {table} where {key} is not null"
    lost = f"{used} and {key} not in (select {target_key} from {target})"
    assert number(world, used) > 0
    assert number(world, lost) == 0


def test_a_card_is_known_elsewhere_only_as_its_holders(world: duckdb.DuckDBPyConnection) -> None:
    strange = """
        select count(*) from shop_customers as customer
        join truth as c on c.natural_key = cast(customer_id as varchar) and c.source = 'shop'
        join truth as m on m.natural_key = loyalty_number and m.source = 'pos'
        where c.person_id <> m.person_id
    """
    assert number(world, strange) == 0


def test_orders_add_up_and_nothing_lies_in_the_future(
    world: duckdb.DuckDBPyConnection, tables: Tables
) -> None:
    wrong = """
        select count(*) from shop_orders join (
            select order_id, sum(quantity * unit_price - discount_amount) as total
            from shop_order_lines group by order_id
        ) using (order_id)
        where total <> total_amount
    """
    assert number(world, wrong) == 0
    as_of = end_of_day(people.WORLD_START)
    for name, table in tables.items():
        for column in table.schema:
            if pa.types.is_timestamp(column.type) and column.type.tz and name != "people":
                latest = pc.max(table[column.name]).as_py()
                assert latest is None or latest <= as_of, (name, column.name)
    span = number(
        world, "select date_diff('day', min(ordered_at), max(ordered_at)) from shop_orders"
    )
    assert span > 530


def test_tills_are_open_from_seven_to_nine_and_numbers_are_unique(
    world: duckdb.DuckDBPyConnection,
) -> None:
    assert number(world, "select count(*) from pos_receipt_lines where tijd < '07:00'") == 0
    assert number(world, "select count(*) from pos_receipt_lines where tijd >= '21:00'") == 0
    doubled = """
        select count(*) from (
            select from_ from (select filiaal, bonnummer, regel, 1 as from_ from pos_receipt_lines)
            group by filiaal, bonnummer, regel, from_ having count(*) > 1
        )
    """
    assert number(world, doubled) == 0
    assert number(world, "select count(distinct filiaal) from pos_receipt_lines") == 6


def test_nobody_real_can_be_reached(world: duckdb.DuckDBPyConnection) -> None:
    for table, column in (
        ("crm_contacts", "emailaddress1"),
        ("crm_accounts", "emailaddress1"),
        ("shop_customers", "email"),
        ("pos_members", "email"),
    ):
        # Typing errors included: the top-level domain is never one that exists.
        real = (
            f"select count(*) from {table} where regexp_matches({column}, '\\.(nl|com|org|net)$')"
        )
        assert number(world, real) == 0
    assigned = """
        select count(*) from people
        where mobile not like '069%' or regexp_extract(landline, '^(0[0-9]{2,3})0', 1) = ''
    """
    assert number(world, assigned) == 0


def test_blocks_do_not_share_numbers_or_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "BLOCK", 400)
    blocks = list(draw_blocks(1_000, seed=3))
    assert [block["people"].num_rows for block in blocks] == [400, 400, 200]
    for name, key in (
        ("shop.customers", "customer_id"),
        ("shop.orders", "order_id"),
        ("shop.order_lines", "order_line_id"),
        ("shop.returns", "return_id"),
        ("pos.members", "kaartnummer"),
        ("newsletter.subscribers", "email"),
        ("newsletter.events", "event_id"),
        ("newsletter.opt_ins", "opt_in_id"),
        ("web.events", "event_id"),
        ("crm.accounts", "cdp_kvknumber"),
        ("people", "person_id"),
    ):
        keys = pa.concat_tables([block[name].select([key]) for block in blocks])[key].drop_null()
        if name == "newsletter.subscribers":
            keys = pc.utf8_lower(keys)
        assert pc.count_distinct(keys).as_py() == len(keys), name


@pytest.mark.parametrize("persons", [50, 51, 77])
def test_small_worlds_are_worlds_too(persons: int) -> None:
    tables = generate_tables(persons, seed=persons)
    assert tables["people"].num_rows == persons
    assert tables["crm.contacts"].num_rows > 0


def test_the_end_of_a_business_date_is_local() -> None:
    assert end_of_day(dt.date(2026, 3, 1)).isoformat() == "2026-03-01T22:59:59+00:00"
    assert end_of_day(dt.date(2026, 7, 1)).isoformat() == "2026-07-01T21:59:59+00:00"

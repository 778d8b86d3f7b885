"""Publishing as an analytics engineer meets it: build the project, add an audience, get one wrong.

One small world is built once, with dbt's own commands, in a copy of the project; what the tests add
to it never touches the repository.
"""

import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from demo.world import generate_tables
from klantbeeld.activation import Home, SyncReport, run_sync
from klantbeeld.activation.specs import list_audiences, list_syncs, read_manifest
from klantbeeld.files import private_dir
from klantbeeld.transform.registry import refresh
from tests.fixtures.activation import AS_OF
from tests.fixtures.dbt_world import DbtWorld
from tests.fixtures.destinations import RowsWorld, Service
from tests.fixtures.identity_world import create_true_identity, link_companies_and_households
from tests.fixtures.mailing import Mailing, section
from tests.fixtures.raw_world import create_demo_world

pytestmark = pytest.mark.integration

PERSONS = 400


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """The whole path from raw tables to audiences, built once."""
    built = DbtWorld.create(tmp_path_factory.mktemp("publish"))
    create_demo_world(built.warehouse, PERSONS)
    create_true_identity(built.warehouse, generate_tables(PERSONS, 42)["truth"])
    done = built.dbt("run", "--exclude", "source:identity+")
    assert done.success, done.said[-3000:]
    link_companies_and_households(built.warehouse, built.warehouse.parent / "home")
    done = built.dbt("run", "--select", "source:identity+")
    assert done.success, done.said[-3000:]
    return built


@pytest.fixture
def segment(world: DbtWorld) -> Iterator[Callable[[str, str], Path]]:
    """Write an audience's file into the copy; it is gone after the test."""
    written: list[Path] = []

    def write(name: str, text: str) -> Path:
        path = world.project / "models" / "segments" / f"seg_{name}.sql"
        path.write_text(text)
        written.append(path)
        refresh(world.project)
        return path

    yield write
    for path in written:
        path.unlink(missing_ok=True)
    refresh(world.project)


# What is done to the warehouse, and the start of the name of the test that must find it.
BREAKAGES = {
    "assert_no_audience_member_without_consent": """
        update activation.bridge_profile_audiences set contact_point_key = 'of somebody else'
        where profile_id = (select min(profile_id) from activation.bridge_profile_audiences)
    """,
    "profile_measures_labels_are_those_of_the_crm": """
        update insights.profile_measures set loyalty_tier = 'Platina'
        where profile_id = (select min(profile_id) from insights.profile_measures)
    """,
    "primary_key_profile_measures": """
        insert into insights.profile_measures from insights.profile_measures limit 1
    """,
    "primary_key_bridge_profile_households": """
        insert into marts.bridge_profile_households
        select profile_id, 'another', 'surname', address_record_id, address_known_at
        from marts.bridge_profile_households limit 1
    """,
    "expression_is_true_dim_households": """
        update marts.dim_households set member_count = 1
        where household_id = (select min(household_id) from marts.dim_households)
    """,
    "primary_key_int_persons__unioned": """
        update intermediate.int_persons__unioned set source_key = null
        where record_id = (select min(record_id) from intermediate.int_persons__unioned)
    """,
    "primary_key_int_orders__unioned": """
        update intermediate.int_orders__unioned set order_id = null
        where order_id = (select min(order_id) from intermediate.int_orders__unioned)
    """,
    "not_negative_int_returns__unioned": """
        update intermediate.int_returns__unioned set amount = -1
        where return_id = (select min(return_id) from intermediate.int_returns__unioned)
    """,
    "unique_combination_int_contact_points__unioned": """
        update intermediate.int_contact_points__unioned
        set (record_id, channel, value_std) = ('somebody', 'email', 'one@example.org')
        where channel = 'email'
    """,
}
BROKEN_MODELS = ["bridge_profile_audiences", "dim_contact_points", "profile_measures"]
BROKEN_MODELS += ["bridge_profile_households", "dim_households"]
BROKEN_MODELS += [f"int_{name}__unioned" for name in ("persons", "orders", "returns")]
BROKEN_MODELS += ["int_contact_points__unioned"]


def test_the_checks_of_publishing_hold_and_can_fail(world: DbtWorld) -> None:
    selected = ("-s", "test_type:singular", "test_type:unit", *BROKEN_MODELS)
    elsewhere = [f"test_type:unit,{folder}" for folder in ("staging", "intermediate")]
    done = world.dbt("test", *selected, "--exclude", *elsewhere)
    assert done.success, done.said[-3000:]
    unit_tests = {
        name
        for name, test in world.artifact("manifest")["unit_tests"].items()
        if not set(test["fqn"]) & {"staging", "intermediate"}
    }
    run = {result["unique_id"] for result in world.artifact("run_results")["results"]}
    assert unit_tests <= run, "the rest is run where the sources are harmonised"
    intact = world.warehouse.with_suffix(".intact")
    shutil.copyfile(world.warehouse, intact)
    with duckdb.connect(str(world.warehouse)) as con:
        for breakage in BREAKAGES.values():
            con.execute(breakage)
    world.dbt("test", "-s", *BROKEN_MODELS, "--exclude-resource-type", "unit_test")
    intact.replace(world.warehouse)
    found = {
        name
        for result in world.artifact("run_results")["results"]
        for name in BREAKAGES
        if result["status"] in ("fail", "warn") and f".{name}" in result["unique_id"]
    }
    assert found == set(BREAKAGES)


def test_every_record_is_in_one_profile_and_every_profile_says_where_its_values_come_from(
    world: DbtWorld,
) -> None:
    records, profiles = world.query(
        "select count(*), count(distinct profile_id) from marts.bridge_profile_records"
    )[0]
    assert world.query("select count(*) from intermediate.int_persons__unioned") == [(records,)]
    assert world.query("select count(*) from marts.dim_profiles") == [(profiles,)]
    disagreeing = world.query("""
        select count(*)
        from marts.dim_profiles as profiles
        left join marts.dim_profile_values as golden
            on profiles.profile_id = golden.profile_id and golden.field = 'email'
        where profiles.email is distinct from golden.value
    """)
    assert disagreeing == [(0,)]


def test_companies_are_one_each_and_their_contacts_know_them(world: DbtWorld) -> None:
    truth = generate_tables(PERSONS, 42)["company_truth"]
    with duckdb.connect(str(world.warehouse), read_only=True) as con:
        con.register("truth", truth)
        accounts, companies, found, wrong = (
            con.execute("""
            select
                (select count(*) from truth),
                (select count(distinct company_id) from truth),
                (select count(*) from marts.dim_companies),
                (
                    select count(*) from marts.bridge_company_records as records
                    inner join truth on truth.accountid = records.source_key
                    inner join marts.bridge_company_records as others
                        on others.company_id = records.company_id
                    inner join truth as other_truth on other_truth.accountid = others.source_key
                    where other_truth.company_id <> truth.company_id
                )
        """).fetchone()
            or ()
        )
    assert (accounts > companies, found, wrong) == (True, companies, 0)
    (named, known) = world.query("""
        select count(profiles.company_name), count(companies.company_id)
        from marts.dim_profiles as profiles
        left join marts.dim_companies as companies
            on companies.company_id = profiles.company_id
            and companies.name = profiles.company_name
    """)[0]
    assert named == known > 0


def test_a_household_is_who_lives_together_and_merges_nobody(world: DbtWorld) -> None:
    people = generate_tables(PERSONS, 42)["people"]
    with duckdb.connect(str(world.warehouse), read_only=True) as con:
        con.register("people", people)
        con.execute("""
            create temp view together as
            select l.person_id as l, r.person_id as r
            from people as l inner join people as r
                on l.household_id = r.household_id and l.person_id < r.person_id
                and (l.postal_code, l.house_number) = (r.postal_code, r.house_number)
        """)
        con.execute("""
            create temp view found as
            with members as (
                select cast(replace(profile_id, 'profile-', '') as bigint) as person, household_id
                from marts.bridge_profile_households
            )
            select l.person as l, r.person as r
            from members as l inner join members as r
                on l.household_id = r.household_id and l.person < r.person
        """)
        right, found, together = (
            con.execute("""
            select
                (select count(*) from found inner join together using (l, r)),
                (select count(*) from found),
                (select count(*) from together)
        """).fetchone()
            or ()
        )
    assert right >= 0.97 * found
    assert right >= 0.6 * together
    profiles, members, persons = world.query("""
        select count(*), sum(1.0 / household_member_count), count(distinct profile_id)
        from marts.dim_profiles
    """)[0]
    households = world.query("""
        select count(*), sum(member_count) from marts.dim_households
    """)[0]
    assert profiles == persons
    assert round(members) == profiles - households[1] + households[0]


def test_every_crm_contact_gets_a_row_with_the_labels_of_the_crm(world: DbtWorld) -> None:
    contacts = world.query("select count(*) from raw_crm.contacts")
    assert world.query("select count(*) from activation.sync_crm__customer_profiles") == contacts
    (spec,) = list_syncs(read_manifest(world.target / "manifest.json"))
    columns = {
        str(name)
        for (name,) in world.query(
            "select column_name from information_schema.columns"
            " where table_name = 'sync_crm__customer_profiles'"
        )
    }
    assert set(spec.columns) == columns
    (revenue,) = world.query(
        "select max(total_revenue) from activation.sync_crm__customer_profiles"
    )[0]
    assert isinstance(revenue, Decimal)


def test_the_audiences_are_shaped_as_their_meta_says(world: DbtWorld) -> None:
    audiences = list_audiences(read_manifest(world.target / "manifest.json"))
    assert len(audiences) == 5
    for audience in audiences:
        columns = world.query(
            "select column_name from information_schema.columns"
            f" where table_schema || '.' || table_name = '{audience.relation}'"
            " order by ordinal_position"
        )
        names = [name for (name,) in columns]
        assert names == ["contact_point_key", "profile_id", *audience.columns]
        rows, points = world.query(
            f"select count(*), count(distinct contact_point_key) from {audience.relation}"
        )[0]
        assert rows == points
        assert rows != 0
    guessed = "substr(sha256(channel || '|' || value_std), 1, 32)"
    told, found = world.query(
        "select count(contact_point_key),"
        f" count(*) filter (where contact_point_key = {guessed}) from marts.dim_contact_points"
    )[0]
    assert told > 0
    assert found == 0, "who guesses an address cannot test the guess"


def test_a_hooks_refs_are_parents_of_the_audience(world: DbtWorld) -> None:
    parents = world.artifact("manifest")["parent_map"]
    for name in ("dim_contact_points", "dim_profiles", "profile_measures"):
        assert f"model.klantbeeld.{name}" in parents["model.klantbeeld.seg_lapsed_loyal_members"]


def test_adding_an_audience_is_adding_one_file(
    world: DbtWorld, segment: Callable[[str, str], Path]
) -> None:
    segment(
        "everybody",
        """{{ config(meta={'owner': 'service', 'purpose': 'transactional', 'channel': 'email',
            'destination': 'newsletter', 'columns': ['email', 'loyalty_tier']}) }}
        select profile_id from {{ ref('dim_profiles') }}""",
    )
    with duckdb.connect(str(world.warehouse)) as con:
        con.execute("create table segments.seg_given_up as select 1 as profile_id")
        con.execute("create table activation.audience_given_up as select 1 as profile_id")
    done = world.dbt("build", "-s", "seg_everybody+", "--exclude-resource-type", "unit_test")
    assert done.success, done.said[-3000:]
    shaped = world.query("""
        select count(*)
        from activation.audience_everybody as shaped
        inner join marts.dim_contact_points as points
            on shaped.profile_id = points.profile_id
            and shaped.contact_point_key = points.contact_point_key
        where points.is_transactional_allowed and points.value_std = shaped.email
    """)
    assert shaped == world.query("select count(*) from activation.audience_everybody")
    # A service message goes to children too, a commercial one never does.
    assert world.query("""
        select count(*) > 0 from activation.audience_everybody
        inner join marts.dim_profiles using (profile_id) where is_minor
    """) == [(True,)]
    # What is left of an audience that is no longer there goes with the next build.
    assert world.query("""
        select count(*) from information_schema.tables where table_name like '%given_up'
    """) == [(0,)]
    # The CRM shows the new audience without another file having changed.
    assert world.query("""
        select count(*) > 0 from activation.sync_crm__customer_profiles
        where audiences like '%everybody%'
    """) == [(True,)]


def test_wrong_audiences_are_refused_by_name(
    world: DbtWorld, segment: Callable[[str, str], Path]
) -> None:
    wrong = {
        "wrong_column": ("'columns': ['email', 'birth_date']", ["'birth_date' is not approved"]),
        "wrong_purpose": ("'purpose': 'fun'", ["'fun'", "commercial, transactional"]),
        "no_owner": ("'owner': ''", ["no 'owner'", "who answers for the audience"]),
        "no_address": ("'columns': ['first_name']", ["lacks 'email'", "nobody could be reached"]),
        "wrong_destination": ("'destination': 'pigeon'", ["'pigeon'", "newsletter, print_house"]),
    }
    for name, (meta, _) in wrong.items():
        segment(
            name,
            """{{ config(meta=dict({'owner': 'service', 'purpose': 'commercial',
                'channel': 'email', 'destination': 'newsletter', 'columns': ['email']}, **{"""
            + meta
            + """})) }}
            select profile_id from {{ ref('dim_profiles') }}""",
        )
    done = world.dbt("run", "-s", *(f"seg_{name}" for name in wrong))
    assert not done.success
    for name, (_, words) in wrong.items():
        assert f"models/segments/seg_{name}.sql" in done.said
        for word in words:
            assert word in done.said
    assert "email, first_name, infix" in done.said, "the error says what is allowed"
    assert world.query("""
        select count(*) from information_schema.tables
        where table_name like 'audience_wrong%' or table_name like 'audience_no%'
    """) == [(0,)]


def test_a_typing_error_in_survivorship_is_found_before_any_sql_runs(world: DbtWorld) -> None:
    file = world.project / "dbt_project.yml"
    text = file.read_text()
    try:
        file.write_text(text.replace("rule: most_complete", "rule: most_compleet"))
        done = world.dbt("parse")
    finally:
        file.write_text(text)
    assert not done.success
    assert "'initials' has the unknown rule 'most_compleet'" in done.said
    assert "most_complete" in done.said


FRIENDS = """{{{{ config(meta={{'owner': 'marketing', 'purpose': 'commercial', 'channel': 'email',
    'destination': 'newsletter', 'columns': ['email', 'first_name'],
    'sync': {{'entity': 'members', 'columns': {{'email': 'email', 'first_name': 'first_name'}}}},
}}) }}}}
select profile_id from {{{{ ref('dim_profiles') }}}} where {condition}"""


@pytest.mark.long
def test_who_unsubscribes_at_the_newsletter_leaves_the_list_though_a_broken_join_is_held(
    world: DbtWorld, segment: Callable[[str, str], Path], tmp_path: Path
) -> None:
    mailing = Mailing()
    service = Service(mailing)
    home = RowsWorld(tmp_path / "home", section(service), batch_size=500)
    destinations = {"newsletter": {"environment": "demo", **section(service)}}
    settings = home.settings.model_copy(update={"destinations": destinations})

    def send(condition: str) -> SyncReport:
        segment("friends", FRIENDS.format(condition=condition))
        done = world.dbt("run", "-s", "int_consents__unioned dim_contact_points seg_friends")
        assert done.success, done.said[-3000:]
        shutil.copy(world.warehouse, private_dir(settings.paths.build_dir) / "warehouse.duckdb")
        home.warehouse.publish(
            run_id="run",
            as_of=AS_OF,
            counts={},
            on_commit=lambda *_: None,
            manifest=world.target / "manifest.json",
        )
        return run_sync("friends", Home(settings, home.control, home.warehouse), "run")

    first = send("true")
    before = set(mailing.members)
    assert (first.status, first.creates) == ("synced", len(before))
    assert len(before) > 60
    with duckdb.connect(str(world.warehouse)) as con:
        ((leaving,),) = con.execute(
            """
            update raw_newsletter.subscribers
            set status = 'unsubscribed', updated_at = (select as_of from meta.run_context)
            where subscriber_key = (
                select min(subscriber_key) from raw_newsletter.subscribers
                where list_contains($members, lower(trim(email)))
            ) returning lower(trim(email))
            """,
            {"members": sorted(before)},
        ).fetchall()
    report = send("false")
    assert (report.status, report.withdrawals, report.held) == ("held", 1, len(before) - 1)
    assert set(mailing.members) == before - {leaving}
    assert leaving in mailing.known, "off the list, and not deleted"
    home.close()
    service.close()

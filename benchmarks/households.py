"""How well and at what cost companies are linked and households formed, on a demo world.

`python -m benchmarks.households --persons 100000` harmonises the world with dbt in a temporary
folder, gives every record its true profile, and does the rest of the link stage. Pairs of company
records, and pairs of housemates, are compared with the truth.
"""

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path

import duckdb

from demo.world import generate_tables
from klantbeeld.control import open_control
from klantbeeld.identity import form_households, link_companies
from klantbeeld.settings import load_settings
from tests.fixtures.dbt_world import DbtWorld
from tests.fixtures.identity_world import create_true_identity
from tests.fixtures.raw_world import create_demo_world

SEED = 42

_TRUE_COMPANIES = """
    select l.accountid as l, r.accountid as r
    from company_truth as l inner join company_truth as r
        on l.company_id = r.company_id and l.accountid < r.accountid
"""
_FOUND_COMPANIES = """
    with records as (
        select replace(record_id, 'crm:account:', '') as accountid, company_id
        from identity.company_records
    )
    select l.accountid as l, r.accountid as r
    from records as l inner join records as r
        on l.company_id = r.company_id and l.accountid < r.accountid
"""
_TRUE_HOUSEMATES = """
    select l.person_id as l, r.person_id as r
    from people as l inner join people as r
        on l.household_id = r.household_id and l.person_id < r.person_id
        and (l.postal_code, l.house_number) = (r.postal_code, r.house_number)
"""
_FOUND_HOUSEMATES = """
    with members as (
        select cast(replace(profile_id, 'profile-', '') as bigint) as person, household_id
        from identity.household_profiles
    )
    select l.person as l, r.person as r
    from members as l inner join members as r
        on l.household_id = r.household_id and l.person < r.person
"""


def measure(con: duckdb.DuckDBPyConnection, found: str, true: str) -> str:
    """A row of a table: pairs that are true, that were found, and that are both."""
    both, there, known = con.execute(f"""
        with found as ({found}), known as ({true})
        select
            (select count(*) from found inner join known using (l, r)),
            (select count(*) from found),
            (select count(*) from known)
    """).fetchone() or (0, 0, 0)
    precision, recall = both / max(there, 1), both / max(known, 1)
    return f"{known:,} | {there:,} | {precision:.3f} | {recall:.3f}"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=3000)
    persons = parser.parse_args().persons
    tables = generate_tables(persons, SEED)
    with tempfile.TemporaryDirectory() as folder:
        world = DbtWorld.create(Path(folder))
        create_demo_world(world.warehouse, persons, SEED)
        create_true_identity(world.warehouse, tables["truth"])
        done = world.dbt("run", "--exclude", "source:identity+")
        if not done.success:
            raise SystemExit(done.said)
        settings = load_settings(home=Path(folder) / "home")
        with closing(open_control(settings)) as control, duckdb.connect(world.warehouse) as con:
            con.execute("set TimeZone = 'UTC'")
            started = time.process_time()
            companies = link_companies(con, settings, control, "run")
            between = time.process_time()
            households = form_households(con, settings, control, "run")
            ended = time.process_time()
            for name in ("company_truth", "people"):
                con.register(name, tables[name])
            print(f"{persons:,} persons, {companies.records:,} company records")
            print(f"{companies.companies:,} companies, {households.households:,} households\n")
            print("| pairs of | true | found | precision | recall | CPU s |")
            print("|---|---:|---:|---:|---:|---:|")
            row = measure(con, _FOUND_COMPANIES, _TRUE_COMPANIES)
            print(f"| company records | {row} | {between - started:.2f} |")
            row = measure(con, _FOUND_HOUSEMATES, _TRUE_HOUSEMATES)
            print(f"| housemates | {row} | {ended - between:.2f} |")


if __name__ == "__main__":
    main()

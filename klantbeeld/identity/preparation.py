"""From linkage records to what is compared: `intermediate.int_linkage_records -> people`.

Here: the columns that comparisons and blocking rules name, one row per record, in an in-memory
database (Splink leaves dozens of tables behind; none of them may reach the warehouse). Not here:
standardising names, addresses and numbers, which is the harmonise stage's work.
"""

import shutil
import tempfile
import unicodedata
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Final

import duckdb
import pyarrow as pa

from klantbeeld.errors import KlantbeeldError

# The name of the database that `beside` makes.
BESIDE: Final = "linkage"
INPUT_TABLE: Final = "intermediate.int_linkage_records"

_TEXT_COLUMNS: Final = (
    "first_name_std",
    "initials_std",
    "last_name_std",
    "maiden_name_std",
    "full_name_std",
    "gender",
    "email_std",
    "phone_std",
    "mobile_phone_std",
    "street_std",
    "house_number_std",
    "house_number_suffix_std",
    "postal_code_std",
    "city_std",
    "deterministic_key",
    "linked_record_id",
)
# One address, of standardised columns. A postal code with letters (Dutch, British, Canadian) means
# a street or a part of it; one of digits alone a town or a district, where every street has a 12.
ADDRESS_SQL: Final = """
    case
        when street_std is null or regexp_matches(postal_code_std, '[A-Z]')
        then postal_code_std || '|' || house_number_std
        else street_std || '|' || house_number_std || '|' || coalesce(postal_code_std, city_std)
    end || '|' || coalesce(house_number_suffix_std, '')
"""
# Forms of address and what stands behind a name, where they are all that a column of names holds.
NO_NAMES: Final = (
    "mr", "mrs", "ms", "miss", "mister", "sir", "dame", "lady", "lord", "dr", "prof", "rev", "hon",
    "esq", "bt", "baronet", "jr", "sr", "the", "of", "st", "nd", "rd", "th",
    "dhr", "heer", "de heer", "mevr", "mevrouw", "mw", "fam", "familie", "family",
    "herr", "frau", "hr", "fr", "madame", "mme", "monsieur",
)  # fmt: skip
COLUMNS: Final = ("record_id", "source", "birth_date", *_TEXT_COLUMNS)
# Records read at a time.
ROWS: Final = 100_000


def connect(threads: int, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """An in-memory engine for one linkage without a build.

    Args:
        threads: How many it may use.
        memory_limit: What it may use of memory; what does not fit is spilled to the system's folder
            of temporary files. Never to the current folder, which is DuckDB's own choice: what is
            spilled is personal.
    """
    folder = tempfile.mkdtemp(prefix="linkage-")
    con = duckdb.connect(":memory:", config={"temp_directory": folder})
    weakref.finalize(con, shutil.rmtree, folder, ignore_errors=True)
    con.execute("set threads = ?", [threads])
    con.execute("set memory_limit = ?", [memory_limit])
    con.execute("set timezone = 'UTC'")
    con.execute("set enable_progress_bar = false")
    return con


@contextmanager
def beside(build: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database of the open build's own engine, for one linkage.

    It is gone in the end, with all that Splink left in it, and nothing that is read from the build
    or written to it is copied on the way. From it, tables of the build are named as `in_build`
    says; from the build, its own with `BESIDE` before them.

    Args:
        build: The open build, with which it shares threads and memory.
    """
    own = build.cursor()
    own.execute(f"attach ':memory:' as {BESIDE}")
    try:
        own.execute(f"use {BESIDE}")
        yield own
    finally:
        own.close()
        build.execute(f"detach {BESIDE}")


def in_build(build: duckdb.DuckDBPyConnection, table: str) -> str:
    """The name of a build's table for the database beside it."""
    row = build.execute("select current_database()").fetchone()
    return f'"{row and row[0]}".{table}'


def read_input(con: duckdb.DuckDBPyConnection, table: str = INPUT_TABLE) -> pa.RecordBatchReader:
    """The linkage records of a warehouse connection: the needed columns, as they are read.

    Args:
        con: The open build; it does nothing else before the last record is read.
        table: A table, or a query in brackets.

    Raises:
        KlantbeeldError: The table or a column of it is missing.
    """
    with _naming_what_is_missing():
        return con.execute(input_sql(table)).to_arrow_reader(ROWS)


def input_sql(table: str = INPUT_TABLE) -> str:
    """SQL for the needed columns of a table of linkage records, or of a query in brackets."""
    columns = ", ".join(f"{_typed(name)} as {name}" for name in COLUMNS)
    return f"select {columns} from {table} as records"


@contextmanager
def _naming_what_is_missing() -> Iterator[None]:
    try:
        yield
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise KlantbeeldError(
            f"the linkage records cannot be read: {str(error).splitlines()[0]}",
            "Run the harmonise stage first: klantbeeld run.",
        ) from None


def make_digests(own: duckdb.DuckDBPyConnection, table: str) -> str:
    """Make `digests` (row_number, digest) of the linkage records of a build.

    Args:
        own: The database beside the build.
        table: The table of linkage records.

    Returns:
        A digest of all of them, in any row order; empty if they are missing, which reading them
        says in words, or no table: then they are linked whole.
    """
    try:
        own.execute(f"""
            create table digests as
            select rowid as row_number, {_digest_sql()} as digest from {table}
        """)
    except (duckdb.CatalogException, duckdb.BinderException):
        return ""
    return ":".join(
        str(part)
        for part in _row(own, "select count(*), bit_xor(digest), sum(digest::hugeint) from digests")
    )


def _digest_sql() -> str:
    """SQL for the digest of a linkage record: whether it is the one that was linked before."""
    return f"hash({', '.join(_typed(name) for name in COLUMNS)})"


def _typed(name: str) -> str:
    return f"cast({name} as {'date' if name == 'birth_date' else 'varchar'})"


def make_people(
    con: duckdb.DuckDBPyConnection, records: pa.Table | pa.RecordBatchReader | str
) -> int:
    """Make the table `people` from linkage records.

    `id` numbers the records in the order of their record id, so that nothing depends on input
    order; `digest` tells whether a record changed, `link_digest` which one it names.

    Args:
        con: The linkage's own database.
        records: As `read_input` gives them, or the SQL of `input_sql`.

    Returns:
        The number of records.

    Raises:
        KlantbeeldError: The table or a column of it is missing, or a record id is missing or not
            unique.
    """
    if isinstance(records, str):
        with _naming_what_is_missing():
            con.execute(f"create or replace table input_records as {records}")
    else:
        con.register("given_records", records)
        con.execute("create or replace table input_records as from given_records")
        con.unregister("given_records")
    # Sorted without what they carry: all columns would be moved about, and held twice.
    con.execute("""
        create or replace table input_numbers as
        select rowid as at, row_number() over (order by record_id) - 1 as id from input_records
    """)
    con.register("name_variants", _name_variants())
    text = ", ".join(f"nullif(trim({name}), '') as {name}" for name in _TEXT_COLUMNS)
    con.execute(f"""
        create or replace table people as
        with given as (
            select
                input_numbers.id, record_id, source, birth_date, {text}, {_digest_sql()} as digest
            from input_records
            inner join input_numbers on input_numbers.at = input_records.rowid
        ),
        titled as (
            select
                * replace (
                    case when first_name_std not in {NO_NAMES} then first_name_std end
                        as first_name_std,
                    case
                        when first_name_std in {NO_NAMES}
                            and starts_with(first_name_std, initials_std) then null
                        else initials_std
                    end as initials_std,
                    case when last_name_std not in {NO_NAMES} then last_name_std end
                        as last_name_std
                )
            from given
        ),
        bared as (
            select
                *,
                case
                    when first_name_std is null and last_name_std is null
                    then list_filter(
                        string_split(full_name_std, ' '), lambda word: word not in {NO_NAMES}
                    )
                end as words
            from titled
        ),
        named as (
            select
                * exclude (first_name_std, last_name_std, words),
                case
                    when len(words) > 1 then words[1] else first_name_std
                end as given_name,
                coalesce(words[-1], last_name_std) as surname
            from bared
        ),
        shaped as (
            select
                id,
                record_id,
                source,
                case when length(given_name) > 1 then given_name end as first_name,
                left(coalesce(given_name, initials_std), 1) as initial,
                left(initials_std, 1) as formal_initial,
                nullif(substr(initials_std, 2), '') as middle_initials,
                split_part(given_name, ' ', 1) as first_word,
                surname,
                maiden_name_std as maiden_name,
                gender,
                strftime(birth_date, '%Y-%m-%d') as birth_text,
                case
                    when day(birth_date) <= 12 and day(birth_date) <> month(birth_date)
                    then strftime(birth_date, '%Y-%d-%m')
                end as birth_swapped,
                email_std as email,
                coalesce(
                    mobile_phone_std, case when starts_with(phone_std, '+316') then phone_std end
                ) as mobile,
                case
                    when phone_std is distinct from mobile_phone_std
                        and (mobile_phone_std is not null or not starts_with(phone_std, '+316'))
                    then phone_std
                end as landline,
                {ADDRESS_SQL} as address_key,
                street_std as street,
                house_number_std as house_number,
                postal_code_std as postal_code,
                city_std as city,
                deterministic_key,
                linked_record_id,
                case when linked_record_id is not null then hash(linked_record_id) end
                    as link_digest,
                digest
            from named
        )
        select
            shaped.* exclude (first_word),
            case when length(first_word) > 1 then coalesce(name_variants.root, first_word) end
                as name_root,
            left(coalesce(name_variants.root, first_word), 1) as root_initial,
            split_part(email, '@', 1) as email_name
        from shaped
        left join name_variants on name_variants.name = shaped.first_word
    """)
    for name in ("input_records", "input_numbers"):
        con.execute(f"drop table {name}")
    con.unregister("name_variants")
    count, distinct = _row(con, "select count(*), count(distinct record_id) from people")
    if count != distinct:
        raise KlantbeeldError(
            f"{count - distinct} linkage records have no record id of their own",
            "Every row of intermediate.int_linkage_records needs a unique, non-null record_id.",
        )
    return int(count)


def _row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = con.execute(sql).fetchone()
    return tuple(row) if row else ()


def _name_variants() -> pa.Table:
    """Given names that are forms of one another, each with the name they stand for."""
    roots: dict[str, str] = {}
    lines = files("klantbeeld.identity").joinpath("name_variants.txt").read_text().splitlines()
    for line in lines:
        names = _plain(line).split()
        for name in names:
            roots.setdefault(name, names[0])
    return pa.table({"name": list(roots), "root": list(roots.values())})


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))

"""From the rows of files to linkage records, by the pipeline's own macros.

Here: what the harmonise stage's sources do for a system that is known, done for columns that were
recognised: text, birth dates, names and addresses in one text, a country for those that name none.
Names, numbers and addresses are then standardised by rendering the dbt model
`int_linkage_records`: there is no second implementation.

Flow: `file_<n>` -> file_records, given_persons -> int_persons__unioned -> linkage_records,
birth_texts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import duckdb

from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity.files import dates
from klantbeeld.identity.files.columns import FIELDS, Columns, is_german
from klantbeeld.identity.files.reading import InputFile
from klantbeeld.records import escaped_key_sql

LINKAGE_RECORDS: Final = "linkage_records"
# Bytes. No name, address or number is longer; comparing two cells of 10 MB would take hours.
LONGEST_VALUE: Final = 1_000
# Cells that say that there is nothing, in lower case.
_NOTHING: Final = (
    "", "-", "--", "---", ".", "?", "x", "xx", "xxx", "null", "none", "nan", "nil", "n/a", "#n/a",
    "<na>", "n.v.t.", "nvt", "onbekend", "unknown", "unbekannt", "not known", "niet bekend",
)  # fmt: skip
_NUMBERS: Final = ("phone", "mobile_phone", "house_number", "postal_code")
# A country without rules of its own: what is not known to be Dutch or British is compared as it is.
_ANYWHERE: Final = "US"
_DUTCH_CODE: Final = "^(?:NL)?[ -]?[1-9][0-9]{3} ?[A-Za-z]{2}$"
_BRITISH_CODE: Final = "^[A-Za-z]{1,2}[0-9][0-9A-Za-z]? ?[0-9][A-Za-z]{2}$"
# From this share of birth dates over 120 years ago on, the file is of the past.
_PAST_SHARE: Final = 0.05
_NAMED_ROWS: Final = 5
# Values by which a column is told whose name says nothing.
_LOOKED_AT: Final = 1_000
# A shorter personal number is a count, and one of more rows was made up.
_SHORTEST_NUMBER: Final = 5
_MOST_OF_ONE_NUMBER: Final = 50
# What two rows with one personal number may agree on besides: names, birth date, reach.
_AGREEMENTS: Final = (
    (
        "jaro_winkler_similarity(a.first_name_std, b.first_name_std) >= 0.88 or "
        "left(a.initials_std, 1) = b.initials_std or a.initials_std = left(b.initials_std, 1)"
    ),
    "jaro_winkler_similarity(a.last_name_std, b.last_name_std) >= 0.88",
    "a.birth_date = b.birth_date",
    (
        "a.email_std = b.email_std or a.mobile_phone_std = b.mobile_phone_std or "
        "a.postal_code_std = b.postal_code_std"
    ),
)
# Fields that a longer text may hold: a name in one column, an address in one line.
_READ_FROM_TEXTS: Final = (
    "first_name", "last_name", "street", "house_number", "house_number_suffix", "postal_code",
    "city",
)  # fmt: skip


@dataclass(frozen=True)
class Standardised:
    """What was made of the files.

    Attributes:
        rows: Rows of all files.
        countries: What a record without a country was taken for.
        remarks: What a person should know, in words.
    """

    rows: int
    country: str
    remarks: tuple[str, ...]


def holds_emails(con: duckdb.DuckDBPyConnection, file: InputFile, number: int) -> bool:
    """Whether a column of text holds e-mail addresses, most of them of one row or two.

    A column of a few addresses over and over is not the person's: a shop's, a colleague's.
    """
    row = con.execute(f"""
        select count(*), count(*) filter (regexp_matches(text, '^[^@ ]+@[^@ ]+[.][^@ ]+$')),
            count(distinct text)
        from (
            select lower(trim(c{number})) as text from {file.table}
            where trim(c{number}) != '' limit {_LOOKED_AT}
        )
    """).fetchone() or (0, 0, 0)
    texts, emails, different = (int(n) for n in row)
    return texts > 0 and emails >= 0.8 * texts and different >= texts / 5


def standardise(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    columns: Sequence[Columns],
    *,
    id_is_asked: bool,
    default_country: str,
    country: str | None,
    today: date,
) -> Standardised:
    """Make `linkage_records` of the files, and `file_records` with the record id of every row.

    Args:
        con: The linkage's own database, holding the files.
        files: The files.
        columns: What their columns hold.
        id_is_asked: Whether a person named the column of ids, so that it must tell rows apart.
        default_country: Where people are taken to live if nothing in the files tells.
        country: Where they live if a row does not say; None to find out.
        today: Decides which birth dates are possible.

    Raises:
        KlantbeeldError: Rows have no id of their own.
    """
    remarks = _make_file_records(con, files, columns, id_is_asked=id_is_asked)
    remarks += _make_given_persons(con, files, columns, today)
    _make_persons(con, {field for taken in columns for field in taken.fields})
    found = country or _country(con, files, columns, default_country)
    con.execute("create schema if not exists meta")
    con.execute(
        "create or replace table meta.run_context as "
        "select ?::date as business_date, ?::varchar as default_country",
        [today, found],
    )
    from klantbeeld.transform.rendering import render_model

    linkage_records = render_model("intermediate/int_linkage_records.sql")
    con.execute(f"create or replace table {LINKAGE_RECORDS} as {linkage_records}")
    remarks += _keep_dates_of_the_past(con, today)
    if any("personal_number" in taken.fields for taken in columns):
        remarks += _make_number_keys(con)
    con.execute("""
        create or replace table birth_texts as
        select file_records.record_id, given_persons.birth_text
        from given_persons
        inner join file_records using (row_number)
        where given_persons.birth_date is null and given_persons.birth_text is not null
    """)
    rows = con.execute("select count(*) from file_records").fetchone()
    return Standardised(int(rows[0]) if rows else 0, found, tuple(remarks))


def write_birth_texts(con: duckdb.DuckDBPyConnection) -> None:
    """Let what is no date be compared all the same, as the birth dates of `people` are: as text.

    A mistyped 1862-81-01 is two digits from 1862-08-01. A year alone is written `1985-xx-85`: two
    years then agree or differ, and are never one digit apart or alike in their days.
    """
    con.execute("""
        update people
        set birth_text = birth_texts.birth_text
        from birth_texts
        where birth_texts.record_id = people.record_id and people.birth_text is null
    """)


def _make_file_records(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    columns: Sequence[Columns],
    *,
    id_is_asked: bool,
) -> list[str]:
    """`file_records`: row_number over all files, file, place in it, record_id, truth."""
    selected = []
    offset = 0
    for number, (file, taken) in enumerate(zip(files, columns, strict=True)):
        source = f"'{file.label}'"
        if taken.source_column is not None:
            named = escaped_key_sql(f"nullif(trim(c{taken.source_column}::varchar), '')")
            source = f"coalesce({named}, {source})"
        truth = "null::varchar"
        if taken.truth_column is not None:
            truth = f"c{taken.truth_column}::varchar"
        key = "null::varchar"
        if taken.id_column is not None:
            key = f"nullif(trim(c{taken.id_column}::varchar), '')"
        selected.append(
            f"select row_number + {offset} as row_number, {number} as file, "
            f"row_number as file_row, {source} as source, {key} as key, {truth} as truth "
            f"from {file.table}"
        )
        offset += file.rows
    con.execute(f"create or replace table keyed_rows as {' union all '.join(selected)}")
    remarks = []
    if any(taken.id_column is not None for taken in columns):
        what = _what_is_not_unique(con, files, columns)
        if what and id_is_asked:
            raise KlantbeeldError(
                what,
                "Name the column that tells rows apart with --id, or the one that tells the "
                "systems apart with --source; without --id, rows are numbered.",
                ExitCode.USAGE,
            )
        if what:
            remarks.append(
                f"rows are numbered, as the columns of ids do not tell them apart: {what}"
            )
            con.execute("update keyed_rows set key = null")
    con.execute(f"""
        create or replace table file_records as
        select
            row_number,
            file,
            source,
            truth,
            source || case
                when key is null then ':row:' || file_row
                else ':person:' || {escaped_key_sql("key")}
            end as record_id
        from keyed_rows
        order by row_number
    """)
    con.execute("drop table keyed_rows")
    return remarks


def _what_is_not_unique(
    con: duckdb.DuckDBPyConnection, files: Sequence[InputFile], columns: Sequence[Columns]
) -> str:
    """Rows without an id and rows that share one, in words; empty if every row has its own."""
    keyed = ", ".join(
        str(number) for number, taken in enumerate(columns) if taken.id_column is not None
    )
    missing = con.execute(
        f"select file, file_row from keyed_rows where key is null and file in ({keyed}) "
        f"order by row_number limit {_NAMED_ROWS}"
    ).fetchall()
    if missing:
        return f"rows without an id: {_rows_in_words(files, missing)}"
    # Hashed first: a window over every id of a million rows would take longer than linking them.
    doubles = con.execute(f"""
        with digests as (
            select hash(source, key) as digest from keyed_rows where key is not null
            group by digest having count(*) > 1
        ),
        doubles as (
            select source, key, min(row_number) as first_row,
                list((file, file_row) order by row_number)[:{_NAMED_ROWS}] as same_id
            from keyed_rows
            where key is not null and hash(source, key) in (select digest from digests)
            group by source, key
            having count(*) > 1
        )
        select same_id, count(*) over () from doubles order by first_row limit {_NAMED_ROWS}
    """).fetchall()
    if not doubles:
        return ""
    named = "; ".join(_rows_in_words(files, rows) for rows, _ in doubles)
    count = int(doubles[0][1])
    return f"{count:,} {'id is that' if count == 1 else 'ids are those'} of several rows: {named}"


def _rows_in_words(files: Sequence[InputFile], rows: Sequence[tuple[int, int]]) -> str:
    by_file: dict[int, list[str]] = {}
    for file, row in rows:
        by_file.setdefault(int(file), []).append(f"{row:,}")
    return ", ".join(
        f"{files[file].path.name} row{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"
        for file, numbers in by_file.items()
    )


# As the macros that take texts apart expect it.
_GIVEN_AS: Final = {field: f"given_{field}" for field in _READ_FROM_TEXTS} | {
    "address_line": "address_text"
}


def _make_given_persons(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    columns: Sequence[Columns],
    today: date,
) -> list[str]:
    """`given_persons`: a text per field and a birth date, for every row that has any."""
    remarks: list[str] = []
    nothing = ", ".join(f"'{word}'" for word in _NOTHING)
    con.execute(f"""
        create or replace macro given_text(cell) as
        case
            when strlen(cell) > {LONGEST_VALUE} then null
            when lower(trim(cell, ' \t\r\n\u00a0')) in ({nothing}) then null
            else trim(cell, ' \t\r\n\u00a0')
        end
    """)
    fields = {field: _GIVEN_AS.get(field, field) for field in FIELDS if field != "birth_date"}
    con.execute(
        "create or replace table given_persons ("
        f"row_number bigint, {', '.join(f'{name} varchar' for name in fields.values())}, "
        "birth_date date, birth_text varchar)"
    )
    offset = 0
    for file, taken in zip(files, columns, strict=True):
        used = sorted({number for numbers in taken.fields.values() for number in numbers})
        texts = ", ".join(f"{_cell_sql(file, taken, number)} as t{number}" for number in used)
        con.execute(
            f"create or replace temp table given_texts as "
            f"select row_number + {offset} as row_number, {texts} from {file.table}"
        )
        remarks += _remark_long_cells(con, file, used)
        born = list(taken.fields.get("birth_date", ()))
        for number in born:
            said = dates.read_dates(con, "given_texts", f"t{number}", f"dates_{number}", today.year)
            remarks += [f"{file.columns[number]}: {remark}" for remark in said]
        values = {
            name: "coalesce(" + ", ".join(
                _number_sql(f"t{n}") if field in _NUMBERS else f"t{n}" for n in taken.fields[field]
            ) + ")"
            for field, name in fields.items()
            if field in taken.fields
        }  # fmt: skip
        if "place_line" in values:
            # "1234 AB Ergens" in a column of its own is the end of an address.
            place, line = values["place_line"], values.get("address_text", "null")
            before = f"coalesce({line}, {values.get('given_street', 'null')}, '?')"
            values["address_text"] = (
                f"case when {place} is null then {line} else concat({before}, ', ', {place}) end"
            )
        if born:
            values["birth_date"] = f"coalesce({', '.join(f'dates_{n}.born' for n in born)})"
            values["birth_text"] = f"coalesce({', '.join(f'dates_{n}.written' for n in born)})"
        con.execute(
            "insert into given_persons by name select row_number, "
            + ", ".join(f"{value} as {field}" for field, value in values.items())
            + " from given_texts "
            + " ".join(f"left join dates_{n} on dates_{n}.given = t{n}" for n in born)
        )
        for number in born:
            con.execute(f"drop table dates_{number}")
        offset += file.rows
    con.execute("drop table if exists given_texts")
    return remarks


def _cell_sql(file: InputFile, taken: Columns, number: int) -> str:
    """The trimmed text of a cell; a year of birth with the month and day of other columns."""
    text = f"given_text({_text_sql(f'c{number}', file.types[number])})"
    parts = [taken.fields.get(field, (None,))[0] for field in ("birth_month", "birth_day")]
    if number not in taken.fields.get("birth_date", ())[:1] or None in parts:
        return text
    month, day = (
        f"try_cast({_text_sql(f'c{part}', file.types[part])} as double)::integer"
        for part in parts
        if part is not None
    )
    return (
        f"case when {month} between 1 and 12 and {day} between 1 and 31 "
        f"then concat(left({text}, 4), '-', {month}, '-', {day}) else {text} end"
    )


def _text_sql(column: str, kind: str) -> str:
    """The text of a cell; a whole number that became a fraction in a data frame is one again."""
    if kind in {"DOUBLE", "FLOAT"}:
        return (
            f"case when isnan({column}) then null "
            f"when {column} = trunc({column}) and abs({column}) < 1e15 "
            f"then {column}::bigint::varchar else {column}::varchar end"
        )
    return column if kind == "VARCHAR" else f"{column}::varchar"


def _number_sql(text: str) -> str:
    return f"regexp_replace({text}, '^([0-9]+)[.]0+$', '\\1')"


def _remark_long_cells(
    con: duckdb.DuckDBPyConnection, file: InputFile, used: Sequence[int]
) -> list[str]:
    texts = [number for number in used if file.types[number] == "VARCHAR"]
    if not texts:
        return []
    long = " + ".join(f"count(*) filter (strlen(c{n}) > {LONGEST_VALUE})" for n in texts)
    row = con.execute(f"select {long} from {file.table}").fetchone()
    count = int(row[0]) if row else 0
    if not count:
        return []
    return [
        f"{file.path.name}: {count:,} cells longer than {LONGEST_VALUE:,} bytes are not compared"
    ]


def _country(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    columns: Sequence[Columns],
    default: str,
) -> str:
    """Where people live by their postal codes, else by their numbers; decided by the majority."""
    row = con.execute(f"""
        with found as (
            select coalesce(given_postal_code, postal_code) as postal_code from persons_with_places
        )
        select
            count(postal_code),
            count(*) filter (regexp_matches(postal_code, '{_DUTCH_CODE}')),
            count(*) filter (regexp_matches(postal_code, '{_BRITISH_CODE}')),
            count(*) filter (regexp_matches(postal_code, '^[0-9]{{5}}$'))
        from found
    """).fetchone() or (0, 0, 0, 0)
    codes, dutch, british, five = (int(n) for n in row)
    if codes and dutch * 2 >= codes:
        return "NL"
    if codes and british * 2 >= codes:
        return "GB"
    dialled, is_default = _dialled(con, default)
    # A code that is not Dutch would be no code in the Netherlands.
    if dialled and not (codes and dialled == "NL"):
        return dialled
    if codes and five * 2 >= codes and any(map(is_german, files, columns)):
        return "DE"
    return default if is_default and not codes else _ANYWHERE


def _dialled(con: duckdb.DuckDBPyConnection, default: str) -> tuple[str | None, bool]:
    """The country that most international numbers are of; whether the others can be the default's.

    In the Netherlands a number has ten digits; one of another length would be no number there.
    """
    from klantbeeld.transform.rendering import load_macros

    # Of two countries with one code the first; a code of three digits goes before one of two.
    countries = {calling: code for code, calling, _ in reversed(load_macros()["countries"]())}
    starts = con.execute("""
        with given as (
            select translate(coalesce(mobile_phone, phone), ' -().', '') as number
            from given_persons
        )
        select left(ltrim(number, '+0'), 3) as start, count(*) as numbers
        from given where number like '+%' or number like '00%'
        group by start
    """).fetchall()
    counts: dict[str, int] = {}
    for start, numbers in starts:
        known = next((start[:n] for n in (3, 2, 1) if start[:n] in countries), None)
        if known:
            counts[countries[known]] = counts.get(countries[known], 0) + int(numbers)
    row = con.execute("""
        with given as (
            select regexp_replace(coalesce(mobile_phone, phone), '[^0-9+]', '', 'g') as number
            from given_persons
        )
        select count(*), count(*) filter (regexp_matches(number, '^0?[1-9][0-9]{8}$'))
        from given where number != '' and number not like '+%' and number not like '00%'
    """).fetchone() or (0, 0)
    national, dutch = (int(n) for n in row)
    most = max(counts, key=lambda code: (counts[code], code), default=None)
    return most, default != "NL" or dutch * 2 >= national


def _make_persons(con: duckdb.DuckDBPyConnection, given: Collection[str]) -> None:
    """`int_persons__unioned`: the standard model's persons, names and addresses in parts.

    What a file gives in a column of its own goes before what was read from a longer text.
    """
    from klantbeeld.transform.rendering import load_macros

    macros = load_macros()
    steps = {
        "persons_with_names": macros["split_full_names"]("given_persons"),
        "persons_with_places": macros["split_address_texts"]("persons_with_names"),
        "persons_with_streets": macros["split_address_lines"]("persons_with_places"),
    }
    for name, sql in steps.items():
        con.execute(f"create or replace view {name} as {sql}")
    known = {field: field for field in FIELDS if field not in _READ_FROM_TEXTS} | {
        field: f"coalesce(given_{field}, {field})" for field in _READ_FROM_TEXTS
    }
    known |= {
        "record_id": "record_id",
        "source": "source",
        # A single word that is known to be the first name is not the surname as well.
        "last_name": "coalesce(given_last_name, case when lower(last_name) is distinct from "
        "lower(given_first_name) then last_name end)",
    }
    if "middle_name" in given:
        letters = "regexp_replace({}, '(\\p{{L}})\\p{{L}}*[^\\p{{L}}]*', '\\1', 'g')"
        known["initials"] = (
            "coalesce(initials, case when middle_name is not null then concat("
            f"left({known['first_name']}, 1), {letters.format('middle_name')}) end)"
        )
    if "first_name" in given:
        known["first_name"] = macros["called_name"](known["first_name"])
    # Long lists of words, walked for every row: not where there is nothing to look up.
    if "gender" in given:
        known["gender"] = macros["standard_gender"]("gender")
    if "country" in given:
        known["country_code"] = macros["country_code"]("country")
    values = ", ".join(
        f"cast({known.get(column, 'null')} as {kind}) as {column}"
        for column, kind in macros["standard_model"]()["persons"].items()
    )
    con.execute(
        f"create or replace view int_persons__unioned as select {values} "
        "from persons_with_streets inner join file_records using (row_number)"
    )


def _make_number_keys(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Let a personal number be a key of those who bear it and agree on two things more.

    By itself it is none: numbers are mistyped, made up, and entered for the wrong one of a family.
    """
    con.execute(f"""
        create or replace temp table numbered as
        with given as (
            select
                file_records.record_id,
                ltrim(regexp_replace(upper(personal_number), '[^0-9A-Z]+', '', 'g'), '0') as number
            from given_persons
            inner join file_records using (row_number)
        )
        select given.number, {LINKAGE_RECORDS}.*
        from given
        inner join {LINKAGE_RECORDS} using (record_id)
        where length(number) >= {_SHORTEST_NUMBER}
            and len(list_distinct(string_split(number, ''))) > 2
        qualify count(*) over (partition by number) between 2 and {_MOST_OF_ONE_NUMBER}
    """)
    agreed = " + ".join(f"coalesce(({condition})::integer, 0)" for condition in _AGREEMENTS)
    con.execute(f"""
        update {LINKAGE_RECORDS} set deterministic_key = 'number:' || keyed.number
        from (
            with agreeing as (
                select a.number, a.record_id as one, b.record_id as other
                from numbered as a inner join numbered as b on a.number = b.number
                where {agreed} >= 2
            ),
            -- Of several who bear it, those who agree with the one that most agree with.
            most as (
                select number, one from agreeing group by number, one
                qualify row_number() over (partition by number order by count(*) desc, one) = 1
            )
            select agreeing.number, agreeing.other as record_id
            from agreeing inner join most using (number, one)
            qualify count(*) over (partition by number) > 1
        ) as keyed
        where keyed.record_id = {LINKAGE_RECORDS}.record_id and deterministic_key is null
    """)
    row = con.execute(f"""
        select
            (select count(*) from numbered),
            count(*) filter (starts_with(deterministic_key, 'number:'))
        from {LINKAGE_RECORDS}
    """).fetchone() or (0, 0)
    con.execute("drop table numbered")
    alone = int(row[0]) - int(row[1])
    said = f"rows that share a personal number with others, and hardly anything else: {alone:,}"
    return [said] if alone else []


def _keep_dates_of_the_past(con: duckdb.DuckDBPyConnection, today: date) -> list[str]:
    """Among customers nobody is 150 years old; in a file of the past most are."""
    past = f"birth_date is null and birth_date_raw < date '{today}' - interval '120' year"
    row = con.execute(
        f"select count(birth_date_raw), count(*) filter ({past}) from {LINKAGE_RECORDS}"
    ).fetchone()
    given, past_count = (int(n) for n in row or (0, 0))
    if past_count <= _PAST_SHARE * given:
        if past_count:
            return [f"{past_count:,} birth dates of over 120 years ago are not compared"]
        return []
    con.execute(f"update {LINKAGE_RECORDS} set birth_date = birth_date_raw where {past}")
    return [
        f"{past_count:,} of {given:,} birth dates are of over 120 years ago: a file of the past"
    ]

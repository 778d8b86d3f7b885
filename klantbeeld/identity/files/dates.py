"""Birth dates as people write them: SQL that reads a column of text, in the order the column shows.

Here: ISO dates, day or month first, eight digits, named months, years alone, days as spreadsheets
count them. Which of day and month
comes first is decided by the whole column: one 25 in front settles it. Not here: which dates can be
birth dates (the standardising macros).
"""

from dataclasses import dataclass
from typing import Final

import duckdb

_ISO: Final = r"^(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})(?:[t ].*)?$"
_SHORT: Final = r"^(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d{2})(?:[t ].*)?$"
_EIGHT: Final = r"^(\d{8})$"
_DAY_NAMED: Final = (
    r"^(\d{1,2})(?:st|nd|rd|th|er)?[-/. ]*(?:de )?(\p{L}{3})\p{L}*[-/., ]*(?:de )?(\d{4})$"
)
_MONTH_NAMED: Final = r"^(\p{L}{3})\p{L}*[-/. ]*(\d{1,2})(?:st|nd|rd|th)?[-/., ]+(\d{4})$"
# Days since 30 December 1899, as spreadsheets keep a date: from 1927 on five digits.
_SERIAL: Final = r"^([1-6]\d{4})$"
_YEAR: Final = r"^((?:1[5-9]|20)\d{2})(?:-\d{2})?$"
# How a month begins in English, Dutch, German, French, Spanish, Italian and Portuguese.
_MONTHS: Final = (
    ("jan", "jän", "ene", "gen"), ("feb", "fév", "fev"), ("mar", "mrt", "maa", "mär", "mae"),
    ("apr", "avr", "abr"), ("may", "mei", "mai", "mag"), ("jun", "giu"), ("jul", "lug"),
    ("aug", "aoû", "aou", "ago"), ("sep", "set"), ("oct", "okt", "ott", "out"), ("nov",),
    ("dec", "dez", "déc", "dic"),
)  # fmt: skip


@dataclass(frozen=True)
class DateOrder:
    """How a column writes its dates.

    Attributes:
        day_first: Whether 03-04-1980 is the third of April.
        is_decided: Whether the column shows it; else day first is taken.
        eight_digits: How eight digits are read: `ymd`, `dmy` or `mdy`.
        label: For people.
    """

    day_first: bool
    is_decided: bool
    eight_digits: str
    label: str


def read_dates(
    con: duckdb.DuckDBPyConnection, relation: str, column: str, target: str, this_year: int
) -> list[str]:
    """Make the table `target` (given, uses, born, written) of the texts in a column, each once.

    `born` is a date. `written` is what is no date, written as dates are: a mistyped date keeps its
    digits (`1862-81-01`), a year alone has its last two digits for a day (`1985-xx-85`).

    Args:
        con: The engine.
        relation: The table that has the column.
        column: The column, of trimmed texts.
        target: The table to make.
        this_year: Years of two digits are not after it.

    Returns:
        How they were read, in words.
    """
    # Every pattern is matched once: an expression used twice would be computed twice.
    con.execute(f"""
        create or replace table {target} as
        with texts as (
            select
                {column} as given,
                count(*) as uses,
                replace(replace(
                    regexp_replace(lower({column}), '^([0-9]+)[.]0+$', '\\1'), 'juil', 'jul'
                ), 'juin', 'jun') as text
            from {relation}
            where {column} is not null
            group by {column}
        )
        select
            *,
            regexp_extract(text, '{_ISO}', ['y', 'm', 'd']) as iso,
            regexp_extract(text, '{_SHORT}', ['one', 'two', 'year']) as short,
            regexp_extract(text, '{_EIGHT}', 1) as eight,
            regexp_extract(text, '{_DAY_NAMED}', ['d', 'm', 'y']) as day_named,
            regexp_extract(text, '{_MONTH_NAMED}', ['m', 'd', 'y']) as month_named,
            regexp_extract(text, '{_YEAR}', 1) as year,
            regexp_extract(text, '{_SERIAL}', 1) as serial
        from texts
    """)
    order = _order(con, target)
    con.execute(f"""
        create or replace table {target} as
        with dated as (select *, {_date_sql(order, this_year)} as born from {target})
        select
            given,
            uses,
            born,
            case when born is null then {_written_sql(order)} end as written,
            year != '' as is_year
        from dated
    """)
    row = con.execute(f"""
        select
            coalesce(sum(uses), 0),
            coalesce(sum(uses) filter (born is null and written is not null and not is_year), 0),
            coalesce(sum(uses) filter (born is null and written is null), 0)
        from {target}
    """).fetchone()
    given, mistyped, unread = (int(n) for n in row or (0, 0, 0))
    remarks = [f"read as {order.label}"] if order.label else []
    if not order.is_decided:
        remarks.append("nothing shows whether day or month is first: day first is taken")
    if mistyped:
        remarks.append(
            f"{mistyped:,} of {given:,} values are no date of the calendar: "
            "compared as they are written"
        )
    if unread:
        remarks.append(f"{unread:,} of {given:,} values are no date: not compared")
    return remarks


def _order(con: duckdb.DuckDBPyConnection, texts: str) -> DateOrder:
    """How the dates of a column are written, by all of them."""
    conditions = (
        "iso.y != ''",
        "short.one != ''",
        "try_cast(short.one as integer) > 12",
        "try_cast(short.two as integer) > 12",
        "eight != ''",
        *(f"try_cast({_eight_sql(order)} as date) is not null" for order in ("ymd", "dmy", "mdy")),
        "year != ''",
        "serial != ''",
    )
    sums = ", ".join(f"coalesce(sum(uses) filter ({when}), 0)" for when in conditions)
    row = con.execute(f"select {sums} from {texts}").fetchone() or (0,) * len(conditions)
    iso, short, day_first, month_first, eights, ymd, dmy, mdy, years, serials = (
        int(n) for n in row
    )
    best = max((ymd, "ymd"), (dmy, "dmy"), (mdy, "mdy"), key=lambda option: option[0])[1]
    is_day_first = day_first >= month_first
    kinds = {
        "year-month-day": iso,
        "day-month-year" if is_day_first else "month-day-year": short,
        {"ymd": "yyyymmdd", "dmy": "ddmmyyyy", "mdy": "mmddyyyy"}[best]: eights,
        "years": years,
        "days of a spreadsheet": serials,
    }
    label = " and ".join(kind for kind, count in kinds.items() if count)
    return DateOrder(is_day_first, short == 0 or day_first != month_first, best, label)


def _date_sql(order: DateOrder, this_year: int) -> str:
    first, second = ("two", "one") if order.day_first else ("one", "two")
    year = (
        "case when length(short.year) = 4 then short.year "
        f"when 2000 + try_cast(short.year as integer) > {this_year} then '19' || short.year "
        "else '20' || short.year end"
    )
    # A date that fits in one order only is read in that one, whatever the column does.
    return f"""case
        when iso.y != '' then {_cast("iso.y", "iso.m", "iso.d")}
        when short.one != '' then coalesce(
            {_cast(year, f"short.{first}", f"short.{second}")},
            {_cast(year, f"short.{second}", f"short.{first}")}
        )
        when eight != '' then try_cast({_eight_sql(order.eight_digits)} as date)
        when day_named.y != ''
            then {_cast("day_named.y", _month_sql("day_named.m"), "day_named.d")}
        when month_named.y != ''
            then {_cast("month_named.y", _month_sql("month_named.m"), "month_named.d")}
        when serial != '' then date '1899-12-30' + try_cast(serial as integer)
    end"""


def _written_sql(order: DateOrder) -> str:
    month, day = ("two", "one") if order.day_first else ("one", "two")
    return f"""case
        when year != '' then concat(year, '-xx-', right(year, 2))
        when iso.y != '' then concat(iso.y, '-', lpad(iso.m, 2, '0'), '-', lpad(iso.d, 2, '0'))
        when length(short.year) = 4 then concat(
            short.year, '-', lpad(short.{month}, 2, '0'), '-', lpad(short.{day}, 2, '0')
        )
        when eight != '' then {_eight_sql(order.eight_digits)}
    end"""


def _cast(year: str, month: str, day: str) -> str:
    return f"try_cast(concat({year}, '-', {month}, '-', {day}) as date)"


def _eight_sql(order: str) -> str:
    year, month, day = {"ymd": (1, 5, 7), "dmy": (5, 3, 1), "mdy": (5, 1, 3)}[order]
    return (
        f"case when substr(eight, {year}, 4) between '1500' and '2100' then concat("
        f"substr(eight, {year}, 4), '-', substr(eight, {month}, 2), '-', substr(eight, {day}, 2)"
        ") end"
    )


def _month_sql(letters: str) -> str:
    entries = ", ".join(
        f"'{name}': '{number}'" for number, names in enumerate(_MONTHS, 1) for name in names
    )
    return f"map {{{entries}}}[{letters}]"

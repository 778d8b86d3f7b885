"""The whole world as Arrow tables, before any system is started.

Here: a block of people with everything the systems know about them, and all blocks together.
Not here: the systems' stores and services (`demo.crm`, `demo.shop`, `demo.pos`, `demo.newsletter`,
`demo.web`), and life after the first day (`demo.advance`).

Flow: persons, seed -> `draw_blocks()` -> `<system>.<table>` -> `demo.world`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from demo import history
from demo.people import HISTORY_DAYS, WORLD_START, blocks
from demo.records import Counters
from demo.systems import draw_membership, draw_records

PERSON_COLUMN = "person_id"
#: Columns the generator needs and no system has.
HIDDEN_COLUMNS = {
    "newsletter.subscribers": (
        "wants_offers",
        "regrets_offers",
        "u_method",
        "row_number",
    ),
    "pos.members": ("store",),
}


def end_of_day(day: dt.date) -> dt.datetime:
    """The last second of a business date, in UTC."""
    local = dt.datetime.combine(day, dt.time(23, 59, 59), history.TIME_ZONE)
    return local.astimezone(dt.UTC)


def microseconds(moment: dt.datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def without_person(name: str, table: pa.Table) -> pa.Table:
    """The table as its system has it: nobody tells a system who a record really is."""
    hidden = (PERSON_COLUMN, *HIDDEN_COLUMNS.get(name, ()))
    return table.drop_columns([column for column in hidden if column in table.column_names])


def draw_blocks(
    persons: int, seed: int, counters: Counters | None = None, today: dt.date = WORLD_START
) -> Iterator[dict[str, pa.Table]]:
    """Draw the world a block at a time, with 18 months of history.

    Args:
        persons: How many people there are.
        seed: The same seed gives the same world.
        counters: Receives the last number of everything that is numbered.
        today: The world's first business date.

    Yields:
        Tables by `<system>.<table>`, `truth`, `company_truth` and `people`; fixed tables in the
        first block only.
    """
    counters = counters if counters is not None else Counters()
    as_of = microseconds(end_of_day(today))
    begin = today - dt.timedelta(days=HISTORY_DAYS)
    goods = history.catalogue()
    for block in blocks(persons, seed, today):
        rng = np.random.default_rng([seed, 1, block.number])
        membership = draw_membership(rng, block.people)
        tables = draw_records(
            rng, block.people, block.companies, membership, counters, as_of, today
        )
        customers = history.habits_of(tables["shop.customers"], block.people)
        members = history.habits_of(tables["pos.members"], block.people)
        subscribers = history.habits_of(tables["newsletter.subscribers"], block.people)
        tables |= history.draw_orders(
            rng, customers, tables["shop.addresses"], counters, begin, today, as_of
        )
        tables["shop.returns"] = history.draw_returns(
            tables["shop.orders"], tables["shop.order_lines"], counters, 0, as_of
        )
        tables["pos.receipt_lines"] = history.draw_receipts(rng, members, counters, begin, today)
        tables["newsletter.events"] = history.draw_mail_events(
            rng, subscribers, counters, begin, begin, today, as_of
        )
        tables["web.events"] = history.draw_web_events(
            rng, customers, counters, today - dt.timedelta(days=history.WEB_DAYS), today, as_of
        )
        counters.values["companies"] = int(block.companies["company_id"][-1].as_py())
        if block.number == 0:
            tables["shop.categories"] = goods.categories
            tables["shop.products"] = goods.products
            tables["newsletter.lists"] = history.mailing_lists()
            tables["newsletter.deletions"] = pa.table(
                {
                    "email": pa.array([], pa.string()),
                    "deleted_at": pa.array([], pa.timestamp("us", "UTC")),
                }
            )
        tables["people"] = block.people
        yield tables


def generate_tables(persons: int, seed: int) -> dict[str, pa.Table]:
    """Give every system's tables as Arrow, without starting a server.

    Args:
        persons: How many people there are.
        seed: The same seed gives the same tables.

    Returns:
        `crm.contacts`, `shop.orders`, `pos.receipt_lines`, `web.events` and so on with the columns
        of the systems, `truth` (source, entity, natural_key, person_id) and `people` (the
        generator's own).
    """
    parts: dict[str, list[pa.Table]] = {}
    for tables in draw_blocks(persons, seed):
        for name, table in tables.items():
            shown = (
                table
                if name in ("truth", "company_truth", "people")
                else without_person(name, table)
            )
            parts.setdefault(name, []).append(shown)
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}

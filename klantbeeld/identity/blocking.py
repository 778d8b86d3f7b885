"""Who meets whom: `people -> candidate_pairs`, under a budget of pairs for every rule.

Here: making candidate pairs from the named rules of `model`, of all records or of those that
changed. Not here: weighing them (`linking`).

A rule whose pairs exceed its budget is not dropped: its largest blocks are, as they say least and
cost most (a common name, a default date, a prefix such as "van"). Rules marked extra are used while
the total budget lasts, so that small data get a thorough search and a million records stay near
1.25 pairs a record.

Budgets are about all the records, so what they come to, the largest block that each rule may use,
is part of a model version (`frozen`): with it, who meets whom depends on the records of a block and
on nothing else, and a few new records can be brought to theirs without looking at the rest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import duckdb

from klantbeeld.identity.model import BLOCKING_RULES, BlockingRule

# Of a model version: one per cent more records in the same blocks stay below 1.25.
PAIRS_PER_RECORD: Final = 1.23
# Small data may search harder: this many pairs cost about two seconds.
PAIRS_AT_LEAST: Final = 750_000
# Below this many records the rules' budgets stay as they are for this many.
SMALL_DATA: Final = 10_000
# With less than this share of the total budget left, hardly a size of blocks fits any more: of a
# million records, twenty extra rules then brought 15 pairs to a thousand records.
LEAST_LEFT: Final = 0.02
# Where no block was over the budget, one may still grow until it alone takes this share of it.
ONE_BLOCK: Final = 0.1


@dataclass(frozen=True)
class RuleCost:
    """What one rule did.

    Attributes:
        rule: Its name.
        pairs: Pairs that no earlier rule had found.
        left_out_blocks: Blocks over its budget.
        largest_block: Records in the largest block used.
        allowed_block: Records in the largest block that it may use, now and under the same model
            version later.
    """

    rule: str
    pairs: int
    left_out_blocks: int
    largest_block: int
    allowed_block: int


def make_candidate_pairs(
    con: duckdb.DuckDBPyConnection,
    records: int,
    pairs_per_record: float = PAIRS_PER_RECORD,
    largest_blocks: Mapping[str, int] | None = None,
) -> list[RuleCost]:
    """Make `candidate_pairs` (id_l < id_r, rule) from `people`.

    Args:
        con: The linkage's own database.
        records: The number of records.
        pairs_per_record: The total budget. Extra rules are only used while enough of it is left.
        largest_blocks: Per rule the records in the largest block it may use, in place of budgets; a
            rule that is not named is not used.

    Returns:
        What each rule did, in order; rules that were not used are left out.
    """
    con.execute("create or replace table candidate_pairs (id_l bigint, id_r bigint, rule utinyint)")
    total = left = max(pairs_per_record * records, PAIRS_AT_LEAST)
    costs = []
    for number, rule in enumerate(BLOCKING_RULES):
        if largest_blocks is not None:
            if rule.name not in largest_blocks:
                continue
            cost = _add_pairs(con, rule, number, largest=largest_blocks[rule.name])
        else:
            if rule.is_extra and left < LEAST_LEFT * total:
                continue
            budget = rule.pairs_per_record * max(records, SMALL_DATA)
            cost = _add_pairs(con, rule, number, budget, left)
        left -= cost.pairs
        costs.append(cost)
    for name in ("block_sizes", "blocks", "new_pairs"):
        con.execute(f"drop table if exists {name}")
    return costs


def _add_pairs(
    con: duckdb.DuckDBPyConnection,
    rule: BlockingRule,
    number: int,
    budget: float = math.inf,
    left: float = math.inf,
    largest: int | None = None,
) -> RuleCost:
    """Add one rule's pairs, of its smallest blocks first.

    Args:
        con: The linkage's own database.
        rule: The rule.
        number: Its number.
        budget: Pairs that it may look at.
        left: Pairs that it may add to those of earlier rules.
        largest: The records in the largest block that it may use, in place of both.
    """
    con.execute(f"""
        create or replace table block_sizes as
        select {_block(rule)} as block, count(*) as size
        from people where {_is_placed(rule)} group by block having size > 1
    """)
    used = largest
    if used is None:
        used = _largest_within(con, "select size, size * (size - 1) / 2 from block_sizes", budget)
    con.execute(f"""
        create or replace table blocks as
        select people.id, block_sizes.block, block_sizes.size
        from people
        inner join block_sizes on block_sizes.block = {_block(rule)}
        where {_is_placed(rule)} and block_sizes.size <= {used}
    """)
    # Counted when they are there: most of the pairs of a strict rule are known from stricter ones.
    con.execute("""
        create or replace table new_pairs as
        select blocks_l.id as id_l, blocks_r.id as id_r, blocks_l.size
        from blocks as blocks_l
        inner join blocks as blocks_r
            on blocks_r.block = blocks_l.block and blocks_r.id > blocks_l.id
        anti join candidate_pairs as known
            on known.id_l = blocks_l.id and known.id_r = blocks_r.id
    """)
    if largest is None and _scalar(con, "select count(*) from new_pairs") > left:
        used = _largest_within(con, "select size, 1 from new_pairs", left)
    pairs = _scalar(
        con,
        "insert into candidate_pairs "
        f"select id_l, id_r, {number} from new_pairs where size <= {used}",
    )
    left_out, widest = con.execute(f"""
        select count(*) filter (size > {used}), coalesce(max(size) filter (size <= {used}), 0)
        from block_sizes
    """).fetchone() or (0, 0)
    if largest is None:
        largest = used
        if not left_out:
            largest = max(used, math.isqrt(int(2 * ONE_BLOCK * min(budget, left))))
    return RuleCost(rule.name, pairs, int(left_out), int(widest), largest)


def _largest_within(con: duckdb.DuckDBPyConnection, pairs: str, most: float) -> int:
    """The largest block so that all up to its size have no more pairs than this; 0 for none.

    Args:
        con: The linkage's own database.
        pairs: SQL for the size of a block and pairs of it, any number of rows.
        most: How many pairs.
    """
    return _scalar(
        con,
        f"""
        with sizes as (
            select size, sum(pairs) as pairs from ({pairs}) as found (size, pairs) group by size
        ),
        running as (select size, sum(pairs) over (order by size) as pairs from sizes)
        select coalesce(max(size) filter (pairs <= $most), 0) from running
        """,
        {"most": most},
    )


def block_columns(largest_blocks: Mapping[str, int]) -> dict[str, str]:
    """SQL over `people` for the block of a record, null for none, per rule that may be used.

    What a linkage of changes needs of the records that did not change: kept with them, nothing else
    of them has to be read.

    Args:
        largest_blocks: Per rule the records in the largest block it may use.

    Returns:
        By the name of a column.
    """
    return {
        _column(rule): f"case when {_is_placed(rule)} then {_block(rule)} end"
        for _, rule, _ in _usable(largest_blocks)
    }


def make_pairs_of_changes(
    con: duckdb.DuckDBPyConnection, largest_blocks: Mapping[str, int]
) -> None:
    """Make the pairs of the records that met others than before.

    Leaves `touched` (digest): the records of `arrived`, and all records of a block that came to be
    within the largest size allowed, or beyond it, because of them; and `found_pairs` (digest_l,
    digest_r, rule): what `make_candidate_pairs` would make with at least one end in `touched`, a
    pair once for each rule that finds it. No other pair can be a candidate now and not before, or
    by another rule.

    Args:
        con: The linkage's own database, with three tables of digest and the columns of
            `block_columns`: `present` (all records), `arrived` (with `is_new`: the new and the
            changed ones, and others whose pairs are wanted) and `former` (the changed and the
            deleted, as they were).
        largest_blocks: Per rule the records in the largest block it may use.
    """
    con.execute(
        "create or replace table found_pairs (digest_l ubigint, digest_r ubigint, rule utinyint)"
    )
    con.execute("create or replace table touched as select digest from arrived")
    con.execute("create or replace table crossed (digest ubigint)")
    rules = _usable(largest_blocks)
    for number, rule, largest in rules:
        _add_pairs_of(
            con,
            rule,
            number,
            largest,
            "arrived",
            f"""
            select {_column(rule)} as block, is_new::bigint as came, 0 as went from arrived
            union all select {_column(rule)}, 0, 1 from former
        """,
        )
        con.execute(f"""
            insert into crossed
            select digest from near
            where (size <= {largest}) <> (former_size <= {largest})
        """)
    con.execute("""
        create or replace table crossed as
        from present where digest in (select digest from crossed anti join touched using (digest))
    """)
    if con.execute("select 1 from crossed limit 1").fetchone():
        con.execute("insert into touched select digest from crossed")
        for number, rule, largest in rules:
            _add_pairs_of(
                con,
                rule,
                number,
                largest,
                "crossed",
                f"select {_column(rule)} as block, 0 as came, 0 as went from crossed",
            )
    for name in ("crossed", "near"):
        con.execute(f"drop table if exists {name}")


def _add_pairs_of(
    con: duckdb.DuckDBPyConnection,
    rule: BlockingRule,
    number: int,
    largest: int,
    arrived: str,
    moves: str,
) -> None:
    """Add one rule's pairs of some records; leaves `near`, all records of their blocks."""
    con.execute(f"""
        create or replace table near as
        with seen as (
            select block, sum(came)::bigint as came, sum(went)::bigint as went
            from ({moves})
            where block is not null
            group by block
        )
        select
            present.digest,
            seen.block,
            count(*) over (partition by seen.block) as size,
            size - seen.came + seen.went as former_size,
            present.digest in (select digest from {arrived}) as is_arrived
        from present
        inner join seen on seen.block = present.{_column(rule)}
    """)
    con.execute(f"""
        insert into found_pairs
        select arrived.digest, others.digest, {number}
        from (from near where is_arrived and size between 2 and {largest}) as arrived
        inner join near as others
            on others.block = arrived.block
            and (others.digest > arrived.digest
                or (others.digest < arrived.digest and not others.is_arrived))
    """)


def _usable(largest_blocks: Mapping[str, int]) -> list[tuple[int, BlockingRule, int]]:
    """The rules that may bring two records together, each with its number and largest block."""
    return [
        (number, rule, largest_blocks[rule.name])
        for number, rule in enumerate(BLOCKING_RULES)
        if largest_blocks.get(rule.name, 0) > 1
    ]


def _column(rule: BlockingRule) -> str:
    return f"block_{rule.name.lower()}"


def _block(rule: BlockingRule) -> str:
    """SQL for the block of a record."""
    return f"hash({', '.join(rule.keys)})"


def _is_placed(rule: BlockingRule) -> str:
    """SQL for whether a rule can place a record."""
    return " and ".join(f"({key}) is not null" for key in rule.keys)


def _scalar(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, float] | None = None
) -> int:
    row = con.execute(sql, parameters or {}).fetchone()
    return int(row[0]) if row else 0

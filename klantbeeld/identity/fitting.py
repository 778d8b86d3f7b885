"""Estimating a model's parameters from unlabelled records: the statistics behind `training`.

Here: how often each level occurs among the same person (`m`), strangers (`u`) and housemates (`h`).
Not here: files, promotion, the control plane (`training`).

`u` comes from Splink's random sampling; `m` and `h` from expectation maximisation over counted
patterns of levels, with three kinds of pairs instead of two. The pairs are looked at in sessions,
each holding on to what its pairs agree on anyway and learning the rest. No session that teaches a
personal trait is a household: address blocks taught m(same birth date) .60 where it was .92.
Estimates lean on the starting model by a weight of a few hundred pairs, so that a level that hardly
occurs keeps a sensible value instead of a lucky one; such levels are named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from klantbeeld.identity.model import COMPARISONS, ELSE, SAME, Comparison, LinkageModel, Odds
from klantbeeld.identity.scoring import Scorer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Levels = Mapping[str, frozenset[str]]

PAIRS_TO_FIT: Final = 200_000
PAIRS_FOR_U: Final = 100_000
ROUNDS: Final = 3
# Of what two random records share, at least this part is by accident.
LEFT_OF_RANDOM: Final = 0.1
# Comparison, level, the column that is equal, and the column without which nothing is compared.
COUNTED_LEVELS: Final = (
    ("first_name", SAME, "first_name", "initial"),
    ("surname", SAME, "surname", "surname"),
    ("birth_date", SAME, "birth_text", "birth_text"),
    ("address", "same_postal_code", "postal_code", "coalesce(address_key, postal_code, city)"),
)
# How many pairs of the starting model an estimate is mixed with.
LEAN_M: Final = 60.0
LEAN_H: Final = 200.0
LEAN_U: Final = 50.0
FEW_PAIRS: Final = 30.0
ENOUGH_PAIRS: Final = 300.0
OFTEN_COMPARABLE: Final = 0.05
# Relatives who share an address or a number count as one person who errs.
TRUST_IN_REACH: Final = 0.5
LEAST: Final = 1e-4
# Of the pairs that share a full name, at most so many are strangers, as far as names alone tell,
# and at most so many father and son.
MOST_NAMESAKES: Final = 0.9
RELATED_NAMESAKES: Final = 0.05
# Twins, and fathers and sons of one name, as shares of the pairs of housemates.
TWINS: Final = 0.012
NAMESAKES: Final = 0.01
_PERSONAL: Final = ("first_name", "middle_initials", "birth_date", "gender")
_EXTRA: Final = {"first_name": NAMESAKES, "birth_date": TWINS}

_NAMES: Final = {comparison.name: comparison for comparison in COMPARISONS}
_INDEX: Final = {comparison.name: number for number, comparison in enumerate(COMPARISONS)}


@dataclass(frozen=True)
class Session:
    """Pairs that agree on something, and what they teach.

    Attributes:
        name: For reports.
        given: What the pairs agree on: comparison -> levels.
        teaches: The comparisons learned from them.
    """

    name: str
    given: Levels
    teaches: tuple[str, ...]


def _given(**levels: str) -> Levels:
    return {name: frozenset(value.split()) for name, value in levels.items()}


_SAME_NAME: Final = "same variant"
_TRAITS: Final = ("middle_initials", "gender")
PERSON_SESSIONS: Final = (
    Session(
        "same full name",
        _given(first_name=_SAME_NAME, surname="same"),
        ("birth_date", "email", "phone", "address", *_TRAITS),
    ),
    Session(
        "same first name and birth date",
        _given(first_name=_SAME_NAME, birth_date="same"),
        ("surname", "email", "phone", "address", *_TRAITS),
    ),
    Session(
        "same surname and birth date",
        _given(surname="same", birth_date="same"),
        ("first_name", "email", "phone", "address", *_TRAITS),
    ),
    Session(
        "same first name and address",
        _given(first_name=_SAME_NAME, address="same"),
        ("surname", "birth_date", "email", "phone", *_TRAITS),
    ),
    # Of a household only twins are here; names that are swapped or quite different are only here.
    Session(
        "same birth date and place",
        _given(birth_date="same", address="same close same_postal_code same_street"),
        ("first_name", "surname", "email", "phone", *_TRAITS),
    ),
)
# The same for records without a place: names that are swapped or quite different are only here.
PLACELESS_SESSIONS: Final = (
    Session(
        "same birth date and e-mail address",
        _given(birth_date="same", email="same"),
        ("first_name", "surname", "phone", "address", *_TRAITS),
    ),
    Session(
        "same birth date and telephone number",
        _given(birth_date="same", phone="same_mobile same"),
        ("first_name", "surname", "email", "address", *_TRAITS),
    ),
)
# A family shares addresses and numbers too: these teach a personal trait only where nothing else
# can.
REACH_SESSIONS: Final = (
    Session(
        "same e-mail address",
        _given(email="same"),
        ("first_name", "surname", "birth_date", "phone", "address", *_TRAITS),
    ),
    Session(
        "same mobile number",
        _given(phone="same_mobile"),
        ("first_name", "surname", "birth_date", "email", "address", *_TRAITS),
    ),
)
HOUSEHOLD_SESSIONS: Final = (
    Session("same address", _given(address="same"), ()),
    Session("same surname and postal code", _given(surname="same", address="same_postal_code"), ()),
    Session("same surname and city", _given(surname="same", address="same_city"), ()),
    Session("same e-mail address", _given(email="same"), ()),
)
CONTACT_SESSIONS: Final = (
    Session("same landline number", _given(phone="same"), ("address",)),
    Session("same e-mail address", _given(email="same"), ("address",)),
)
HOUSEHOLD_PAIRS: Final = 100


@dataclass(frozen=True)
class Fit:
    """A fitted model and what was seen while fitting.

    Attributes:
        model: The model; not yet a version.
        warnings: What could not be learned, in words.
        metrics: Counts and shares.
        unlearned: Of the warnings, those about what many of these records have, and enough pairs to
            learn from should have shown.
    """

    model: LinkageModel
    warnings: list[str]
    metrics: dict[str, Any]
    unlearned: list[str]


@dataclass(frozen=True)
class _Patterns:
    levels: Ints
    counts: Floats

    def where(self, given: Levels) -> "_Patterns":
        chosen = np.ones(len(self.counts), dtype=bool)
        for name, levels in given.items():
            numbers = [
                number for number, level in enumerate(_NAMES[name].levels) if level.name in levels
            ]
            chosen &= np.isin(self.levels[:, _INDEX[name]], numbers)
        return _Patterns(self.levels[chosen], self.counts[chosen])

    @property
    def pairs(self) -> float:
        return float(self.counts.sum())

    def comparable(self, name: str) -> float:
        """The share of pairs that have something to compare."""
        present = self.levels[:, _INDEX[name]] >= 0
        return float(self.counts[present].sum()) / max(self.pairs, 1.0)


@dataclass
class _Tables:
    """The three probabilities per comparison, as arrays in the order of its levels."""

    m: dict[str, Floats]
    u: dict[str, Floats]
    h: dict[str, Floats]


def fit_model(
    con: duckdb.DuckDBPyConnection, start: LinkageModel, records: int, seed: int = 1
) -> Fit:
    """Estimate all parameters from `people` and `candidate_pairs`.

    Args:
        con: The linkage's own database.
        start: The model to start from and to lean on.
        records: The number of records.
        seed: For the random pairs.
    """
    warnings: list[str] = []
    total_pairs = records * (records - 1) / 2
    share = _sample_pairs(con, records, seed)
    scorer = Scorer(con, start, records)
    scorer.score("fitted_pairs", "weighed_pairs")
    patterns = _count_patterns(con, 1 / share)
    scorer.score("random_pairs", "weighed_random")
    drawn = _count_patterns(con, 1.0, "weighed_random")
    tables = _tables(start)
    seen = _random_levels(con, drawn, tables, warnings)
    _set_u_of_identifiers(patterns, tables, total_pairs)
    matches_per_record = start.matches_per_record
    sessions: dict[str, float] = {}
    ratio = start.housemates_per_match
    left_out = _same_names(con) - patterns.where(PERSON_SESSIONS[0].given).pairs
    # What is learned of housemates changes what counts as the same person, which changes what is
    # left for strangers, and the other way round.
    for _ in range(ROUNDS):
        _take_off_matches(seen, tables, matches_per_record / max(records - 1, 1))
        _set_u_of_mail_names(patterns, tables)
        namesakes = total_pairs * _share_of(tables.u, PERSON_SESSIONS[0].given) - left_out
        learned = _learn_m(patterns, tables, start, sessions, namesakes)
        ratio = _learn_h(patterns, tables, start, sessions)
        matches_per_record = _expected_matches(patterns, tables, ratio, matches_per_record, records)
    unlearned: list[str] = []
    most_learned = max(pairs.sum() for pairs in learned.values())
    is_enough = most_learned >= ENOUGH_PAIRS
    if most_learned < FEW_PAIRS:
        # Records of one kind of evidence alone (addresses, numbers) teach nothing of each other:
        # all that agree would count as accidents and housemates, and nobody as one person.
        tables, ratio = _tables(start), start.housemates_per_match
        matches_per_record = start.matches_per_record
    for name, pairs in learned.items():
        if name not in seen:
            continue
        for level, count in zip(_NAMES[name].levels, pairs, strict=True):
            if pairs.sum() >= FEW_PAIRS and count < 1 and level.name in {SAME, ELSE}:
                warnings.append(
                    f"no match was seen at {name}.{level.name}: it keeps its former weight"
                )
        if pairs.sum() < FEW_PAIRS:
            warnings.append(
                f"{name} could not be learned ({pairs.sum():.0f} matching pairs): "
                "it keeps its former weights"
            )
            if is_enough and drawn.comparable(name) > OFTEN_COMPARABLE:
                unlearned.append(warnings[-1])
    model = replace(
        start,
        parameters=_parameters(tables),
        matches_per_record=matches_per_record,
        housemates_per_match=ratio,
        namesakes=NAMESAKES,
        is_generic=False,
        metrics={},
    )
    if model.matches_per_record <= 0.02:
        warnings.append("hardly any record has a match: the model may not fit these records")
    metrics = {
        "records": records,
        "candidate_pairs": int(patterns.pairs),
        "matches_per_record": round(model.matches_per_record, 4),
        "housemates_per_match": round(ratio, 4),
        "sessions": {name: int(pairs) for name, pairs in sessions.items()},
        "warnings": warnings,
    }
    return Fit(replace(model, metrics=metrics), warnings, metrics, unlearned)


def _sample_pairs(con: duckdb.DuckDBPyConnection, records: int, seed: int) -> float:
    """Make `fitted_pairs` of the candidates and `random_pairs`; the share of candidates taken."""
    row = con.execute("select count(*) from candidate_pairs").fetchone()
    candidates = int(row[0]) if row else 0
    share = min(1.0, PAIRS_TO_FIT / max(candidates, 1))
    con.execute(f"""
        create or replace table fitted_pairs as
        from candidate_pairs
        where hash(id_l, id_r, {seed}) % 1000000 < {share * 1e6}
    """)
    wanted = min(PAIRS_FOR_U, records * (records - 1) // 2)
    con.execute(f"""
        create or replace table random_pairs as
        with drawn as (
            select
                (hash(n, {seed}, 'l') % {max(records, 1)})::bigint as one,
                (hash(n, {seed}, 'r') % {max(records, 1)})::bigint as other
            from range({wanted}) as numbers (n)
        )
        select least(one, other) as id_l, greatest(one, other) as id_r, 0 as rule
        from drawn where one <> other
    """)
    return share


def _count_patterns(
    con: duckdb.DuckDBPyConnection, weight: float, pairs: str = "weighed_pairs"
) -> _Patterns:
    columns = [f"level_{comparison.name}" for comparison in COMPARISONS]
    table = con.execute(
        f"select {', '.join(columns)}, count(*) * {weight!r} as pairs from {pairs} "
        f"group by all order by {', '.join(columns)}"
    ).fetchnumpy()
    levels = np.column_stack([np.asarray(table[name], dtype=np.int64) for name in columns])
    return _Patterns(levels, np.asarray(table["pairs"], dtype=np.float64))


def _tables(model: LinkageModel) -> _Tables:
    def column(which: str) -> dict[str, Floats]:
        return {
            comparison.name: np.array(
                [
                    getattr(model.parameters[comparison.name][level.name], which)
                    for level in comparison.levels
                ]
            )
            for comparison in COMPARISONS
        }

    return _Tables(column("m"), column("u"), column("h"))


def _random_levels(
    con: duckdb.DuckDBPyConnection, drawn: _Patterns, tables: _Tables, warnings: list[str]
) -> dict[str, Floats]:
    """How often two records drawn at random show each level; matches among them included."""
    seen = {}
    for comparison in COMPARISONS:
        start = tables.u[comparison.name]
        counts = _level_counts(drawn, comparison.name, drawn.counts, len(start))
        if counts.sum() < FEW_PAIRS:
            warnings.append(f"{comparison.name} is never comparable: it keeps its former weights")
            continue
        mixed = counts + LEAN_U * start
        # What was never seen is not rarer than one pair more would have made it.
        least = np.minimum(start, 0.5 / counts.sum())
        seen[comparison.name] = np.maximum(mixed / mixed.sum(), least)
    # A sample of all pairs hardly holds two records of one surname: these levels are counted.
    for name, level_name, column, present in COUNTED_LEVELS:
        if name not in seen:
            continue
        row = con.execute(f"""
            with counted as (
                select count(*) as n from people where {column} is not null group by {column}
            )
            select
                (select sum(n * (n - 1.0)) from counted),
                (select count({present}) * (count({present}) - 1.0) from people)
        """).fetchone()
        same, pairs = (float(value or 0) for value in row or (0, 0))
        if pairs > 0:
            number = _number(_NAMES[name], level_name)
            rest = 1 - seen[name][number]
            seen[name] *= (1 - same / pairs) / max(rest, 1e-9)
            seen[name][number] = max(same, 0.5) / pairs
    return seen


def _take_off_matches(seen: Mapping[str, Floats], tables: _Tables, prior: float) -> None:
    """Strangers are what is left of random pairs without those of one person.

    In small data nearly all that agrees by accident on a birth date is one person. As the share of
    matches is an estimate, a part of what was seen is left in any case.
    """
    for name, shares in seen.items():
        left = np.maximum(shares - prior * tables.m[name], LEFT_OF_RANDOM * shares)
        tables.u[name] = left / left.sum()


def _set_u_of_identifiers(patterns: _Patterns, tables: _Tables, total_pairs: float) -> None:
    """What strangers share by accident, from exact counts.

    Of the pairs that agree on an e-mail address, a number or an address, nearly all are one person
    or one household; a sample of all pairs would take them for accidents. Only those that agree on
    nothing else are.
    """
    strangers = patterns.where(
        _given(first_name="else other_initial other_same_initial", surname="else")
    )
    for name, level_names in (
        ("email", ("same", "same_name", "one_character")),
        ("phone", ("same_mobile", "same")),
        ("address", ("same",)),
    ):
        share = tables.u[name]
        for level_name in level_names:
            number = _number(_NAMES[name], level_name)
            seen = float(strangers.counts[strangers.levels[:, _INDEX[name]] == number].sum())
            accidental = max(seen, 1.0) / max(total_pairs, 1.0)
            share[number] = min(max(accidental, 1e-9), max(share[number], 1e-9))
        share[-1] = max(1 - share[:-1].sum(), LEAST)


def _set_u_of_mail_names(patterns: _Patterns, tables: _Tables) -> None:
    """How often namesakes have alike e-mail addresses.

    An address is often made of a name. Counted among all strangers, alike addresses look like
    proof; among people of one name, where it matters, they are common.
    """
    session = PERSON_SESSIONS[0]
    chosen = patterns.where(session.given)
    names = [comparison.name for comparison in COMPARISONS if comparison.name not in session.given]
    shares = np.array([0.5, 0.5])
    email = tables.u["email"].copy()
    same = _likelihood(chosen, names, tables.m)
    for _ in range(30):
        joint = np.stack([same, _likelihood(chosen, names, {**tables.u, "email": email})])
        joint *= shares[:, None]
        weighted = joint / np.maximum(joint.sum(axis=0), 1e-300) * chosen.counts
        shares = np.maximum(weighted.sum(axis=1) / max(chosen.pairs, 1), 1e-6)
        mixed = _level_counts(chosen, "email", weighted[1], len(email)) + LEAN_U * tables.u["email"]
        email = np.maximum(mixed / mixed.sum(), 1e-9)
    for level_name in ("same_name", "one_character", "close"):
        number = _number(_NAMES["email"], level_name)
        tables.u["email"][number] = max(tables.u["email"][number], float(email[number]))
    tables.u["email"][-1] = max(1 - tables.u["email"][:-1].sum(), LEAST)


def _same_names(con: duckdb.DuckDBPyConnection) -> float:
    """How many pairs have one name, those that no rule brought together included."""
    row = con.execute("""
        select coalesce(sum(n * (n - 1.0) / 2), 0) from (
            select count(*) as n from people
            where name_root is not null and surname is not null group by name_root, surname
        )
    """).fetchone()
    return float(row[0]) if row else 0.0


def _share_of(table: Mapping[str, Floats], given: Levels) -> float:
    """How often a kind of pairs agrees on what is given, if its comparisons are independent."""
    share = 1.0
    for name, levels in given.items():
        numbers = [n for n, level in enumerate(_NAMES[name].levels) if level.name in levels]
        share *= float(table[name][numbers].sum())
    return share


def _learn_m(
    patterns: _Patterns,
    tables: _Tables,
    start: LinkageModel,
    sessions: dict[str, float],
    namesakes: float,
) -> dict[str, Floats]:
    """Learn what one person's records show; returns the matching pairs each level was seen in."""
    seen = {name: np.zeros(len(values)) for name, values in tables.m.items()}
    for session in (*PERSON_SESSIONS, *PLACELESS_SESSIONS, *REACH_SESSIONS):
        chosen = patterns.where(session.given)
        sessions[session.name] = chosen.pairs
        if chosen.pairs < FEW_PAIRS:
            continue
        taught = [
            name
            for name in session.teaches
            if session not in REACH_SESSIONS or seen[name].sum() < ENOUGH_PAIRS
        ]
        strangers = namesakes if session is PERSON_SESSIONS[0] else 0.0
        expected = _expect_matches(chosen, tables, session, taught, start, strangers)
        trust = 1.0 if session in PERSON_SESSIONS else TRUST_IN_REACH
        for name in taught:
            seen[name] += trust * expected[name]
    base = _tables(start).m
    for name, counts in seen.items():
        mixed = counts + LEAN_M * base[name]
        tables.m[name] = np.maximum(mixed / mixed.sum(), LEAST)
    return seen


def _expected_matches(
    patterns: _Patterns, tables: _Tables, ratio: float, matches: float, records: int
) -> float:
    """Other records of the same person that a record has: the fixed point of those expected."""
    names = [comparison.name for comparison in COMPARISONS]
    same = np.maximum(_likelihood(patterns, names, tables.m), 1e-300)
    strangers = _likelihood(patterns, names, tables.u) / same
    housemates = _likelihood(patterns, names, tables.h) / same * ratio
    for _ in range(20):
        prior = min(0.5, matches / max(records, 2))
        expected = 1 / (1 + strangers * (1 - prior) / prior + housemates)
        updated = 2 * float((expected * patterns.counts).sum()) / max(records, 1)
        updated = min(max(updated, 0.01), 30.0)
        if abs(updated - matches) < 1e-3 * matches:
            return updated
        matches = updated
    return matches


def _expect_matches(
    chosen: _Patterns,
    tables: _Tables,
    session: Session,
    taught: Sequence[str],
    start: LinkageModel,
    known_strangers: float,
) -> dict[str, Floats]:
    """Expectation maximisation over three kinds of pairs; only `m` of what is taught is free.

    One comparison alone cannot tell three kinds apart: of names and e-mail addresses, all other
    addresses were namesakes', and who has two was nobody. What is known of the kinds' numbers does:
    as many pairs share a name by chance as names make them.
    """
    names = [comparison.name for comparison in COMPARISONS if comparison.name not in session.given]
    base = _tables(start).m
    m = {name: tables.m[name].copy() for name in names}
    shares = np.array([0.6, 0.2, 0.2])
    strangers = _likelihood(chosen, names, tables.u)
    housemates = _likelihood(chosen, names, tables.h)
    by_chance, related = 0.0, 1.0
    if sum(chosen.comparable(name) > OFTEN_COMPARABLE for name in names) == 1:
        by_chance = min(max(known_strangers / chosen.pairs, 0.0), MOST_NAMESAKES)
        related = RELATED_NAMESAKES if "first_name" in session.given else 1.0
    expected: dict[str, Floats] = {}
    for _ in range(40):
        joint = np.stack([_likelihood(chosen, names, m), strangers, housemates]) * shares[:, None]
        posterior = joint / np.maximum(joint.sum(axis=0), 1e-300)
        weighted = posterior * chosen.counts
        before = shares
        shares = np.maximum(weighted.sum(axis=1) / chosen.pairs, 1e-6)
        shares[2] = min(shares[2], related)
        shares[1] = by_chance or shares[1]
        shares /= shares.sum()
        for name in taught:
            expected[name] = _level_counts(chosen, name, weighted[0], len(m[name]))
            mixed = expected[name] + LEAN_M * base[name]
            m[name] = np.maximum(mixed / mixed.sum(), LEAST)
        if np.abs(shares - before).max() < 1e-5:
            break
    return expected


def _learn_h(
    patterns: _Patterns, tables: _Tables, start: LinkageModel, sessions: dict[str, float]
) -> float:
    """Learn what housemates show; returns how many of their pairs there are per match."""
    base = _tables(start)
    ratio = start.housemates_per_match
    _set_h_of_traits(tables)
    for session in HOUSEHOLD_SESSIONS:
        chosen = patterns.where(session.given)
        sessions[f"household: {session.name}"] = chosen.pairs
        if chosen.pairs < HOUSEHOLD_PAIRS:
            continue
        names = [
            comparison.name for comparison in COMPARISONS if comparison.name not in session.given
        ]
        shared = [name for name in names if name not in _PERSONAL]
        h = {name: tables.h[name].copy() for name in names}
        shares = np.array([0.4, 0.05, 0.55])
        same = _likelihood(chosen, names, tables.m)
        strangers = _likelihood(chosen, names, tables.u)
        weighted = np.zeros((3, len(chosen.counts)))
        for _ in range(60):
            joint = np.stack([same, strangers, _likelihood(chosen, names, h)]) * shares[:, None]
            weighted = joint / np.maximum(joint.sum(axis=0), 1e-300) * chosen.counts
            before = shares
            shares = np.maximum(weighted.sum(axis=1) / chosen.pairs, 1e-6)
            shares /= shares.sum()
            for name in shared:
                mixed = (
                    _level_counts(chosen, name, weighted[2], len(h[name])) + LEAN_H * base.h[name]
                )
                h[name] = np.maximum(mixed / mixed.sum(), LEAST)
            if np.abs(shares - before).max() < 1e-5:
                break
        tables.h.update(h)
        reach_same, reach_house = 1.0, 1.0
        for name, levels in session.given.items():
            numbers = [n for n, level in enumerate(_NAMES[name].levels) if level.name in levels]
            if session is not HOUSEHOLD_SESSIONS[0]:
                # Without full addresses, relatives are those who agree on this as often as one
                # person does.
                tables.h[name][numbers] = tables.m[name][numbers]
            reach_same *= float(tables.m[name][numbers].sum())
            reach_house *= float(tables.h[name][numbers].sum())
        matches = weighted[0].sum() / reach_same + 50
        housemates = weighted[2].sum() / reach_house + 50 * start.housemates_per_match
        ratio = float(np.clip(housemates / matches, 0.02, 50))
        break
    seen = np.zeros(len(tables.h["address"]))
    for session in CONTACT_SESSIONS:
        chosen = patterns.where(session.given)
        if chosen.pairs < FEW_PAIRS:
            continue
        names = [n for n in _NAMES if n not in session.given and n != "address"]
        same = _likelihood(chosen, names, tables.m)
        house = _likelihood(chosen, names, tables.h) * ratio
        weight = house / np.maximum(house + same, 1e-300) * chosen.counts
        seen += _level_counts(chosen, "address", weight, len(seen))
    mixed = seen + LEAN_H * base.h["address"]
    tables.h["address"] = np.maximum(mixed / mixed.sum(), LEAST)
    return ratio


def _set_h_of_traits(tables: _Tables) -> None:
    """Housemates are different people: their names and birth dates are strangers' own.

    But for twins and namesakes. Not learned: on noisy data without households this kind of pair
    would take in what one person's records got wrong, and the noise would then count as
    contradiction.
    """
    for name in _PERSONAL:
        share = tables.u[name] / tables.u[name].sum()
        extra = _EXTRA.get(name, 0.0)
        tables.h[name] = np.maximum(share * (1 - extra), LEAST)
        tables.h[name][0] += extra


def _likelihood(chosen: _Patterns, names: Sequence[str], table: Mapping[str, Floats]) -> Floats:
    result = np.ones(len(chosen.counts))
    for name in names:
        # The last entry, reached by -1, stands for "nothing to compare".
        values = np.append(table[name], 1.0)
        result *= values[chosen.levels[:, _INDEX[name]]]
    return result


def _level_counts(chosen: _Patterns, name: str, weights: Floats, count: int) -> Floats:
    levels = chosen.levels[:, _INDEX[name]]
    present = levels >= 0
    counts = np.bincount(levels[present], weights=weights[present], minlength=count)
    return counts.astype(np.float64)


def _number(comparison: Comparison, level_name: str) -> int:
    return next(n for n, level in enumerate(comparison.levels) if level.name == level_name)


def _parameters(tables: _Tables) -> dict[str, dict[str, Odds]]:
    """As the model wants them, each level with a weight of its own (see `Scorer`)."""
    parameters: dict[str, dict[str, Odds]] = {}
    for comparison in COMPARISONS:
        taken: list[float] = [0.0]
        levels: dict[str, Odds] = {}
        for number, level in enumerate(comparison.levels):
            m, u, h = (
                float(np.clip(table[comparison.name][number], 1e-9, 1))
                for table in (tables.m, tables.u, tables.h)
            )
            while any(abs(np.log2(m / u) - other) < 1e-4 for other in taken):
                m *= 0.9995
            m = float(f"{m:.6g}")
            u = float(f"{u:.6g}")
            taken.append(float(np.log2(m / u)))
            levels[level.name] = Odds(m, u, float(f"{h:.6g}"))
        parameters[comparison.name] = levels
    return parameters

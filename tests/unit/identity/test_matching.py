"""What is compared: suppression, blocking under a budget, levels, and what they are worth."""

import itertools
import random
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import blocking, model, preparation
from klantbeeld.identity.fitting import fit_model
from klantbeeld.identity.linking import link_people
from klantbeeld.identity.outcome import make_pairs
from klantbeeld.identity.report import linkage_warnings
from klantbeeld.identity.suppression import suppress_values

SCHEMA = pa.schema(
    [(name, pa.date32() if name == "birth_date" else pa.string()) for name in preparation.COLUMNS]
)
JAN: dict[str, Any] = {
    "first_name_std": "jan",
    "last_name_std": "bakker",
    "birth_date": date(1980, 2, 11),
    "email_std": "jan@post.example",
    "postal_code_std": "1234AB",
    "house_number_std": "5",
    "city_std": "ergens",
}


def _people(rows: list[dict[str, Any]]) -> tuple[duckdb.DuckDBPyConnection, int]:
    con = preparation.connect(1, "1GB")
    filled = [
        {name: row.get(name) for name in preparation.COLUMNS}
        | {"record_id": row.get("record_id", f"crm:contact:{number:04d}"), "source": "crm"}
        for number, row in enumerate(rows)
    ]
    return con, preparation.make_people(con, pa.Table.from_pylist(filled, schema=SCHEMA))


def _crowd(count: int) -> list[dict[str, Any]]:
    """People who have nothing in common."""
    return [
        {
            "first_name_std": f"voor{chr(97 + number % 26)}{number}",
            "last_name_std": f"achter{number}",
            "birth_date": date(1950 + number % 50, 1 + number % 12, 1 + number % 27),
            "email_std": f"persoon{number}@post.example",
            "mobile_phone_std": f"+316{20_000_000 + number}",
            "postal_code_std": f"{1000 + number}AB",
            "house_number_std": str(number % 90 + 1),
            "city_std": f"plaats{number % 40}",
        }
        for number in range(count)
    ]


def _same_profile(*rows: dict[str, Any]) -> bool:
    """Whether the rows are one person, amid a crowd."""
    con, count = _people([*rows, *_crowd(300)])
    suppress_values(con, b"k" * 32)
    labels = link_people(con, model.default_model(), count, 0.5).clusters.labels
    return len(set(labels[: len(rows)])) == 1


def test_a_contact_point_of_many_families_identifies_nobody() -> None:
    rows = _crowd(40)
    for row in rows[20:29]:
        row["email_std"] = "info@winkel.example"
    for number, row in enumerate(rows[:12]):
        row["last_name_std"] = f"familie{number % 4}"
        row["phone_std"] = "+31101234567"
    con, _ = _people(rows)
    found = suppress_values(con, b"k" * 32)
    assert found == {"email": 1}
    left = con.execute(
        "select count(email), count(email_name), count(landline) from people"
    ).fetchone()
    assert left == (31, 31, 12)
    listed = con.execute(
        "select kind, value_digest, records, reason from suppressed_values"
    ).fetchall()
    (kind, digest, records, reason) = listed[0]
    assert (kind, records, reason) == ("email", 9, "shared")
    assert "winkel" not in digest
    con, _ = _people(rows)
    assert suppress_values(con, b"k" * 32, kept=[digest]) == {}


def test_a_default_date_is_found_and_a_birthday_is_not() -> None:
    rows = _crowd(400)
    for row in rows[:60]:
        row["birth_date"] = date(1970, 1, 1)
    con, _ = _people(rows)
    assert suppress_values(con, b"k" * 32) == {"birth_date": 1}
    assert con.execute("select count(birth_text) from people").fetchone() == (340,)


def test_a_rule_over_its_budget_loses_its_largest_blocks_first() -> None:
    rows = _crowd(30_000)
    for row in rows[:400]:
        row["email_std"] = "drukke.brievenbus@post.example"
    rows[500]["email_std"] = rows[501]["email_std"]
    con, count = _people(rows)
    costs = {cost.rule: cost for cost in blocking.make_candidate_pairs(con, count, 0.0)}
    assert costs["SAME_EMAIL"].left_out_blocks == 1
    assert costs["SAME_EMAIL"].pairs == 1


def test_all_rules_together_keep_to_the_total_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "PAIRS_AT_LEAST", 0)
    rows = _crowd(400)
    for number in range(0, 400, 2):
        rows[number]["email_std"] = rows[number + 1]["email_std"]
    for number in range(1, 399, 2):
        rows[number]["mobile_phone_std"] = rows[number + 1]["mobile_phone_std"]
    con, count = _people(rows)
    named = [
        {cost.rule: cost.pairs for cost in blocking.make_candidate_pairs(con, count, share)}
        for share in (10.0, 0.75)
    ]
    assert [pairs["SAME_EMAIL"] for pairs in named] == [200, 200]
    # All of its blocks are of one size, and together they are more than what is left.
    assert [pairs["SAME_MOBILE"] for pairs in named] == [199, 0]
    assert sum(named[1].values()) <= 0.75 * count


def test_pairs_are_weighed_once() -> None:
    con, count = _people([JAN, JAN, JAN])
    blocking.make_candidate_pairs(con, count)
    row = con.execute(
        "select count(*), count(distinct (id_l, id_r)) from candidate_pairs"
    ).fetchone()
    assert row == (3, 3)


def test_a_record_id_twice_is_refused() -> None:
    with pytest.raises(KlantbeeldError, match="record id"):
        _people([{"record_id": "crm:contact:1"}, {"record_id": "crm:contact:1"}])


def test_one_person_in_several_guises() -> None:
    assert _same_profile(JAN, JAN)
    assert _same_profile(JAN, JAN | {"first_name_std": "johannes"})
    assert _same_profile(JAN, JAN | {"last_name_std": "bakkker", "email_std": None})
    assert _same_profile(JAN, JAN | {"birth_date": date(1980, 11, 2), "email_std": None})
    assert _same_profile(JAN, JAN | {"first_name_std": None, "initials_std": "j"})
    moved = {"postal_code_std": "9999XY", "house_number_std": "77", "city_std": "elders"}
    assert _same_profile(JAN, JAN | moved)
    assert _same_profile(
        JAN | {"last_name_std": "visser", "maiden_name_std": "bakker", "email_std": None}, JAN
    )


def test_a_name_in_the_wrong_place_is_seen_through() -> None:
    alone = {"email_std": None, "birth_date": None}
    rare = JAN | {"last_name_std": "kwakernaat"}
    assert _same_profile(
        rare, rare | alone | {"first_name_std": "kwakernaat", "last_name_std": None}
    )
    swapped = {"first_name_std": "kwakernat", "last_name_std": "jan", "birth_date": None}
    assert _same_profile(rare, rare | swapped | {"email_std": None})
    # A form of address is no first name that contradicts, and no initial.
    assert _same_profile(rare, rare | {"first_name_std": "mevrouw", "initials_std": "m"})
    # Nor is it the name where nothing else stands in its columns.
    titles = {
        "first_name_std": "sir",
        "last_name_std": "baronet",
        "full_name_std": "sir jan baronet",
    }
    assert not _same_profile(
        rare | alone | titles,
        rare | alone | titles | {"full_name_std": "sir piet baronet", "city_std": "elders"},
    )


def test_swapped_names_are_learned_without_addresses() -> None:
    """Half of the pairs have first name and surname the other way round."""
    rng = random.Random(6)
    names = ["".join(rng.choices("aeioubdklmnrst", k=4)) for _ in range(60)]
    rows: list[dict[str, Any]] = []
    for number in range(300):
        first, last = rng.sample(names, 2)
        born = date(rng.randint(1940, 2005), rng.randint(1, 12), rng.randint(1, 28))
        mail = f"{rng.getrandbits(40):x}@post.example"
        for one, other in ((first, last), (first, last) if number % 2 else (last, first)):
            rows.append({
                "first_name_std": one, "last_name_std": other, "birth_date": born,
                "email_std": mail if rng.random() < 0.8 else None,
            })  # fmt: skip
    con, count = _people(rows)
    blocking.make_candidate_pairs(con, count)
    fitted = fit_model(con, model.default_model(), count).model.parameters
    assert 0.2 < fitted["surname"]["reversed"].m < 0.6


def test_a_second_mailbox_is_learned_from_names_and_mailboxes_alone() -> None:
    """Four of ten people have two, and a third of the pairs of one name are namesakes."""
    rng = random.Random(7)
    firsts, lasts = (["".join(rng.choices("aeioubdklm", k=6)) for _ in range(30)] for _ in "fl")
    rows: list[dict[str, Any]] = []
    for number in range(500):
        name = {"first_name_std": rng.choice(firsts), "last_name_std": rng.choice(lasts)}
        mails = [f"{rng.getrandbits(40):x}@post.example" for _ in "ab"]
        rows += [name | {"email_std": mails[turn and number % 10 < 4]} for turn in (0, 1)]
    con, count = _people(rows)
    blocking.make_candidate_pairs(con, count)
    fitted = fit_model(con, model.default_model(), count).model.parameters
    assert 0.2 < fitted["email"]["else"].m < 0.5


def test_a_coarse_postal_code_is_no_street() -> None:
    berlin = {"postal_code_std": "10115", "house_number_std": "12", "street_std": "kirchstraat"}
    con, _ = _people([berlin, berlin | {"street_std": "amhof"}, berlin | {"street_std": None}, JAN])
    keys = con.execute("select address_key from people order by id").fetchall()
    assert len(set(keys)) == 4
    assert keys[3] == ("1234AB|5|",)


def test_the_first_of_january_is_a_year_alone() -> None:
    rows = _crowd(400)
    for number, row in enumerate(rows[:60]):
        row["birth_date"] = date(1940 + number % 30, 1, 1)
    con, _ = _people(rows)
    assert suppress_values(con, b"k" * 32) == {"birthday": 1}
    years = con.execute("select birth_text from people order by id limit 1").fetchone()
    assert years == ("1940-xx-40",)


def test_housemates_stay_apart() -> None:
    twin = JAN | {"first_name_std": "wouter", "email_std": None}
    assert not _same_profile(JAN | {"email_std": None}, twin)
    spouse = JAN | {"first_name_std": "els", "birth_date": date(1982, 7, 30)}
    assert not _same_profile(JAN, spouse)
    junior = JAN | {"birth_date": date(2010, 8, 24), "email_std": None}
    assert not _same_profile(JAN | {"email_std": None}, junior)


def test_a_loyalty_number_joins_what_nothing_else_does() -> None:
    card = {"deterministic_key": "loyalty:1"}
    stranger = _crowd(1)[0]
    assert not _same_profile(JAN, stranger)
    assert _same_profile(JAN | card, stranger | card)
    named = {"linked_record_id": "crm:contact:0000"}
    assert _same_profile(JAN, stranger | named)


def test_a_card_that_a_household_shares_is_reported() -> None:
    rows = _crowd(120)
    for number, row in enumerate(rows[:60]):
        row |= {
            "deterministic_key": f"loyalty:{number // 2}",
            "first_name_std": ("abel", "zoe")[number % 2],
        }
    con, count = _people(rows)
    start = model.default_model()
    linkage = link_people(con, start, count, 0.7)
    make_pairs(con, linkage.clusters.labels, 0.7)
    warning = linkage_warnings(con, start, linkage, count, 2)[-1]
    assert warning.startswith("loyalty joins records of other first names in")


def test_poor_input_gives_people_of_their_own() -> None:
    for rows in ([], [JAN], [{}, {}], [{"first_name_std": "jan"}] * 3):
        con, count = _people(rows)
        labels = link_people(con, model.default_model(), count, 0.5).clusters.labels
        assert len(set(labels)) == count


def test_a_model_of_other_comparisons_is_refused() -> None:
    content = model.default_model().to_json()
    assert model.parse_model(content, "it").parameters == model.default_model().parameters
    with pytest.raises(KlantbeeldError, match="not a linkage model"):
        model.parse_model(content.replace('"initial"', '"initials"'), "it")
    with pytest.raises(KlantbeeldError, match="not a linkage model"):
        model.parse_model("{", "it")


def test_every_level_has_a_weight_of_its_own() -> None:
    for comparison in model.COMPARISONS:
        weights = [
            model.level_weight(odds)
            for odds in model.default_model().parameters[comparison.name].values()
        ]
        ordered = sorted([0.0, *weights])
        assert min(b - a for a, b in itertools.pairwise(ordered)) > 1e-5


def test_what_does_not_fit_in_memory_is_spilled_where_it_belongs_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    con = preparation.connect(1, "32MB")
    con.execute("create table numbers as select md5(range::varchar) as n from range(1000000)")
    assert [path for path in temporary.rglob("*") if path.is_file()]
    con.close()
    del con
    assert list(here.iterdir()) == list(temporary.iterdir()) == []

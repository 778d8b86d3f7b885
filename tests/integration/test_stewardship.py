"""Decisions and open questions on a build: they bind, survive a rebuild, and are undone."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner, Result

from klantbeeld.cli import cli, main
from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.decisions import (
    DIFFERENT,
    PASS_THROUGH,
    SAME,
    active_decisions,
    decide,
    import_csv,
    revoke,
)
from klantbeeld.identity.review import read_queue
from klantbeeld.settings import load_settings
from tests.fixtures.linkage_build import Build, make_build

Partition = set[frozenset[str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("template")
    made = make_build(folder, 300, 17)
    made.link()
    made.publish("v1")
    made.con.close()
    made.control.close()
    return made


@pytest.fixture
def build(template: Build, tmp_path: Path) -> Iterator[Build]:
    """A build that was linked and published once."""
    shutil.copytree(template.settings.home.parent, tmp_path / "place")
    settings = load_settings(home=tmp_path / "place" / "home")
    con = duckdb.connect(str(tmp_path / "place" / "warehouse.duckdb"))
    made = replace(template, con=con, settings=settings, control=open_control(settings))
    yield made
    made.con.close()
    made.control.close()


def _members(build: Build) -> dict[str, list[str]]:
    """Records per profile id, most records first."""
    found: dict[str, list[str]] = defaultdict(list)
    for record, profile in sorted(build.profiles().items()):
        found[profile].append(record)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def _say(control: ControlPlane, verdict: str, *pairs: tuple[str, str | None]) -> str:
    return decide(control, verdict, pairs, by="ann", why="seen")[0]


def test_decisions_override_keys_and_chains(build: Build) -> None:
    card = "loyalty:shared"
    profiles = [records for records in _members(build).values() if len(records) >= 2]
    a, b = profiles[0], profiles[1]
    is_on_card = pc.is_in(build.records["record_id"], pa.array([*a[:2], *b[:2]]))
    keys = pc.if_else(is_on_card, card, build.records["deterministic_key"])
    at = build.records.column_names.index("deterministic_key")
    build.load(build.records.set_column(at, "deterministic_key", keys))
    build.link("one card")
    assert len({build.profiles()[record] for record in [*a[:2], *b[:2]]}) == 1

    # One of the four is another person: the three others stay with their own kind of evidence.
    _say(build.control, DIFFERENT, (a[0], b[0]))
    build.link("two people")
    now = build.profiles()
    assert now[a[0]] != now[b[0]]
    assert now[a[0]] == now[a[1]]
    assert now[b[0]] == now[b[1]]
    # Passed through, a record has no key, no link and no likeness, and nobody hangs on it.
    _say(build.control, PASS_THROUGH, (a[1], None))
    build.link("alone")
    now = build.profiles()
    assert list(now.values()).count(now[a[1]]) == 1
    assert now[a[0]] != now[b[0]]
    assert now[b[0]] == now[b[1]]


def test_what_contradicts_itself_binds_nobody_and_moves_nobody(
    build: Build, tmp_path: Path
) -> None:
    before = build.profiles()
    a, b, c = list(_members(build).values())[:3]
    path = tmp_path / "decisions.csv"
    path.write_text(
        "verdict,record_id_l,record_id_r\n"
        f"same,{a[0]},{b[0]}\nsame,{b[0]},{c[0]}\ndifferent,{a[0]},{c[0]}\n"
        f"different,{a[0]},{a[1]}\nsame,{a[0]},crm:contact:gone\n"
    )
    import_csv(build.control, path, by="ann", home_key=build.settings.home_key())
    report = build.link("contradicted")
    assert (report.contradictions, report.decisions_without_record) == (1, 1)
    assert report.held_records >= len(b) + len(c) + 1
    assert any("contradict" in warning for warning in report.warnings)
    assert any("not there" in warning for warning in report.warnings)
    after = build.profiles()
    # What is decided beside the contradiction binds; all others keep their profile.
    assert after[a[0]] != after[a[1]]
    changed = {record for record in before if after[record] != before[record]}
    assert changed in ({a[0]}, {a[1]}) or changed < set(a)
    names = active_decisions(build.control)["decision_id"].to_pylist()
    revoke(build.control, next(name for name in names if name.endswith(".3")), by="x", why="no")
    assert build.link("settled").contradictions == 0
    now = build.profiles()
    assert now[a[0]] == now[b[0]] == now[c[0]]


def test_a_large_cluster_changes_nothing_until_it_is_decided(build: Build) -> None:
    before = build.profiles()
    large = next(iter(_members(build).values()))
    twin = build.records.filter(pc.equal(build.records["record_id"], pa.scalar(large[0])))
    at = twin.column_names.index("record_id")
    newcomer = twin.set_column(at, "record_id", pa.array(["crm:person:new"]))
    build.load(pa.concat_tables([build.records, newcomer]))
    narrow = build.settings.identity.model_copy(update={"review_size": len(large)})
    build = replace(build, settings=build.settings.model_copy(update={"identity": narrow}))

    report = build.link("one too many")
    after = build.profiles()
    assert (report.large_clusters, report.moved_records) == (1, 0)
    assert report.held_records >= len(large) + 1
    assert after.pop("crm:person:new") not in before.values()
    assert after == before
    assert any("identity queue" in warning for warning in report.warnings)
    (question,) = read_queue(build.con, active_decisions(build.control), "large_cluster")
    assert question["record_ids"] == sorted([*large, "crm:person:new"])
    build.publish("v2")

    # Decided as a whole, there is nothing to ask any more.
    _say(build.control, SAME, *[("crm:person:new", record) for record in large])
    assert read_queue(build.con, active_decisions(build.control), "large_cluster") == []
    assert build.link("decided").large_clusters == 0
    assert build.profiles()["crm:person:new"] == before[large[0]]


def test_a_source_that_gives_its_records_other_keys_keeps_its_profiles(
    build: Build, tmp_path: Path
) -> None:
    before = build.profiles()
    old = pa.array([record for record in before if record.startswith("crm:")])
    given = build.records["record_id"]
    renamed = pc.if_else(
        pc.is_in(given, old), pc.replace_substring(given, "crm:person:", "crm:account:9"), given
    )
    at = build.records.column_names.index("record_id")
    moved = build.records.set_column(at, "record_id", renamed)
    new = dict(zip(given.to_pylist(), moved["record_id"].to_pylist(), strict=True))
    a, b = list(_members(build).values())[:2]
    decided = _say(build.control, SAME, (a[0], b[0]))

    path = tmp_path / "rekeyed.csv"
    lines = [f"{one},{other}\n" for one, other in new.items() if one != other]
    path.write_text("old_record_id,new_record_id\n" + "".join(lines))
    runner = CliRunner(env={"KLANTBEELD_HOME": str(build.settings.home)})
    done = runner.invoke(cli, ["identity", "rekey", str(path)])
    assert (done.exit_code, done.output.split()[0]) == (0, str(len(old)))
    build.load(moved)
    report = build.link("decided about old ids")
    assert (report.created_ids, report.known_records) == (0, len(before))
    assert (report.decisions, report.decisions_without_record) == (1, 0)
    assert build.profiles()[new[a[0]]] == build.profiles()[new[b[0]]]
    revoke(build.control, decided, by="ann", why="no")
    assert build.link("re-keyed").moved_records == 0
    after = build.profiles()
    assert {new[record]: profile for record, profile in before.items()} == after
    build.publish("v2")
    # Both at once are one person: the same record under two keys.
    both = pa.concat_tables([moved, build.records.filter(pc.equal(given, pa.scalar(str(old[0]))))])
    build.load(both)
    assert build.link("both keys").known_records == len(before)
    now = build.profiles()
    assert now[str(old[0])] == now[new[str(old[0])]]


@pytest.fixture
def steward(build: Build) -> Callable[..., Result]:
    runner = CliRunner(env={"KLANTBEELD_HOME": str(build.settings.home)})

    def call(*arguments: str) -> Result:
        return runner.invoke(cli, ["identity", *arguments])

    return call


def test_a_merge_and_a_split_bind_until_they_are_undone(
    build: Build, steward: Callable[..., Result]
) -> None:
    before = build.profiles()
    profiles = list(_members(build).items())
    one, records_one = profiles[0]
    # Of two profiles of one size, the older id would stay.
    smaller = [found for found in profiles if len(found[1]) < len(records_one)]
    (two, records_two), (three, records_three) = smaller[:2]
    going, staying = records_three[0], records_three[1:]
    merged = steward("merge", one, two, "--by", "ann", "--why", "one person")
    split = steward("split", three, going, "--by", "ann", "--why", "brothers")
    assert f"become one profile, {one}" in merged.output
    assert "remains with those that stay" in split.output
    report = build.link("decided")
    assert (report.decisions, report.contradictions) == (
        len(records_one) + len(records_two) - 1 + len(staying), 0,
    )  # fmt: skip
    assert report.moved_records == len(records_two) + 1
    after = build.profiles()
    assert {after[record] for record in [*records_one, *records_two]} == {one}
    assert {after[record] for record in staying} == {three}
    assert after[going] not in before.values()
    rest = set(before) - {*records_one, *records_two, going}
    assert all(after[record] == before[record] for record in rest)
    build.publish("v2")
    # An id that was merged still names its profile, and a decision is not undone in passing.
    refused = steward("split", two, records_two[0], "--why", "two after all")
    merge = merged.output.split(":")[0]
    assert isinstance(refused.exception, KlantbeeldError)
    assert merge in (refused.exception.hint or "")

    # They survive a warehouse that is built anew.
    build.con.execute("drop schema identity cascade")
    assert build.link("rebuilt").moved_records == 0
    assert build.profiles() == after

    # Undone, ids and records are what they were; the id of the split is retired.
    undone = steward(
        "undo", merge, split.output.split(":")[0], "--by", "bob", "--why", "two after all"
    )
    assert two in undone.output
    assert build.link("undone").decisions == 0
    assert build.profiles() == before
    resolved = dict(
        build.con.execute(
            "select profile_id, current_profile_id from identity.current_profile_ids"
        ).fetchall()
    )
    assert (resolved[two], resolved[after[going]]) == (two, three)


def test_the_commands_refuse_what_cannot_be_meant(
    build: Build,
    steward: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(build.settings.home))
    (one, records_one), (two, records_two), *_ = _members(build).items()
    assert steward("split", one, records_one[0], "--why", "brothers").exit_code == 0
    for wrong, problem in (
        (("split", one, records_two[0], "--why", "x"), "not in"),
        (("split", one, *records_one, "--why", "x"), "must stay"),
        (("split", records_one[0], "--why", "x"), "two different records"),
        (("merge", *records_one, "--why", "x"), "contradicts"),
        (("merge", "P0000000000000", records_two[0], "--why", "x"), "neither a profile id"),
        (("pass-through", two, "--why", "x"), "is a profile"),
        (("undo", "D0", "--why", "x"), "no decision"),
        (("queue",), "nothing is published"),
    ):
        failed = steward(*wrong)
        assert isinstance(failed.exception, KlantbeeldError), failed.output
        assert problem in str(failed.exception)
    for usage in (
        ("merge", one, two),  # no reason given
        ("merge", one, two, "--why", " "),
        ("pass-through", records_one[0], "--why", ""),
        ("rekey", str(tmp_path / "none.csv"), "--why", ""),
        ("merge", one, "--why", "x"),
        ("merge", one, one, "--why", "x"),
    ):
        assert steward(*usage).exit_code == 2, usage
    unknown = steward("pass-through", "crm:contact:later", "--by", "ann", "--why", "a test")
    assert "when they are there" in unknown.output
    assert steward("merge", records_one[1], records_two[0], "--why", "met").exit_code == 0
    # An id may be typed in small letters; an address never gets into what is kept.
    assert steward("split", two.lower(), records_two[0], "--why", "brothers").exit_code == 0
    mailed = steward(
        "merge", "newsletter:subscriber:Ann@Post.example", records_two[0], "--why", "x"
    )
    assert mailed.exit_code == 0
    assert "@" not in mailed.output
    assert "a slip?" in mailed.output

    listed = steward("decisions", "list", "--all", "--json")
    rows = [json.loads(line) for line in listed.output.splitlines()]
    assert {row["verdict"] for row in rows} == {"same", "different", "pass_through"}
    assert {row["decided_by"] for row in rows} > {"ann"}
    path = tmp_path / "decisions.csv"
    assert steward("decisions", "export", str(path)).exit_code == 0
    assert "0 decision(s) added" in steward("decisions", "import", str(path)).output
    contradiction = tmp_path / "more.csv"
    contradiction.write_text(
        f"verdict,record_id_l,record_id_r\nsame,{records_one[0]},{records_one[1]}\n"
    )
    for command in (("import", str(contradiction)), ("list",)):
        told = steward("decisions", *command)
        assert "contradiction:" in told.output
        with pytest.raises(SystemExit) as exit_code:
            main(["identity", "decisions", *command])
        assert exit_code.value.code == 3


def test_the_queue_holds_open_questions_only(build: Build) -> None:
    questions = read_queue(build.con, active_decisions(build.control))
    pairs = [row for row in questions if row["kind"] == "pair"]
    assert pairs
    assert [row["records"] for row in questions] == sorted(
        (row["records"] for row in questions), reverse=True
    )
    known = build.profiles()
    for row in pairs:
        assert [known[record] for record in row["record_ids"]] in (
            row["profile_ids"], row["profile_ids"][::-1], row["profile_ids"] * 2,
        )  # fmt: skip
    across = [row for row in pairs if len(row["profile_ids"]) == 2]
    left, right = across[0]["record_ids"]
    _say(build.control, DIFFERENT, (left, right))
    settled = read_queue(build.con, active_decisions(build.control))
    assert across[0] not in settled
    assert len(settled) == len(questions) - 1

"""Decisions: kept, revoked, carried as a file, and never resolved in silence."""

import re
import shutil
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.aliases import add_aliases, read_aliases, remove_aliases
from klantbeeld.identity.decisions import (
    DIFFERENT,
    PASS_THROUGH,
    SAME,
    Decision,
    as_table,
    decide,
    export_csv,
    import_csv,
    read_decisions,
    resolve,
    revoke,
)
from klantbeeld.records import keyed_hash
from klantbeeld.settings import load_settings

A, B, C, D = (f"crm:contact:{letter}" for letter in "abcd")
KEY = bytes(32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("template")
    open_control(load_settings(home=home)).close()
    return home


@pytest.fixture
def control(template: Path, tmp_path: Path) -> ControlPlane:
    shutil.copytree(template, tmp_path / "home")
    return open_control(load_settings(home=tmp_path / "home"))


def _decision(number: int, verdict: str, left: str, right: str | None) -> Decision:
    return Decision(f"d{number}", "d", verdict, left, right, "x", datetime.now(UTC))


names = st.sampled_from([f"s:e:{letter}" for letter in "abcdefg"])
pairs = st.tuples(names, names).filter(lambda pair: pair[0] != pair[1])
verdicts = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([SAME, SAME, DIFFERENT]), pairs),
        st.tuples(st.just(PASS_THROUGH), st.tuples(names, st.none())),
    ),
    max_size=12,
)


@given(said=verdicts)
@settings(max_examples=100, derandomize=True)
def test_decisions_are_summed_up_as_they_read(
    said: list[tuple[str, tuple[str, str | None]]],
) -> None:
    groups: list[set[str]] = [{f"s:e:{letter}"} for letter in "abcdefg"]

    def group_of(name: str) -> set[str]:
        return next(group for group in groups if name in group)

    for verdict, (left, right) in said:
        if verdict == SAME and right is not None and group_of(left) is not group_of(right):
            one, other = group_of(left), group_of(right)
            groups.remove(other)
            one |= other
    disputed = {
        name
        for verdict, (left, right) in said
        if (verdict == DIFFERENT and right in group_of(left))
        or (verdict == PASS_THROUGH and len(group_of(left)) > 1)
        for name in group_of(left)
    }
    found = resolve(as_table([_decision(n, v, *about) for n, (v, about) in enumerate(said)]))

    number = {name: place for place, name in enumerate(found.records)}
    assert {name for name in number if found.disputed[number[name]] >= 0} == disputed
    assert bool(found.contradictions) == bool(disputed)
    for one in number:
        for other in number:
            together = found.group[number[one]] == found.group[number[other]]
            assert together == (one == other or (other in group_of(one) and one not in disputed))
    if not disputed:
        apart = {
            frozenset((str(found.records[one]), str(found.records[other])))
            for one, other in zip(found.apart_l, found.apart_r, strict=True)
        }
        assert apart == {
            frozenset((min(group_of(left)), min(group_of(str(right)))))
            for verdict, (left, right) in said
            if verdict == DIFFERENT
        }
    alone = {name for v, (name, _) in said if v == PASS_THROUGH and name not in disputed}
    assert {name for name in number if found.alone[number[name]]} == alone
    # What is reported is contradictory in itself, and nothing in it is superfluous.
    for contradiction in found.contradictions:
        rows = [(n, *said[n]) for n in (int(name[1:]) for name in contradiction.decision_ids)]
        kept = [_decision(n, verdict, *about) for n, verdict, about in rows]
        assert resolve(as_table(kept)).contradictions
        for left_out in range(len(kept)):
            fewer = [one for place, one in enumerate(kept) if place != left_out]
            assert not resolve(as_table(fewer)).contradictions


def test_a_decision_that_contradicts_is_refused_and_names_what_to_undo(
    control: ControlPlane,
) -> None:
    first, _ = decide(control, SAME, [(A, B)], by="ann", why="same card")
    decide(control, SAME, [(C, B)], by="ann", why="same card")
    with pytest.raises(KlantbeeldError, match="contradicts") as caught:
        decide(control, DIFFERENT, [(A, C)], by="bob", why="met both")
    assert first in (caught.value.hint or "")
    # It names what can be looked up, and not the decision that was just refused.
    kept_ids = {one.decision_id for one in read_decisions(control)}
    assert set(re.findall(r"D[0-9a-f]{12}\.\d+", caught.value.message)) == kept_ids
    assert "this decision says that" in caught.value.message
    with pytest.raises(KlantbeeldError, match="contradicts"):
        decide(control, PASS_THROUGH, [(B, None)], by="bob", why="shared")
    with pytest.raises(KlantbeeldError, match="decided already"):
        decide(control, SAME, [(B, A)], by="bob", why="again")
    revoked = revoke(control, first, by="bob", why="met both")
    assert [one.about for one in revoked] == [(SAME, A, B)]
    decide(control, DIFFERENT, [(A, C)], by="bob", why="met both")
    with pytest.raises(KlantbeeldError, match="revoked already"):
        revoke(control, first, by="bob", why="again")
    with pytest.raises(KlantbeeldError, match="no decision"):
        revoke(control, "D000", by="bob", why="nothing")
    kept = read_decisions(control, with_revoked=True)
    assert {(one.decided_by, one.why) for one in kept} == {
        ("ann", "same card"),
        ("bob", "met both"),
    }
    assert [one.revoked_by for one in kept if one.revoked_at] == ["bob"]
    assert len(read_decisions(control)) == 2


def _import(control: ControlPlane, path: Path) -> tuple[int, int]:
    done = import_csv(control, path, by="me", home_key=KEY)
    return done.added, done.known


def test_decisions_survive_as_a_file(control: ControlPlane, tmp_path: Path) -> None:
    action, _ = decide(control, SAME, [(A, B), (A, C)], by="ann", why="one, and; the same")
    decide(control, PASS_THROUGH, [(D, None)], by="ann", why="shared desk")
    revoke(control, f"{action}.2", by="bob", why="no")
    text = StringIO(newline="")
    assert export_csv(control, text) == 3
    path = tmp_path / "decisions.csv"
    path.write_text(text.getvalue())
    assert _import(control, path) == (0, 3)
    other = open_control(load_settings(home=tmp_path / "other"))
    assert _import(other, path) == (3, 0)
    assert _import(other, path) == (0, 3)
    assert read_decisions(other, with_revoked=True) == read_decisions(control, with_revoked=True)


def test_a_file_of_another_tool_is_enough(control: ControlPlane, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        f"\ufeffverdict;record_id_l;record_id_r\nSame;{B};{A}\nsame;{B};{C}\ndifferent;{A};{C}\n"
    )
    assert _import(control, path) == (3, 0)
    assert _import(control, path) == (0, 3)
    assert {one.decided_by for one in read_decisions(control)} == {"me"}
    assert len(resolve(as_table(read_decisions(control))).contradictions) == 1


def test_an_address_in_a_file_is_kept_as_its_hash(control: ControlPlane, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"verdict,record_id_l,record_id_r\nsame,news:reader: Ann@Post.example,{A}\n")
    hashed = f"news:reader:{keyed_hash('ann@post.example', KEY)}"
    assert import_csv(control, path, by="me", home_key=KEY).records == {A, hashed}
    (kept,) = read_decisions(control)
    assert {kept.record_id_l, kept.record_id_r} == {A, hashed}
    path.write_text("old_record_id,new_record_id\nnews:reader:ann@post.example,news:reader:7\n")
    add_aliases(control, path, by="me", why=None, home_key=KEY)
    assert read_aliases(control).column("old_record_id").to_pylist() == [hashed]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("verdict,record_id_l,record_id_r\nsame,a:b:c,P4577JP3RYERJX\n", "not a record id"),
        ("record_id_l,record_id_r\na,b\n", "no column verdict"),
        ("verdict,record_id_l,record_id_r\nmaybe,a:b:c,d:e:f\n", "line 2: the verdict"),
        ("verdict,record_id_l,record_id_r\nsame,a:b:c,\n", "two record ids"),
        ("verdict,record_id_l,record_id_r\npass_through,a:b:c,d:e:f\n", "one record id"),
        ("verdict,record_id_l,record_id_r\nsame,a:b:c,a:b:c\n", "are the same"),
        ("verdict,record_id_l,record_id_r,decided_at\nsame,a:b:c,d:e:f,noon\n", "decided_at"),
        ("verdict,record_id_l,record_id_r,decided_at\nsame,a:b:c,d:e:f,2026-01-01\n", "time zone"),
        ('verdict,record_id_l\nsame,"a', "cannot be read"),
        ("", "no column"),
    ],
)  # fmt: skip
def test_an_unusable_file_changes_nothing(
    control: ControlPlane, tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(text)
    with pytest.raises(KlantbeeldError, match=problem):
        import_csv(control, path, by="me", home_key=KEY)
    assert read_decisions(control) == []
    with pytest.raises(KlantbeeldError, match="no file"):
        import_csv(control, tmp_path / "none.csv", by="me", home_key=KEY)


def test_rekeyed_records_are_followed_and_never_in_a_circle(
    control: ControlPlane, tmp_path: Path
) -> None:
    def rekey(*pairs: tuple[str, str]) -> Path:
        path = tmp_path / "rekey.csv"
        lines = "".join(f"{old},{new}\n" for old, new in pairs)
        path.write_text(f"old_record_id,new_record_id\n{lines}")
        return path

    assert add_aliases(control, rekey((A, B), (D, B)), by="me", why=None, home_key=KEY).changed == 2
    done = add_aliases(control, rekey((B, C), (A, B)), by="me", why="migrated", home_key=KEY)
    assert (done.changed, done.unchanged, done.unknown) == (1, 1, 2)
    followed = dict(zip(*(c.to_pylist() for c in read_aliases(control).columns), strict=True))
    assert followed == {A: C, B: C, D: C}
    for wrong, problem in (
        ([(C, A)], "circle"),
        ([(A, D)], "another new id"),
        ([(A, A)], "an old and another new"),
        ([("x:y:1", "x:y:2"), ("x:y:1", "x:y:3")], "two new ids"),
    ):
        with pytest.raises(KlantbeeldError, match=problem):
            add_aliases(control, rekey(*wrong), by="me", why=None, home_key=KEY)
    assert remove_aliases(control, rekey((B, C), (C, D)), home_key=KEY).changed == 1
    assert read_aliases(control).num_rows == 2

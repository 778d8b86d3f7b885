"""Explanations of a published version: what they say is what was done."""

import json
import math
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.populations import population
from klantbeeld import identity
from klantbeeld.cli import main
from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import preparation
from klantbeeld.identity.decisions import DIFFERENT, PASS_THROUGH, SAME, decide
from klantbeeld.identity.explain import Explainer, open_explainer
from klantbeeld.identity.explain.answers import OUTCOMES
from klantbeeld.identity.explain.page import pair_page, profile_page
from klantbeeld.records import keyed_hash
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Warehouse

AS_OF = datetime(2026, 3, 1, 22, 59, 59, tzinfo=UTC)
TWIN = {
    "last_name_std": "waterman",
    "birth_date": date(1988, 5, 17),
    "phone_std": "+31201234567",
    "street_std": "kadelaan",
    "house_number_std": "12",
    "postal_code_std": "1017AB",
    "city_std": "amsterdam",
}
SWAPPED = "<script>alert('x')</script>"
NOOR = {
    "first_name_std": "noor",
    "last_name_std": "zwanenburg",
    "birth_date": date(2001, 9, 9),
    "email_std": "noor@post.example",
}
FEM = {"first_name_std": "fem", "last_name_std": "toverland", "email_std": "fem@post.example"}
DESKS = {
    "aukje": "adema",
    "bert": "boer",
    "cor": "citroen",
    "dirk": "drost",
    "els": "elzinga",
    "fien": "fortuin",
    "gijs": "goud",
    "henk": "hazelaar",
    "ida": "ijsbrand",
}
CASES: dict[str, dict[str, Any]] = {
    "crm:contact:tim": TWIN | {"first_name_std": "tim", "email_std": "tim@post.example"},
    "shop:customer:tim": TWIN | {"first_name_std": "tim", "email_std": "tim@post.example"},
    "crm:contact:bas": TWIN | {"first_name_std": "bas", "gender": "male"},
    # What links the first to the last is only in the record between.
    "crm:contact:roos": {
        "first_name_std": "roosmarijn",
        "last_name_std": "zonderland",
        "birth_date": date(1990, 1, 30),
        "postal_code_std": "3511CD",
        "house_number_std": "7",
        "city_std": "utrecht",
    },
    "shop:customer:roos": {
        "first_name_std": "roosmarijn",
        "last_name_std": "zonderland",
        "birth_date": date(1990, 1, 30),
        "email_std": "roosmarijn.zet@post.example",
        "mobile_phone_std": "+31691234567",
    },
    "pos:member:roos": {
        "first_name_std": "roosmarijn",
        "email_std": "roosmarijn.zet@post.example",
        "mobile_phone_std": "+31691234567",
    },
    # Two groups of two, each held by a key, and one name between them.
    "crm:contact:wout": {"first_name_std": "wout", "last_name_std": "kuiperij"},
    "crm:lead:wout": {"last_name_std": "kuiperij", "linked_record_id": "crm:contact:wout"},
    "shop:customer:wout": {"first_name_std": "wout", "last_name_std": "kuiperij"},
    "pos:member:wout": {"first_name_std": "wout", "linked_record_id": "shop:customer:wout"},
    # Together by what they have in common, and by decision too.
    "crm:contact:fem": FEM,
    "pos:member:fem": FEM,
    "shop:customer:fem": FEM,
    "crm:contact:noor": NOOR,
    "shop:customer:noor": NOOR,
    "crm:lead:tim": {"full_name_std": "q waterman", "linked_record_id": "crm:contact:bas"},
    **{
        f"crm:contact:desk{number}": {
            "first_name_std": first_name,
            "last_name_std": last_name,
            "email_std": "info@kantoor.example",
        }
        for number, (first_name, last_name) in enumerate(DESKS.items())
    },
}


DECIDED = (
    (SAME, "crm:contact:desk5", "crm:contact:desk6"),
    (SAME, "crm:contact:fem", "pos:member:fem"),
    (DIFFERENT, "crm:contact:noor", "shop:customer:noor"),
    (PASS_THROUGH, "crm:contact:desk7", None),
)


@dataclass
class Home:
    """A home with one published version of invented people."""

    settings: Settings
    control: ControlPlane
    mailbox: str
    refused: list[tuple[str, str]]

    def explainer(self) -> Any:
        return open_explainer(self.settings, self.control)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("explain")
    settings = load_settings(home=folder / "home", identity={"review_probability": 0.99})
    control = open_control(settings)
    warehouse = Warehouse(settings, control)
    mailbox = f"newsletter:subscriber:{keyed_hash('tim@post.example', settings.home_key())}"
    own = CASES | {mailbox: {"email_std": "tim@post.example", "first_name_std": "tim"}}
    crowd, _ = population(150, 7)
    rows = [
        {name: row.get(name) for name in crowd.column_names}
        | {"record_id": record_id, "source": record_id.split(":")[0]}
        for record_id, row in own.items()
    ]
    records = pa.concat_tables([crowd, pa.Table.from_pylist(rows, schema=crowd.schema)])
    with warehouse.build() as con:
        con.execute("create schema intermediate")
        con.register("given", records)
        con.execute("""
            create table intermediate.int_linkage_records as
            select *, split_part(record_id, ':', 2) as entity from given
        """)
        con.execute(f"""
            create table intermediate.int_persons__unioned as
            select
                record_id,
                case when record_id = 'crm:contact:bas' then $swapped else full_name_std end
                    as full_name,
                first_name_std as first_name, initials_std as initials, null::varchar as infix,
                last_name_std as last_name, null::varchar as maiden_name,
                case when record_id = 'pos:member:roos' then date '1970-01-01' else birth_date end
                    as birth_date,
                gender, email_std as email, phone_std as phone, mobile_phone_std as mobile_phone,
                street_std as street, house_number_std as house_number,
                house_number_suffix_std as house_number_suffix, postal_code_std as postal_code,
                city_std as city, null::varchar as loyalty_number
            from {preparation.INPUT_TABLE}
        """, {"swapped": SWAPPED})  # fmt: skip
        for verdict, one, other in DECIDED:
            decide(control, verdict, [(one, other)], by="steward", why="they said so")
        identity.link(con, settings, control, "run")
        # As if two profiles had been merged in an earlier run.
        con.execute("""
            insert into identity.current_profile_ids by name
            select
                'P0000000000OLD' as profile_id, profile_id as current_profile_id,
                99999 as number, 'merged' as status
            from identity.profile_records where record_id = 'crm:contact:roos'
        """)
        # As if what the two agree on were agreed on by too many.
        con.execute("""
            delete from identity.pairs
            where record_id_l = 'crm:contact:bas' and record_id_r = 'shop:customer:tim'
        """)
        refused = con.execute(
            "select record_id_l, record_id_r from identity.pairs where decision = 'refused' "
            "and record_id_l like '%:person:%' order by all limit 1"
        ).fetchall()
        pending = identity.read_pending_profile_ids(con, control)
    warehouse.publish(
        run_id="run",
        as_of=AS_OF,
        counts={},
        on_commit=lambda connection, version: identity.commit_profile_ids(
            connection, pending, version
        ),
    )
    yield Home(settings, control, mailbox, refused)
    control.close()


@pytest.fixture(scope="module")
def explainer(home: Home) -> Iterator[Explainer]:
    with home.explainer() as opened:
        yield opened


def test_the_parts_of_a_pair_add_up_to_what_was_published(explainer: Explainer) -> None:
    answer = explainer.why("shop:customer:tim", "crm:contact:tim")
    assert (answer.outcome, answer.is_together) == ("own_pair", True)
    assert answer.warnings == ()
    for sums, prior, part in (
        (answer.against_strangers, answer.prior, "against_strangers"),
        (answer.against_housemates, answer.housemates_prior, "against_housemates"),
    ):
        parts = [getattr(found, part) for found in answer.comparisons]
        assert sums == pytest.approx(prior + sum(parts))
    both = -math.log2(2**-answer.against_strangers + 2**-answer.against_housemates)
    assert answer.pair.match_weight == pytest.approx(both)
    assert answer.rules[0].role == "first"
    assert answer.rules[0].rule == answer.pair.rule == "SAME_EMAIL"
    assert {rule.role for rule in answer.rules[1:]} == {"also"}


def test_twins_are_apart_and_the_reason_is_named(explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:tim", "crm:contact:bas")
    assert not answer.is_together
    assert answer.outcome in {"below_threshold", "refused"}
    found = {found.comparison: found for found in answer.comparisons}
    assert (found["first_name"].value_l, found["first_name"].value_r) == ("bas", "tim")
    assert found["first_name"].in_words == "other first name"
    assert found["first_name"].against_housemates < 0
    assert found["email"].level is None
    assert found["surname"].against_strangers > found["surname"].against_housemates
    assert any("two housemates" in reason for reason in answer.reasons)


def test_who_came_together_through_others_sees_the_way(explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:roos", "pos:member:roos")
    assert answer.outcome == "through_others"
    ends = [{step.record_l, step.record_r} for step in answer.path]
    assert ends == [
        {"crm:contact:roos", "shop:customer:roos"},
        {"shop:customer:roos", "pos:member:roos"},
    ]
    assert any("2 pairs lead" in reason for reason in answer.reasons)


def test_a_key_of_a_source_and_records_that_never_met(explainer: Explainer) -> None:
    by_key = explainer.why("crm:lead:tim", "crm:contact:bas")
    assert (by_key.outcome, by_key.pair.rule) == ("same_key", "DETERMINISTIC")
    assert "names crm:contact:bas" in by_key.keys[0]
    apart = explainer.why("crm:contact:roos", "crm:contact:desk1")
    assert (apart.outcome, apart.rules, apart.pair.decision) == ("never_met", (), None)
    assert apart.reasons[0] == OUTCOMES["never_met"]
    assert "Had they met" in apart.reasons[1]


def test_a_rule_whose_block_was_left_out_says_how_large_it_is(explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:bas", "shop:customer:tim")
    assert answer.outcome == "never_met"
    sizes = {rule.rule: (rule.role, rule.records) for rule in answer.rules}
    assert sizes["SAME_SURNAME_AND_BIRTH_DATE"] == ("left_out", 3)
    assert "3 records do" in answer.reasons[2]


def test_a_default_date_is_told_and_not_compared(explainer: Explainer) -> None:
    answer = explainer.why("pos:member:roos", "shop:customer:roos")
    assert answer.record_l.values["birth date"] == "1970-01-01"
    assert "birth date stands for an unknown one" in answer.record_l.set_aside[0]
    assert answer.record_r.set_aside == ()


def test_a_shared_mailbox_is_told_and_not_compared(explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:desk1", "crm:contact:desk2")
    assert not answer.is_together
    assert "9 records have it" in answer.record_l.set_aside[0]
    assert {found.comparison: found.level for found in answer.comparisons}["email"] is None
    assert answer.record_l.values["e-mail"] == "info@kantoor.example"


def test_the_steps_make_the_profile(explainer: Explainer) -> None:
    answer = explainer.how("shop:customer:tim")
    names = {record.record_id for record in answer.records}
    assert {"crm:contact:tim", "shop:customer:tim"} < names
    assert answer.resolution == (f"shop:customer:tim is in profile {answer.profile_id}.",)
    assert len(answer.steps) == len(names) - 1
    assert {
        name for step in answer.steps for name in (step.pair.record_l, step.pair.record_r)
    } == names
    weights = [step.pair.match_weight or math.inf for step in answer.steps]
    assert weights == sorted(weights, reverse=True)
    assert answer.history[0][1] == "created"
    assert explainer.how(answer.profile_id.lower()).steps == answer.steps


def test_what_was_kept_out_adds_up_to_less_than_nothing(home: Home, explainer: Explainer) -> None:
    assert home.refused
    for left, right in home.refused:
        answer = explainer.why(left, right)
        assert answer.outcome == "refused"
        assert answer.in_favour is not None
        assert answer.in_favour <= 0
        kept_out = explainer.how(answer.record_l.profile_id)
        assert any(not step.is_accepted for step in kept_out.refused)


def test_every_id_ever_issued_leads_to_the_profile_of_today(explainer: Explainer) -> None:
    answer = explainer.how("P0000000000OLD")
    assert {record.record_id for record in answer.records} >= {"crm:contact:roos"}
    assert answer.resolution[-1] == f"P0000000000OLD is {answer.profile_id} today."


def test_decisions_are_told_with_what_they_do(home: Home, explainer: Explainer) -> None:
    same = explainer.why("crm:contact:desk5", "crm:contact:desk6")
    assert (same.outcome, same.is_together) == ("decided_same", True)
    assert "steward" in same.reasons[1]
    assert explainer.how("crm:contact:desk5").steps[-1].pair.rule == "STEWARD"
    # What was decided as well is evidence all the same, and told as the step that it was.
    both = explainer.how("crm:contact:fem")
    assert both.warnings == ()
    assert [step.records for step in both.steps] == [2, 3]
    decided = next(pair for pair in both.pairs if pair.rule == "STEWARD")
    assert decided.by_evidence in [step.pair for step in both.steps]
    different = explainer.why("crm:contact:noor", "shop:customer:noor")
    assert (different.outcome, different.is_together) == ("decided_different", False)
    assert different.pair.match_probability > 0.99
    assert different.warnings == ()
    apart = explainer.how("crm:contact:noor").refused
    assert [step.is_forbidden for step in apart] == [True]
    for answer in (different, *apart):  # a decision is beyond any number that JSON knows
        json.dumps(asdict(answer), default=str, allow_nan=False)
    hidden = explainer.why("crm:contact:desk7", "crm:contact:desk8")
    assert hidden.outcome == "passed_through"

    decide(home.control, SAME, [("crm:contact:bas", "crm:contact:tim")], by="ann", why="a nickname")
    later = explainer.why("crm:contact:tim", "crm:contact:bas")
    assert [decision.state for decision in later.decisions] == ["next_run"]
    assert later.outcome in {"below_threshold", "refused"}
    assert "the next run applies it" in later.reasons[-1]
    assert len(explainer.how("crm:contact:bas").decisions) == 1


def test_what_waits_for_a_person_is_told(home: Home, explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:wout", "shop:customer:wout")
    assert (answer.outcome, answer.is_together) == ("held", False)
    bridge = next(question for question in answer.questions if question.kind == "bridge")
    assert set(bridge.records) == {"crm:contact:wout", "shop:customer:wout"}
    assert answer.warnings == ()
    assert any("Waits for a decision" in reason for reason in answer.reasons)
    for record in (answer.record_l, answer.record_r):
        profile = explainer.how(record.profile_id)
        assert profile.questions
        shown = {one.record_id for one in (*profile.records, *profile.neighbours)}
        assert all(set(question.records) <= shown for question in profile.questions)


def test_a_record_is_found_by_its_key_and_by_an_address(home: Home, explainer: Explainer) -> None:
    answer = explainer.why("bas", "newsletter:subscriber: Tim@Post.example")
    assert {answer.record_l.record_id, answer.record_r.record_id} == {
        "crm:contact:bas",
        home.mailbox,
    }
    for asked, message in (
        ("tim", "may be several"),
        ("crm:contact:nobody", "no record"),
        ("bas", "twice"),
    ):
        with pytest.raises(KlantbeeldError, match=message) as told:
            explainer.why(asked, "crm:contact:bas")
        assert told.value.hint
    with pytest.raises(KlantbeeldError, match="never was a profile"):
        explainer.how("PXXXXXXXXXXXXX")


def test_pages_hold_all_of_it_and_escape_what_sources_wrote(explainer: Explainer) -> None:
    answer = explainer.why("crm:contact:tim", "crm:contact:bas")
    chart = explainer.waterfall(answer)
    page = pair_page(answer, chart)
    assert "default-src 'none'" in page
    assert SWAPPED not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page
    for found in answer.comparisons:
        assert found.in_words in page
    assert "1988-05-17" not in chart
    page = profile_page(explainer.how("crm:contact:bas"))
    assert SWAPPED not in page
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_commands_speak_text_and_json_and_write_pages(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    # A process opens a version once; the other tests have it open.
    shutil.copytree(home.settings.home, tmp_path / "home")
    monkeypatch.setenv("KLANTBEELD_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["identity", *arguments])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    code, text, _ = run("how", "shop:customer:tim")
    assert code == 0
    assert "strongest first" in text
    code, text, _ = run("why", "crm:contact:tim", "shop:customer:tim", "--json")
    assert json.loads(text)["outcome"] == "own_pair"
    code, text, _ = run("why", "crm:contact:tim", "crm:contact:bas")
    assert text.startswith("Apart")
    assert "other first name" in text
    page = tmp_path / "page.html"
    code, text, _ = run("why", "crm:contact:tim", "crm:contact:bas", "--html", str(page))
    assert (code, text) == (0, "")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    code, _, error = run("why", "crm:contact:tim", "crm:contact:nobody")
    assert code == 1
    assert "source:entity:key" in error

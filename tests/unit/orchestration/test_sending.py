"""The sends as one step: destinations beside each other, and what each comes to in the UI."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from klantbeeld.activation import ExportReport, SyncReport
from klantbeeld.activation.lanes import side_by_side
from klantbeeld.errors import ExitCode
from orchestration.assets.send import DELIVERED, Send, _result, build_send_assets
from orchestration.progress import Progress, recording
from orchestration.resources import Platform
from orchestration.run import _collect, _exit_code
from tests.fixtures.activation import World, profile_rows
from tests.fixtures.destinations import Asked, Service, Told

CRM = dg.AssetKey(["crm", "customer_profiles"])
FILE = dg.AssetKey(["exports", "early_birds"])
PATIENCE = 20.0  # seconds; longer than anything here takes
AUDIENCE = """
    select 'k' || n as contact_point_key, 'l' || n || '@voorbeeld.example' as email,
        'Lotte' as first_name, null::varchar as phone
    from range(3) as t(n)
"""


def test_a_lane_goes_on_after_a_failure_and_waits_for_nobody_else() -> None:
    gate = threading.Event()
    order: list[str] = []

    def done(name: str) -> str:
        order.append(name)
        return name

    def fails() -> str:
        raise ValueError("broken")

    lanes = {
        "sick": [("hangs", lambda: str(gate.wait(PATIENCE))), ("after", lambda: done("after"))],
        "healthy": [("one", fails), ("two", lambda: done("two"))],
    }
    ended = {}
    for one in side_by_side(lanes):
        ended[one.name] = one.result
        if one.name == "two":
            assert order == ["two"], "the sick lane has not moved"
            gate.set()
    assert isinstance(ended["one"], ValueError)
    assert (ended["hangs"], ended["two"], ended["after"]) == ("True", "two", "after")


class Hanging:
    """A system that answers nothing until somebody else has been served, or patience ends."""

    def __init__(self) -> None:
        self.place = Path()
        self.waited_for: list[bool] = []

    def __call__(self, asked: Asked) -> Told:
        deadline = time.monotonic() + PATIENCE
        while not (served := bool(list(self.place.glob("*.manifest.json")))):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.waited_for.append(served)
        return Told(503)


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.fixture
def world(tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    service = Service(hanging)
    made = World(tmp_path / "home", service.url + "/api/data/v9.2/")
    hanging.place = made.home / "inbox"
    monkeypatch.setenv("KLANTBEELD_HOME", str(made.home))
    made.publish(profile_rows(4), audience=AUDIENCE)
    yield made
    made.close()
    service.close()


def send(
    world: World, selection: list[dg.AssetKey] | None = None
) -> tuple[dg.ExecuteInProcessResult, Progress]:
    manifest = json.loads(world.warehouse.current().manifest.read_text())
    job = dg.define_asset_job("send_job", selection=dg.AssetSelection.groups("send"))
    definitions = dg.Definitions(
        assets=[build_send_assets(manifest)],
        jobs=[job],
        resources={"platform": Platform()},
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.ephemeral() as instance, recording(None) as progress:
        result = definitions.resolve_job_def("send_job").execute_in_process(
            instance=instance, raise_on_error=False, asset_selection=selection
        )
        _collect(result, progress)
    return result, progress


def told(status: str, **figures: Any) -> Any:
    node = {"name": "sync_crm__customer_profiles"}
    one = Send(node, str(node["name"]), CRM, "crm", is_file=False)
    return _result(one, SyncReport(one.name, status, "v1", "r1", **figures))


@pytest.mark.parametrize("status", ["held", "degraded"])
def test_a_send_that_a_person_has_to_look_at_is_red_with_its_reason(status: str) -> None:
    since = datetime(2026, 3, 1, tzinfo=UTC)
    figures = {"requests": 30, "retries": 4, "seconds": 10.0, "oldest_unacknowledged_at": since}
    result = told(status, message="because", **figures)
    (check,) = result.check_results
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "because"
    assert result.metadata["requests_per_second"] == 3.0
    assert (result.metadata["requests"], result.metadata["retries"]) == (30, 4)
    assert result.metadata["oldest_unacknowledged"].value == since.timestamp()


def test_a_failed_send_is_a_failed_check_with_its_reason_and_counts() -> None:
    check = told("failed", rejected=2, message="the CRM could not be reached")
    assert isinstance(check, dg.AssetCheckResult), "and no materialization"
    assert (check.passed, check.description) == (False, "the CRM could not be reached")
    assert check.metadata["rejected"].value == 2


def test_a_file_that_was_written_while_the_one_before_stayed_needs_attention() -> None:
    one = Send({"name": "seg_early_birds"}, "audience_early_birds", FILE, "news", is_file=True)
    report = ExportReport("early_birds", "written", "v1", "news", message="could not be removed")
    with recording(None) as progress:
        result = _result(one, report)
        _result(one, replace(report, message=None))
    assert isinstance(result, dg.MaterializeResult)
    (problem,) = progress.problems
    assert (problem.what, problem.message) == ("audience_early_birds", "could not be removed")


def test_a_healthy_destination_is_delivered_while_another_hangs(
    world: World, hanging: Hanging
) -> None:
    result, progress = send(world)
    assert hanging.waited_for[0], "the audience arrived while the CRM had not answered once"
    checks = {check.asset_key: check for check in result.get_asset_check_evaluations()}
    assert {key: check.passed for key, check in checks.items()} == {CRM: False, FILE: True}
    assert "503" in str(checks[CRM].description)
    assert checks[CRM].check_name == DELIVERED
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    assert made == {FILE}, "what failed is not green"
    assert not result.success
    (problem,) = progress.problems
    assert (problem.what, problem.severity) == ("sync_crm__customer_profiles", "attention")
    assert _exit_code(progress) == ExitCode.ATTENTION
    asked = len(hanging.waited_for)
    result, progress = send(world, [FILE])
    assert result.success
    assert [check.asset_key for check in result.get_asset_check_evaluations()] == [FILE]
    assert len(hanging.waited_for) == asked, "what was not chosen was not sent"

"""The code location: it loads, every stage has its place, and the path is one."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from klantbeeld.settings import Settings
from klantbeeld.warehouse.lock import run_lock
from orchestration.assets.send import build_send_assets
from orchestration.manifest import audiences, read_manifest, record_syncs

STAGES = {
    "raw_crm", "raw_shop", "raw_pos", "raw_newsletter", "raw_web", "staging", "intermediate",
    "identity", "marts", "insights", "segments", "activation", "warehouse", "send", "training",
}  # fmt: skip


def test_every_stage_is_a_group_and_nothing_is_outside_one(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups >= STAGES
    assert "default" not in groups


def test_every_asset_says_what_it_is_and_who_answers_for_it(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key


def test_everything_is_made_here(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert set(graph.get_all_asset_keys()) == set(graph.executable_asset_keys)


def test_the_lineage_runs_from_the_crm_to_the_crm_and_to_every_export(
    definitions: dg.Definitions, parsed_home: Settings
) -> None:
    graph = definitions.resolve_asset_graph()
    reached = {dg.AssetKey(["raw_crm", "contacts"])}
    queue = list(reached)
    while queue:
        for child in graph.get(queue.pop()).child_keys - reached:
            reached.add(child)
            queue.append(child)
    manifest = read_manifest(parsed_home)
    names = [str(node["name"]).removeprefix("seg_") for node in audiences(manifest)]
    assert len(names) >= 5
    assert dg.AssetKey(["crm", "customer_profiles"]) in reached
    assert {dg.AssetKey(["exports", name]) for name in names} <= reached
    assert dg.AssetKey(["warehouse", "published_version"]) in reached


def test_dbts_own_lineage_ends_with_an_exposure_per_send(parsed_home: Settings) -> None:
    manifest = read_manifest(parsed_home)
    exposed = [node["depends_on"]["nodes"] for node in manifest["exposures"].values()]
    sent = [*record_syncs(manifest), *audiences(manifest)]
    assert sorted(exposed) == sorted([node["unique_id"]] for node in sent)


def test_dbt_starts_twice_a_run_with_the_link_stage_between(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("full_job")
    order = [node.name for node in job.nodes_in_topological_order]
    halves = [name for name in order if name.startswith("dbt_models")]
    assert len(halves) == 2
    assert order.index(halves[0]) < order.index("link") < order.index(halves[1])


def test_every_dbt_test_is_one_check_of_one_asset(
    definitions: dg.Definitions, parsed_home: Settings
) -> None:
    manifest = read_manifest(parsed_home)
    tests = {n["name"] for n in manifest["nodes"].values() if n["resource_type"] == "test"}
    graph = definitions.resolve_asset_graph()
    checks = Counter(key.name for key in graph.asset_check_keys if key.name in tests)
    assert set(checks) == tests
    assert set(checks.values()) == {1}


def test_a_failing_error_test_blocks_and_a_warning_does_not(
    definitions: dg.Definitions, parsed_home: Settings
) -> None:
    manifest = read_manifest(parsed_home)
    graph = definitions.resolve_asset_graph()
    blocking = {k.name: graph.get(k).blocking for k in graph.asset_check_keys}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            severity = str(node["config"].get("severity") or "error").lower()
            assert blocking[node["name"]] is (severity == "error"), node["name"]


def test_a_new_audience_file_is_an_asset_with_its_export(parsed_home: Settings) -> None:
    manifest = dict(read_manifest(parsed_home))
    known = audiences(manifest)[0]
    added: dict[str, Any] = {**known, "name": "seg_gift_buyers", "alias": "seg_gift_buyers"}
    manifest["nodes"] = {**manifest["nodes"], "model.klantbeeld.seg_gift_buyers": added}
    keys = build_send_assets(manifest).keys
    assert dg.AssetKey(["exports", "gift_buyers"]) in keys
    assert len(keys) == len(audiences(manifest)) + len(record_syncs(manifest))


def test_all_sends_are_one_step_so_that_none_waits_for_another(
    definitions: dg.Definitions,
) -> None:
    for name in ("full_job", "send_job"):
        steps = [node.name for node in definitions.resolve_job_def(name).nodes]
        assert [step for step in steps if step.startswith("send")] == ["send"]


def test_jobs_and_schedules(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert set(repository.job_names) >= {
        "full_job", "reconciliation_job", "incremental_job", "load_job", "build_job", "send_job",
        "training_job",
    }  # fmt: skip
    schedules = {schedule.job_name: schedule for schedule in repository.schedule_defs}
    assert set(schedules) == {
        "incremental_job", "full_job", "reconciliation_job", "send_job", "training_job",
    }  # fmt: skip
    assert {s.execution_timezone for s in schedules.values()} == {"Europe/Amsterdam"}
    # Somebody switches them on: a UI that is opened to look must not begin to work.
    assert all(s.default_status is dg.DefaultScheduleStatus.STOPPED for s in schedules.values())


def test_what_is_due_once_a_day_waits_for_its_turn_and_runs_once(
    definitions: dg.Definitions, parsed_home: Settings
) -> None:
    schedule = definitions.get_repository_def().get_schedule_def("full_schedule")
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC))
        with run_lock(parsed_home.paths.lock_file, purpose="run"):
            assert not schedule.evaluate_tick(context).run_requests
        assert len(schedule.evaluate_tick(context).run_requests or ()) == 1
        tags = {"dagster/schedule_name": schedule.name}
        instance.add_run(dg.DagsterRun(job_name=schedule.job_name, tags=tags))
        assert not schedule.evaluate_tick(context).run_requests


def test_training_is_in_no_regular_run(definitions: dg.Definitions) -> None:
    for name in ("full_job", "reconciliation_job", "incremental_job", "build_job"):
        job = definitions.resolve_job_def(name)
        assert not any("model" in n.name for n in job.nodes if "identity" in n.name), name


def test_what_is_published_and_sent_has_a_freshness_policy(definitions: dg.Definitions) -> None:
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    for path in (["raw_crm", "contacts"], ["warehouse", "published_version"]):
        assert specs[dg.AssetKey(path)].freshness_policy is not None

"""Clean, harmonise, publish, measure, choose, shape: each dbt model is an asset, each test a check.

Belongs here: turning dbt's manifest into assets and dbt's results into events. Does not: SQL.

One set of assets around the whole project. The identity tables are dbt sources that Python writes,
so Dagster splits the step in two by itself, before and after the link stage, and dbt starts twice a
run.

raw_<source>, meta.run_context -> staging -> intermediate -> (identity) -> marts
-> insights -> segments -> activation
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtProject,
    dbt_assets,
)
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from klantbeeld.failpoints import failpoint
from klantbeeld.settings import Settings
from klantbeeld.transform.runner import Event, Outcome
from klantbeeld.warehouse import row_counts
from orchestration.assets.publish import RUN_CONTEXT
from orchestration.manifest import (
    Manifest,
    Node,
    asset_path,
    dbt,
    meta,
    models,
    prepare_manifest,
    read_manifest,
)
from orchestration.progress import STAGE_WORDS, progress
from orchestration.resources import Platform

_AFTER_LINK = "source:identity+"
_IDENTITY_SOURCE = "source.klantbeeld.identity."
_DATA_TEAM = "team:customer-data"
_TESTS = "tests"

DbtEvent = dg.Output[Any] | dg.AssetCheckResult | Any


class StageTranslator(DagsterDbtTranslator):
    """Names things after the stage they belong to: the schema is the group is the key's prefix."""

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The asset of one dbt node."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        key = dg.AssetKey(asset_path(node))
        if node["resource_type"] == "source":
            return spec.replace_attributes(key=key)
        # Later models read the context too; that they come after it follows from the first
        # ones, and an arrow from it to every stage would hide the data's path.
        deps = [dep for dep in spec.deps if dep.asset_key != RUN_CONTEXT]
        parents = node["depends_on"].get("nodes", [])
        if not any(p in manifest["nodes"] or p.startswith(_IDENTITY_SOURCE) for p in parents):
            # Every first model (and seed) waits for the run's context, also one that does not read
            # it. Dagster splits a set of assets by their distance from the start: without this the
            # first half of the project would fall apart in three, each with a start of dbt.
            deps.append(dg.AssetDep(RUN_CONTEXT))
        return spec.replace_attributes(
            key=key,
            deps=deps,
            group_name=node["schema"],
            description=node["description"] or spec.description,
            owners=[owner_of(node)],
            kinds={"dbt", "duckdb", str(node["config"]["materialized"])},
        ).merge_attributes(metadata={"file": node["original_file_path"]})


def owner_of(node: Node) -> str:
    """Who answers for a model: its `meta.owner`, else the data team, in Dagster's notation."""
    owner = str(meta(node).get("owner") or _DATA_TEAM)
    if "@" in owner or owner.startswith("team:"):
        return owner
    return "team:" + owner.strip().lower().replace(" ", "-")


def with_checks_on_last_parent(manifest: Manifest) -> dict[str, Any]:
    """The manifest with each test attached to one model: of those it reads, the one built last.

    dbt attaches a `relationships` test to the model that names it, a singular test of several
    models to none, and a source's test to the source. Attached to the model that is built last (for
    a source, the first model that reads it), a test is a check of the step that can run it: never
    before the link stage when it needs what comes after it, and exactly once.
    """
    depth: dict[str, int] = {}

    def depth_of(unique_id: str) -> int:
        if unique_id not in depth:
            # What Python makes of the first half comes after it, which dbt cannot know.
            after = len(manifest["nodes"]) if unique_id.startswith(_IDENTITY_SOURCE) else 0
            parents = manifest["parent_map"].get(unique_id, [])
            depth[unique_id] = 1 + after + max((depth_of(parent) for parent in parents), default=0)
        return depth[unique_id]

    assets = {node["unique_id"] for node in models(manifest)}
    nodes, child_map = dict(manifest["nodes"]), dict(manifest["child_map"])
    for unique_id, node in nodes.items():
        reads = node["depends_on"].get("nodes", [])
        if node["resource_type"] != "test" or not reads:
            continue
        candidates = assets.intersection(reads)
        if not candidates:
            readers = {child for parent in reads for child in manifest["child_map"].get(parent, [])}
            first = sorted(readers & assets, key=lambda child: (depth_of(child), child))
            candidates = set(first[:1])
        if candidates:
            last = max(candidates, key=lambda parent: (depth_of(parent), parent))
            name, package = manifest["nodes"][last]["name"], manifest["nodes"][last]["package_name"]
            attached = {**meta(node), "dagster": {"ref": {"name": name, "package": package}}}
            nodes[unique_id] = {
                **node,
                "config": {**node["config"], "meta": attached},
                "depends_on": {**node["depends_on"], "nodes": sorted({*reads, last})},
            }
            child_map[last] = sorted({*child_map[last], unique_id})
    return {**manifest, "nodes": nodes, "child_map": child_map}


def build_dbt_assets(settings: Settings) -> dg.AssetsDefinition:
    """All models of the project as one set of assets."""
    prepare_manifest(settings)
    manifest = with_checks_on_last_parent(read_manifest(settings))
    translator = StageTranslator(
        DagsterDbtTranslatorSettings(
            # A source and the asset that Python makes of it would otherwise disagree on metadata.
            enable_source_metadata=False,
        )
    )

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="dbt_models")
    def dbt_models(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[DbtEvent]:
        schemas = {
            node["unique_id"]: str(node["schema"])
            for node in models(manifest)
            if dg.AssetKey(asset_path(node)) in context.selected_asset_keys
        }
        failpoint("dbt.before_staging" if "staging" in schemas.values() else "dbt.before_marts")
        ended: list[Event] = []
        failed: list[str] = []
        warned: list[str] = []
        remaining = Counter(schemas.values())
        built = dict(remaining)
        broken: Counter[str] = Counter()
        seconds: defaultdict[str, float] = defaultdict(float)

        def on_result(event: Event) -> None:
            ended.append(event)
            node = event["data"]["node_info"]
            schema = schemas.get(node["unique_id"], _TESTS)
            if node["node_status"] in ("error", "fail"):
                failed.append(str(node["node_name"]))
                broken[schema] += 1
            elif node["node_status"] == "warn":
                warned.append(str(node["node_name"]))
            # Stages overlap on dbt's threads: what a stage took is what its models took together.
            seconds[schema] += float(event["data"].get("execution_time") or 0)
            if schema == _TESTS:
                return
            remaining[schema] -= 1
            if not remaining[schema]:
                tell(schema)

        def tell(schema: str) -> None:
            figures = {"failed": broken[schema], "not built": remaining[schema]}
            status = "failed" if any(figures.values()) else "done"
            word = STAGE_WORDS.get(schema, schema)
            progress().done(
                word, schema, {"models": built[schema], **figures}, seconds[schema], status
            )

        # DbtCliResource would start a process for this, and one more for its version: 7 s of CPU on
        # each of the two starts.
        arguments = _build_arguments(context, manifest, set(schemas))
        outcome = dbt(platform.settings).build(arguments, on_result)
        for schema in +remaining:
            tell(schema)
        events: list[DbtEvent] = [
            asset_event
            for event in ended
            for asset_event in DbtCoreCliEventMessage(
                dict(event), event_history_metadata={}
            ).to_default_asset_events(
                manifest=manifest, dagster_dbt_translator=translator, context=context
            )
        ]
        yield from _with_row_counts(events, platform)
        checks = sum(isinstance(event, dg.AssetCheckResult) for event in events)
        _tell_tests(checks, broken[_TESTS], warned, seconds[_TESTS])
        for name, number in Counter(failed).items():
            context.log.error(f"failed: {name}" + (f" ({number} times)" if number > 1 else ""))
        if not outcome.success:
            raise dg.Failure(description=_failure(failed, outcome), allow_retries=False)
        failpoint("dbt.after_staging" if "staging" in schemas.values() else "dbt.after_marts")

    return dbt_models


def after_link(manifest: Manifest) -> set[str]:
    """The models that need the identity tables: the second of the two starts of dbt."""
    found = {
        unique_id
        for unique_id, node in manifest["sources"].items()
        if node["source_name"] == "identity"
    }
    queue = list(found)
    while queue:
        for child in manifest["child_map"].get(queue.pop(), []):
            if child not in found:
                found.add(child)
                queue.append(child)
    return {node["unique_id"] for node in models(manifest)} & found


def _build_arguments(
    context: dg.AssetExecutionContext, manifest: Manifest, selected: Set[str]
) -> list[str]:
    arguments = ["--exclude-resource-type", "unit_test"]
    everything = {node["unique_id"] for node in models(manifest)}
    second = after_link(manifest)
    if selected == everything:
        return arguments
    if selected == second:
        return [*arguments, "--select", _AFTER_LINK]
    if selected == everything - second:
        return [*arguments, "--exclude", _AFTER_LINK]
    checks = {key.name for key in context.selected_asset_check_keys}
    names = sorted(manifest["nodes"][unique_id]["name"] for unique_id in selected)
    return [*arguments, "--indirect-selection", "empty", "--select", *names, *sorted(checks)]


def _with_row_counts(events: list[DbtEvent], platform: Platform) -> Iterator[DbtEvent]:
    """Add the number of rows of each table, counted once after dbt has let go.

    dagster-dbt's own `fetch_row_counts` leaves a connection open in this process, after which
    DuckDB refuses the next writer.
    """
    with platform.warehouse.build() as connection:
        counts = row_counts(connection)
    sizes = {name.replace(".", "__", 1): rows for name, rows in counts.items()}
    for event in events:
        if isinstance(event, dg.Output) and event.output_name in sizes:
            yield dg.Output(
                None,
                output_name=event.output_name,
                metadata={
                    **event.metadata,
                    "dagster/row_count": sizes[event.output_name],
                },
            )
        else:
            yield event


def _tell_tests(checks: int, failed: int, warned: list[str], seconds: float) -> None:
    status = "failed" if failed else "attention" if warned else "done"
    counts = {"tests": checks, "failed": failed, "warnings": len(warned)}
    progress().done("check", "dbt tests", counts, seconds, status)
    for name in sorted(warned):
        progress().warn(name)


def _failure(failed: list[str], outcome: Outcome) -> str:
    told = [f"{name}: {why.strip()}" for name, why in sorted(outcome.model_errors.items())]
    tests = sorted(set(failed) - set(outcome.model_errors))
    if tests:
        told.append("failed tests: " + ", ".join(tests) + "; see the checks of their models")
    if told:
        return "\n".join(told)
    return f"dbt could not run: {(outcome.error or 'it did not say why')[-2000:]}"

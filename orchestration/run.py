"""The pipeline from the command line: `python -m orchestration.run --job JOB`.

Belongs here: which parts a run has, what a person sees of them, and the exit code. Does not: the
parts.

An incremental run is up to two Dagster runs under one lock: the loads, and then either everything
after them or, with nothing to build, only the sends that still have something to do. Each part
imports what it needs and no more, so that a run with nothing to do is start-up and little else.

Exit codes: 0 all good, 1 failed, 2 wrong settings or usage, 3 completed but something needs
attention, 4 another run is in progress.
"""

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, TextIO

from klantbeeld.clock import Clock
from klantbeeld.control import open_control
from klantbeeld.control.store import ControlPlane
from klantbeeld.errors import ExitCode, KlantbeeldError, in_one_line
from klantbeeld.files import PRIVATE_FILE, explain_storage, private_dir, write_atomic
from klantbeeld.settings import Settings, load_settings
from klantbeeld.warehouse import Warehouse
from orchestration.progress import Progress, recording

if TYPE_CHECKING:
    import dagster as dg

_JOBS: Final = ("incremental", "full", "reconciliation", "training")
_STOPPED: Final = "stopped; start the run again, it converges"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job; returns the exit code."""
    options = _parse(arguments)
    # Dagster, its database and dbt make files of their own; all of them are the owner's alone.
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = load_settings()
    except KlantbeeldError as error:
        return _tell(error)
    try:
        with _terminal(settings) as terminal, recording(terminal) as progress:
            return _run(options, settings, progress)
    except KlantbeeldError as error:
        return _tell(error)
    except KeyboardInterrupt:
        sys.stderr.write(f"{_STOPPED}\n")
        return ExitCode.FAILED
    except Exception as error:
        explained = explain_storage(error, settings.paths.home)
        if explained is None:
            raise
        return _tell(explained)


def _tell(error: KlantbeeldError) -> int:
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    return error.exit_code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run as Ctrl-C does; within a step Dagster puts its own handler in place."""
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orchestration.run", description=__doc__)
    parser.add_argument("--job", choices=_JOBS, default="incremental")
    parser.add_argument("--select", metavar="SELECTION", help="only these assets of the job")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the run's figures here")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, settings: Settings, progress: Progress) -> int:
    started = datetime.now(UTC)
    # What no part can do without is asked for first: else each part fails on it by itself.
    Clock(settings).as_of()
    control = open_control(settings)
    try:
        warehouse = Warehouse(settings, control)
        from orchestration.instance import (
            fail_abandoned_runs,
            forget_old_runs,
            open_instance,
        )
        from orchestration.resources import holding_run_lock

        with (
            holding_run_lock(warehouse, f"{options.job} run"),
            open_instance(settings) as instance,
        ):
            fail_abandoned_runs(instance)
            pipeline = Pipeline(settings, control, warehouse, progress, instance)
            try:
                if options.select:
                    pipeline.selection(options.select)
                elif options.job == "incremental":
                    pipeline.incremental()
                else:
                    pipeline.job(f"{options.job}_job")
            except KeyboardInterrupt:
                progress.problem("run", options.job, _STOPPED, "failed")
            forget_old_runs(instance)
            exit_code = _exit_code(progress)
            _summarise(options, warehouse, progress, pipeline.run_ids, exit_code, started)
            return exit_code
    finally:
        control.close()


class Pipeline:
    """The parts of a run, on one instance, in this process."""

    def __init__(
        self,
        settings: Settings,
        control: ControlPlane,
        warehouse: Warehouse,
        progress: Progress,
        instance: "dg.DagsterInstance",
    ) -> None:
        self._settings = settings
        self._control = control
        self._warehouse = warehouse
        self._progress = progress
        self._instance = instance
        self.run_ids: list[str] = []
        self._started_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"

    def incremental(self) -> None:
        """Load; then build and send if there is a reason to, else send what still waits."""
        import dagster as dg

        from orchestration.assets.load import build_load_assets
        from orchestration.automation import load_job
        from orchestration.changes import needs_build
        from orchestration.resources import Platform

        light = dg.Definitions(
            assets=build_load_assets(),
            jobs=[load_job(dg.AssetSelection.all())],
            resources={"platform": Platform()},
            executor=dg.in_process_executor,
        )
        if not self._execute(light, "load_job"):
            return
        reasons = needs_build(self._settings, self._control, self._warehouse)
        if reasons:
            self._progress.say(f"  to build, because of: {', '.join(reasons)}")
            self.job("build_job")
            return
        current = self._warehouse.current()
        name = current.version_id if current else ""
        self._progress.done("build", "nothing changed", {"since version": name}, 0.0, "unchanged")
        self._send_what_waits()

    def job(self, name: str) -> bool:
        """Run one job of the whole set of definitions."""
        return self._execute(self._all_definitions(), name)

    def selection(self, text: str) -> None:
        """Run the assets that a Dagster selection names, and what cannot be made without them."""
        import dagster as dg

        definitions = self._all_definitions()
        graph = definitions.resolve_asset_graph()
        try:
            chosen = dg.AssetSelection.from_string(text).required_multi_asset_neighbors()
            keys = sorted(chosen.resolve(graph) & graph.executable_asset_keys)
        except dg.DagsterError as error:
            raise KlantbeeldError(
                f"--select {text!r}: {error}", "Example: --select 'group:staging'", ExitCode.USAGE
            ) from None
        if not keys:
            raise KlantbeeldError(
                f"--select {text!r} selects nothing",
                "Example: --select 'group:staging' or --select 'key:\"raw_crm/contacts\"+'.",
                ExitCode.USAGE,
            )
        self._execute(definitions, "__ASSET_JOB", keys)

    def _all_definitions(self) -> "dg.Definitions":
        from orchestration.definitions import defs

        return defs()

    def _send_what_waits(self) -> None:
        import dagster as dg

        from orchestration.assets.send import build_send_assets, waiting_sends
        from orchestration.automation import send_job
        from orchestration.manifest import prepare_manifest, read_manifest
        from orchestration.resources import Platform

        prepare_manifest(self._settings)
        manifest = read_manifest(self._settings)
        waiting = waiting_sends(manifest, self._control, self._warehouse)
        if not waiting:
            self._progress.done("send", "nothing waits", {}, 0.0, "unchanged")
            return
        light = dg.Definitions(
            assets=[build_send_assets(manifest)],
            jobs=[send_job()],
            resources={"platform": Platform()},
            executor=dg.in_process_executor,
        )
        self._execute(light, "send_job", waiting)

    def _execute(
        self,
        definitions: "dg.Definitions",
        name: str,
        asset_selection: "Sequence[dg.AssetKey] | None" = None,
    ) -> bool:
        job = definitions.resolve_job_def(name)
        result = job.execute_in_process(
            instance=self._instance,
            raise_on_error=False,
            asset_selection=list(asset_selection) if asset_selection else None,
            run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
            tags={
                "klantbeeld/launched_by": "command line",
                # The parts of one run, to be found together in the UI.
                "klantbeeld/run": self._started_at,
            },
        )
        self.run_ids.append(result.run_id)
        _collect(result, self._progress)
        return bool(result.success)


def _collect(result: "dg.ExecuteInProcessResult", progress: Progress) -> None:
    """What failed, in the words of whatever failed."""
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity.name == "ERROR" and evaluation.blocking:
            what = f"{'/'.join(evaluation.asset_key.path)}: {evaluation.check_name}"
            message = evaluation.description or "this check blocks the publish"
            progress.problem("check", what, message, "failed")
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        words = _words(event)
        # A step that only says that its check failed has been named above, by the check; the sends
        # have said themselves what they could not deliver.
        untold = words
        for message in sorted({problem.message for problem in progress.problems}, key=len)[::-1]:
            untold = untold.replace(message, "")
        if untold.strip() and "DagsterAssetCheckFailedError" not in words:
            progress.problem("step", str(event.step_key), words, "failed")
    if not result.success and not any(event.is_step_failure for event in result.all_events):
        failure = next((e for e in result.all_events if e.is_run_failure), None)
        message = failure.message if failure and failure.message else "it ended without a reason"
        progress.problem("run", result.job_def.name, message, "failed")


def _words(event: "dg.DagsterEvent") -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return str(event.message)
    if error.cls_name == "DagsterExecutionInterruptedError":
        return _STOPPED
    # An error of ours is its name, a line that says what is wrong, and one that says what to do.
    own = re.match(r"klantbeeld(?:\.\w+)+: (.*)\n  (.*)", error.message)
    if own:
        return in_one_line(*own.groups())
    return error.message.strip().removeprefix("klantbeeld.errors.KlantbeeldError: ") or str(
        error.cls_name
    )


def _exit_code(progress: Progress) -> int:
    if any(problem.severity == "failed" for problem in progress.problems):
        return ExitCode.FAILED
    return ExitCode.ATTENTION if progress.problems else ExitCode.OK


def _summarise(
    options: argparse.Namespace,
    warehouse: Warehouse,
    progress: Progress,
    run_ids: list[str],
    exit_code: int,
    started: datetime,
) -> None:
    seconds = round(time.monotonic() - progress.started, 1)
    version = warehouse.current()
    for problem in progress.problems:
        word = "FAILED" if problem.severity == "failed" else "ATTENTION"
        progress.say(f"{word}: {problem.stage} {problem.what}: {problem.message}")
    outcome = {ExitCode.OK: "all good", ExitCode.ATTENTION: "completed, needs attention"}
    current = f"version {version.version_id} is current" if version else "nothing is published"
    published = version is not None and f"version {version.version_id}" in {
        line.what for line in progress.lines
    }
    if options.select and not published:
        current = f"these assets alone, nothing new published; {current}"
    progress.say(f"{outcome.get(ExitCode(exit_code), 'failed')}: {current}; {seconds} s")
    if options.json is not None:
        summary = {
            "job": options.job,
            "select": options.select,
            "exit_code": int(exit_code),
            "started_at": started.isoformat(),
            "seconds": seconds,
            "dagster_runs": run_ids,
            "version_id": version.version_id if version else None,
            **progress.as_dict(),
        }
        write_atomic(options.json, json.dumps(summary, indent=2).encode())


@contextmanager
def _terminal(settings: Settings) -> Iterator[TextIO]:
    """The terminal for our lines; everything that libraries write goes to `<home>/dagster/run.log`.

    Dagster captures a step's output by file descriptor, so ours is kept aside under another one.
    """
    folder = private_dir(settings.paths.dagster_dir)
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    log = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    saved = os.dup(1), os.dup(2)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (log, *saved):
            os.close(descriptor)
        terminal.close()


if __name__ == "__main__":
    sys.exit(main())

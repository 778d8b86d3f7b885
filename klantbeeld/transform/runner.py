"""dbt in this process: for a run, which starts it twice and has most of it imported already.

A process of its own costs 4 s of CPU before the first model (imports, then reading the parsed
project again), and every event passes through JSON twice: 29 s for both halves of the demo, here
17 s. The command line keeps its process: `__main__.py`.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

# One event as dbt's JSON log would have it.
Event = Mapping[str, Any]

_ABOUT_DATA = re.compile(r"(Conversion|Constraint|Invalid Input|Out of Range) Error")
# Which macro called which; what a person can correct stands above it.
_CALLS = re.compile(r"\n[ \t]*> (?:in|called by) [^\n]*")
# A macro of the project that refuses a setting says where that stands, which is not in the model.
_IN_A_MODEL = re.compile(r"Compilation Error in model [^\n]*\n\s*(?=dbt_project\.yml\b)")
_RESULTS = frozenset({"LogModelResult", "LogSeedResult", "LogSnapshotResult", "LogTestResult"})


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        success: Whether all went well.
        error: dbt's own words if it could not run.
        model_errors: dbt's own words for each model that could not be built.
    """

    success: bool
    error: str | None
    model_errors: Mapping[str, str]


class Dbt:
    """dbt with one parsed project, for any number of commands.

    Args:
        project_dir: The project.
        environment: The variables dbt is run with (`project.build_environment`).
    """

    def __init__(self, project_dir: Path, environment: Mapping[str, str]) -> None:
        self._project_dir = project_dir
        self._environment = environment
        self._manifest: Manifest | None = None

    def parse(self, *, write: bool) -> Outcome:
        """Parse the project, or read what the last parse left where nothing changed.

        Args:
            write: Write `manifest.json` into the target folder.
        """
        flags = [] if write else ["--no-write-json"]
        outcome, result = self._invoke([*flags, "parse"], None)
        if outcome.success:
            self._manifest = result
        return outcome

    def build(self, arguments: Sequence[str], on_result: Callable[[Event], None]) -> Outcome:
        """Run `dbt build`.

        Args:
            arguments: What to build.
            on_result: Called for each model and test that has ended, one at a time, on whichever
                thread of dbt ran it.
        """
        if self._manifest is None:
            outcome = self.parse(write=False)
            if not outcome.success:
                return outcome
        # The manifest in the target folder is the one the assets were made of: not to be rewritten.
        return self._invoke(["--no-write-json", "build", *arguments], on_result)[0]

    def _invoke(
        self, arguments: list[str], on_result: Callable[[Event], None] | None
    ) -> tuple[Outcome, Any]:
        from dbt.cli.main import dbtRunner
        from dbt_common.events.base_types import EventMsg
        from dbt_common.events.functions import msg_to_dict

        one_at_a_time = Lock()

        def on_event(message: EventMsg) -> None:
            if on_result is not None and message.info.name in _RESULTS:
                with one_at_a_time:
                    on_result(msg_to_dict(message))

        # What a person reads of a run is made of its results: dbt need not write them down as well,
        # with the values that the engine quotes when one of them cannot be converted.
        flags = ["--log-level", "none", "--log-level-file", "none"]
        with surroundings(self._project_dir, self._environment):
            ended = dbtRunner(self._manifest, [on_event]).invoke([*flags, *arguments])
        if ended.exception is not None and not isinstance(ended.exception, Exception):
            raise ended.exception
        error = None if ended.exception is None else _to_the_point(str(ended.exception))
        return Outcome(ended.success, error, _model_errors(ended.result)), ended.result


@contextmanager
def surroundings(project_dir: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """What dbt expects to find; afterwards as before, and the warehouse closed.

    Args:
        project_dir: The project.
        environment: The variables dbt is run with.
    """
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with chdir(project_dir):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _close_warehouse()


def _model_errors(result: Any) -> dict[str, str]:
    """Why models could not be built, by name, in dbt's words.

    What the engine quotes in its messages may be a value of a person: it is left out.
    """
    return {
        ended.node.name: _without_values(ended.message)
        for ended in getattr(result, "results", None) or []
        if ended.status == "error" and ended.message
    }


def _without_values(message: str) -> str:
    if "Compilation Error" in message:  # of dbt itself, which has seen no data
        return _to_the_point(message)
    message = re.sub(r"'[^'\n]*'", "'...'", message)
    # Between double quotes stands a name, but in an error about data it is a value as well.
    return re.sub(r'"[^"\n]*"', '"..."', message) if _ABOUT_DATA.search(message) else message


def _to_the_point(message: str) -> str:
    """A compilation error without the macros that it passed through."""
    return _IN_A_MODEL.sub("", _CALLS.sub("", message)).rstrip()


def _close_warehouse() -> None:
    """Let go of the warehouse, which the adapter keeps open between models (`keep_open`)."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    environment = DuckDBConnectionManager._ENV
    if environment is not None:
        environment.close()
        DuckDBConnectionManager.close_all_connections()

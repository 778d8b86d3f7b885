"""Running one source by itself: `python -m ingestion.sources.<source> [--reload]`."""

import argparse
import sys
import uuid

from ingestion.pipelines import load_source
from ingestion.report import LoadReport
from klantbeeld.control import open_control
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.settings import load_settings
from klantbeeld.warehouse import Warehouse


def main(source: str) -> int:
    """Load one source under the run lock, and say what happened.

    Returns:
        The exit code, as of every `klantbeeld` command.
    """
    parser = argparse.ArgumentParser(prog=f"python -m ingestion.sources.{source}")
    parser.add_argument(
        "--reload", action="store_true", help="read everything again, as if nothing had been loaded"
    )
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        control = open_control(settings)
        with Warehouse(settings, control).run_lock(f"load {source}"):
            report = load_source(
                source,
                settings,
                control,
                run_id=f"alone-{uuid.uuid4().hex[:12]}",
                reload=arguments.reload,
            )
    except KlantbeeldError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(describe(report) + "\n")
    if report.status == "failed":
        return int(ExitCode.FAILED)
    return int(ExitCode.ATTENTION if report.needs_attention else ExitCode.OK)


def describe(report: LoadReport) -> str:
    """A report as a person reads it."""
    lines = [f"{report.status}: {report.message} ({report.seconds:.1f} s)"]
    if report.hint:
        lines.append(f"  {report.hint}")
    for name, counts in report.tables.items():
        lines.append(
            f"  {name}: {counts.rows_read:,} read = {counts.rows_loaded:,} loaded"
            f" + {counts.rows_unchanged:,} unchanged + {counts.rows_quarantined:,} quarantined"
            f" + {counts.rows_deduplicated:,} deduplicated; {counts.rows_deleted:,} deleted"
        )
    lines += [f"  note: {note}" for note in report.notes]
    return "\n".join(lines)

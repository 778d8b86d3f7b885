"""`klantbeeld link`: which rows of some files are one person."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from klantbeeld.countries import COUNTRY_CODES
from klantbeeld.errors import ExitCode

if TYPE_CHECKING:
    from klantbeeld.identity.files import FileLinkReport
    from klantbeeld.identity.files.columns import Columns
    from klantbeeld.identity.files.reading import InputFile

_MOST_LINES = 12


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Where the rows go: .parquet or .csv.",
)
@click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="What a column holds, if its name does not say; FIELD= leaves a field out. Repeatable.",
)
@click.option("--id", "id_column", metavar="COLUMN", help="The column that tells rows apart.")
@click.option(
    "--source", "source_column", metavar="COLUMN", help="The column that names a row's system."
)
@click.option("--train", is_flag=True, help="Fit a model to these files and use it.")
@click.option("--model", type=click.Path(path_type=Path), help="Use this model file.")
@click.option(
    "--truth", "truth_column", metavar="COLUMN", help="Measure against who is who in this column."
)
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write charts (and a fitted model) here."
)
@click.option("--pairs", type=click.Path(path_type=Path), help="Write the weighed pairs here.")
@click.option(
    "--country", metavar="CODE", help="Where people live if a row does not say, such as NL."
)
def link(
    inputs: tuple[Path, ...],
    out: Path,
    mapped: tuple[str, ...],
    country: str | None,
    **options: Any,
) -> ExitCode:
    """Find out which rows of CSV and Parquet files are one person.

    Writes every row with record_id, profile_id and match_probability. Needs no home and leaves
    nothing behind but what it is asked to write.
    """
    from klantbeeld.clock import Clock
    from klantbeeld.identity.files import FileLinkRequest, link_files
    from klantbeeld.identity.files.columns import parse_map
    from klantbeeld.settings import load_settings

    settings = load_settings()
    request = FileLinkRequest(
        inputs=inputs,
        out=out,
        mapped=parse_map(mapped),
        country=_country(country),
        default_country=settings.default_country,
        today=Clock(settings).business_date(),
        join_probability=settings.identity.join_probability,
        threads=settings.warehouse.threads,
        memory_limit=settings.warehouse.memory_limit,
        **options,
    )
    with _Progress() as progress:
        report = link_files(request, progress)
    for line in _summary(report, request.out):
        click.echo(line)
    return ExitCode.ATTENTION if report.rejected else ExitCode.OK


class _Progress:
    """A bar on a terminal, a line per step elsewhere; always on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> "_Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn

            self._bar = Progress(
                SpinnerColumn(),
                "{task.description}",
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, name: str, share: float) -> None:
        """Show that a step begins, or how far it is."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=name)
        elif name not in {self._name, "done"}:
            click.echo(f"{name} …", err=True)
        self._name = name

    def recognised(self, files: "Sequence[InputFile]", columns: "Sequence[Columns]") -> None:
        """Say what every column was taken for, before anything depends on it."""
        for line in _recognised(files, columns):
            # Above the bar, if there is one.
            self._bar.console.print(line, markup=False, highlight=False) if self._bar else (
                click.echo(line, err=True)
            )


def _country(code: str | None) -> str | None:
    if code is None:
        return None
    if code.upper() not in COUNTRY_CODES:
        raise click.UsageError(f"--country {code}: expected a country's ISO code, such as NL or GB")
    return code.upper()


def _recognised(files: "Sequence[InputFile]", columns: "Sequence[Columns]") -> Iterable[str]:
    for file, taken in zip(files, columns, strict=True):
        yield f"{file.path}: {_count(file.rows, 'row')}; {'; '.join(file.remarks)}"
        used: set[int] = set()
        for field, numbers in taken.fields.items():
            used.update(numbers)
            yield f"  {field:<20} {', '.join(file.columns[n] for n in numbers)}"
        for name, number in (
            ("(id)", taken.id_column),
            ("(source)", taken.source_column),
            ("(truth)", taken.truth_column),
        ):
            if number is not None:
                used.add(number)
                yield f"  {name:<20} {file.columns[number]}"
        rest = [name for number, name in enumerate(file.columns) if number not in used]
        if rest:
            shown = ", ".join(rest[:_MOST_LINES])
            more = f" and {len(rest) - _MOST_LINES:,} more" if len(rest) > _MOST_LINES else ""
            yield f"  {'not compared':<20} {shown}{more}"


def _summary(report: "FileLinkReport", out: Path) -> Iterable[str]:
    for remark in report.remarks:
        yield f"note      {remark}"
    for warning in report.warnings:
        yield f"warning   {warning}"
    yield f"rows      {report.rows:,}"
    yield f"profiles  {report.profiles:,} (largest: {_count(report.largest_profile, 'row')})"
    yield f"pairs     {report.pairs:,} weighed with model {report.model_version}"
    if report.copies:
        yield f"copies    {report.copies:,} rows equal another in everything that is compared"
    if report.suppressed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in report.suppressed.items())
        yield f"not used  values that identify nobody: {kinds}"
    if report.quality is not None:
        quality = report.quality
        yield (
            f"measured  precision {quality.pair_precision:.4f}, recall {quality.pair_recall:.4f}, "
            f"F1 {quality.pair_f1:.4f} of pairs"
        )
        yield (
            f"B-cubed   precision {quality.bcubed_precision:.4f}, "
            f"recall {quality.bcubed_recall:.4f}, F1 {quality.bcubed_f1:.4f} "
            f"({_count(quality.records, 'row')} with a truth)"
        )
    if report.rejected_file is not None:
        rows = _count(report.rejected, "row")
        yield f"rejected  {rows}, with line and reason: {report.rejected_file}"
    for chart in report.charts:
        yield f"report    {chart}"
    yield f"written   {out} in {report.seconds:,.1f} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

"""Linking the people of files: read, standardise, link as the pipeline does, write.

Here: the order of work, and results as rows of the files. Not here: how records are linked
(`identity.linking`), which is the pipeline's own code.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final, Protocol

import duckdb
import pyarrow as pa

from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.files import atomic_file, write_atomic
from klantbeeld.identity import charts, outcome, preparation, training
from klantbeeld.identity.evaluation import Quality, evaluate_clusters
from klantbeeld.identity.files.columns import Columns, recognise
from klantbeeld.identity.files.copies import set_copies_aside
from klantbeeld.identity.files.reading import InputFile, read_files
from klantbeeld.identity.files.standardising import (
    LINKAGE_RECORDS,
    holds_emails,
    standardise,
    write_birth_texts,
)
from klantbeeld.identity.frozen import PARAMETERS
from klantbeeld.identity.linking import link_people
from klantbeeld.identity.model import LinkageModel, default_model, load_model
from klantbeeld.identity.report import linkage_warnings
from klantbeeld.identity.suppression import suppress_values
from klantbeeld.settings import IdentitySettings

OUTPUTS: Final = (".parquet", ".csv")
RESULTS: Final = ("record_id", "profile_id", "match_probability")
# A pair of copies; the other keys are the names of blocking rules.
COPY_KEY: Final = "SAME_VALUES"
_STEPS: Final = ("reading", "standardising", "training", "linking", "charts", "writing")


@dataclass(frozen=True)
class FileLinkRequest:
    """What is to be linked and how.

    Attributes:
        inputs: CSV and Parquet files.
        out: Where the rows go, by its ending CSV or Parquet.
        mapped: Field -> columns, in place of what their names say.
        id_column: The column that tells rows apart; else a common one, else rows are numbered.
        source_column: The column that names the system a row comes from; else the file.
        truth_column: The column that tells who is who, to measure against.
        pairs: Where the weighed pairs go.
        report: The folder for charts and, after training, the model.
        train: Whether to fit a model to these files.
        model: A model file in place of the default model.
        country: Where people live if a row does not say; None to find out from the files.
        default_country: Where they live if nothing in the files tells.
        today: Decides which birth dates are possible.
        join_probability: Pairs at least this probable join rows.
        threads: Threads of the engine.
        memory_limit: Memory of the engine; beyond it, it uses temporary files.
    """

    inputs: Sequence[Path]
    out: Path
    mapped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    id_column: str | None = None
    source_column: str | None = None
    truth_column: str | None = None
    pairs: Path | None = None
    report: Path | None = None
    train: bool = False
    model: Path | None = None
    country: str | None = None
    default_country: str = "NL"
    today: date = field(default_factory=lambda: date.today())  # noqa: DTZ011
    join_probability: float = field(default_factory=lambda: IdentitySettings().join_probability)
    threads: int = 2
    memory_limit: str = "4GB"


@dataclass(frozen=True)
class FileLinkReport:
    """What came of it; counts and names of columns.

    Attributes:
        files: The files, as they were read.
        columns: What their columns were taken for.
        country: Where people without a country were taken to live.
        model_version: The model used.
        rows: Rows linked.
        profiles: Profiles they are in.
        largest_profile: Rows in the largest profile.
        copies: Rows that followed one that equals them in everything compared.
        pairs: Pairs weighed.
        suppressed: Values that identify nobody, per kind.
        rejected: Rows that do not fit their header.
        rejected_file: Where these rows are.
        quality: Figures against the truth, if there is one.
        charts: The charts.
        remarks: How values were read.
        warnings: What a person should look at.
        seconds: How long it took.
    """

    files: Sequence[InputFile]
    columns: Sequence[Columns]
    country: str
    model_version: str
    rows: int
    profiles: int
    largest_profile: int
    copies: int
    pairs: int
    suppressed: Mapping[str, int]
    rejected: int
    rejected_file: Path | None
    quality: Quality | None
    charts: Sequence[Path]
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float


class Listener(Protocol):
    """Whom to tell what goes on."""

    def step(self, name: str, share: float) -> None:
        """A step begins or goes on; the share is that of all work."""

    def recognised(self, files: Sequence[InputFile], columns: Sequence[Columns]) -> None:
        """What the columns were taken for, before anything is linked."""


class Silent:
    """Tells nobody."""

    def step(self, name: str, share: float) -> None:
        """Nothing."""

    def recognised(self, files: Sequence[InputFile], columns: Sequence[Columns]) -> None:
        """Nothing."""


def link_files(request: FileLinkRequest, listener: Listener | None = None) -> FileLinkReport:
    """Link the people of files and write every row with its profile.

    Raises:
        KlantbeeldError: A file, a column or an output cannot be used; the exit code is 2.
    """
    started = time.monotonic()
    _require_outputs(request)
    start = default_model() if request.model is None else _model_of(request.model)
    con = preparation.connect(request.threads, request.memory_limit)
    try:
        return _link(con, request, start, listener or Silent(), started)
    except duckdb.OutOfMemoryException:
        raise KlantbeeldError(
            f"the files do not fit in {request.memory_limit} of memory",
            "Allow more with KLANTBEELD_WAREHOUSE__MEMORY_LIMIT=8GB, or link them in parts.",
        ) from None
    finally:
        con.close()


def _link(
    con: duckdb.DuckDBPyConnection,
    request: FileLinkRequest,
    model: LinkageModel,
    listener: Listener,
    started: float,
) -> FileLinkReport:
    def begin(name: str, share: float = 0.0) -> None:
        listener.step(name, (_STEPS.index(name) + share) / len(_STEPS))

    begin("reading")
    files = read_files(con, list(request.inputs), lambda share: begin("reading", share))
    columns = recognise(
        files,
        request.mapped,
        request.id_column,
        request.source_column,
        request.truth_column,
        lambda file, number: holds_emails(con, file, number),
    )
    listener.recognised(files, columns)

    begin("standardising")
    standardised = standardise(
        con,
        files,
        columns,
        id_is_asked=request.id_column is not None,
        default_country=request.default_country,
        country=request.country,
        today=request.today,
    )
    copies = set_copies_aside(con)
    count = preparation.make_people(con, preparation.read_input(con, LINKAGE_RECORDS).read_all())
    con.execute(f"drop table {LINKAGE_RECORDS}")
    write_birth_texts(con)
    # The key is for digests in a list of values, which nobody keeps here.
    suppressed = suppress_values(con, b"")

    if request.train:
        begin("training")
        training.require_enough(count, ExitCode.USAGE)
        model = training.fit_people(con, model, count).model.with_version("fitted")
    begin("linking")
    linkage = link_people(con, model, count, request.join_probability)
    labels = linkage.clusters.labels
    _make_assigned_records(con, labels)
    outcome.make_pairs(con, labels, request.join_probability)
    outcome.make_profile_records(con, labels, model.version)
    _make_results(con)
    profiles, largest = _row(
        con,
        "with sizes as (select count(*) as n from results group by profile_id) "
        "select count(*), coalesce(max(n), 0) from sizes",
    )
    warnings = _relevant(con, linkage_warnings(con, model, linkage, count, largest))
    if not any(_CALLED & set(taken.fields) for taken in columns):
        warnings.append(
            "no column is known to hold a name: if one does, say which with"
            " --map full_name=COLUMN, or first_name and last_name"
        )
    if not any(set(taken.fields) - _NAMES for taken in columns):
        warnings.append(
            "the name is the only evidence: namesakes cannot be told apart. Give birth dates,"
            " e-mail addresses, telephone numbers or addresses too"
        )
    quality = None
    if request.truth_column is not None:
        quality = evaluate_clusters(
            con,
            "(select record_id, profile_id as cluster from results)",
            "(select record_id, truth as cluster from file_records where truth is not null)",
        )

    made: list[Path] = []
    if request.report is not None:
        begin("charts")
        made = charts.write_linkage_charts(con, request.report, model, count)
        if request.train:
            write_atomic(request.report / PARAMETERS, model.to_json() + "\n")
            made.append(request.report / PARAMETERS)

    begin("writing")
    remarks = list(standardised.remarks)
    remarks += _write_rows(con, request.out, files)
    if request.pairs is not None:
        _write(con, request.pairs, _PAIRS)
    rejected = sum(file.rejected for file in files)
    rejected_file = None
    if rejected:
        rejected_file = request.out.with_name(f"{request.out.stem}.rejected.csv")
        _write(con, rejected_file, "from rejected_rows")
    listener.step("done", 1.0)
    return FileLinkReport(
        files=files,
        columns=columns,
        country=standardised.country,
        model_version=model.version,
        rows=standardised.rows,
        profiles=profiles,
        largest_profile=largest,
        copies=copies,
        pairs=linkage.pairs,
        suppressed=suppressed,
        rejected=rejected,
        rejected_file=rejected_file,
        quality=quality,
        charts=made,
        remarks=tuple(remarks),
        warnings=tuple(dict.fromkeys(warnings)),
        seconds=round(time.monotonic() - started, 1),
    )


# Fields that say what somebody is called, or hold for half of all people or more.
_NAMES: Final = {
    "first_name",
    "middle_name",
    "initials",
    "infix",
    "last_name",
    "maiden_name",
    "full_name",
    "gender",
    "country",
}

# Fields without which nobody is told by name.
_CALLED: Final = {"first_name", "last_name", "full_name"}

# What a comparison needs, in columns of `people`.
_NEEDS: Final = {
    "middle_initials": "middle_initials",
    "birth_date": "birth_text",
    "email": "email",
    "phone": "coalesce(mobile, landline)",
    "address": "address_key",
    "gender": "gender",
}


def _relevant(con: duckdb.DuckDBPyConnection, warnings: Sequence[str]) -> list[str]:
    """Warnings but those about comparisons for which the files hold nothing at all."""
    counts = _row(
        con, f"select {', '.join(f'count({sql})' for sql in _NEEDS.values())} from people"
    )
    absent = [name for name, count in zip(_NEEDS, counts, strict=True) if count == 0]
    return [
        warning
        for warning in warnings
        if not any(f"{name} " in warning or f"{name}." in warning for name in absent)
    ]


def _make_assigned_records(con: duckdb.DuckDBPyConnection, labels: object) -> None:
    """`assigned_records`: a profile is called P and the number of its first row in the files."""
    con.register("labels", pa.table({"label": labels}))
    con.execute("""
        create or replace table assigned_records as
        with numbered as (select row_number() over () - 1 as id, label from labels),
        first_rows as (
            select same_as as record_id, min(file_records.row_number) as first_row
            from same_records
            inner join file_records using (record_id)
            group by same_as
        )
        select
            people.record_id,
            'P' || min(first_rows.first_row) over (partition by numbered.label) as profile_id
        from people
        inner join numbered using (id)
        inner join first_rows using (record_id)
    """)
    con.unregister("labels")


def _make_results(con: duckdb.DuckDBPyConnection) -> None:
    """`results`: row_number, record_id, profile_id, match_probability of every row."""
    con.execute("""
        create or replace table results as
        with with_copies as (
            select same_as, count(*) > 1 as has_copies from same_records group by same_as
        )
        select
            file_records.row_number,
            file_records.record_id,
            profile_records.profile_id,
            case when with_copies.has_copies then 1.0 else profile_records.match_probability end
                as match_probability
        from file_records
        inner join same_records using (record_id)
        inner join with_copies using (same_as)
        inner join profile_records on profile_records.record_id = same_records.same_as
    """)


_PAIRS: Final = f"""
    select * from (
        select record_id_l, record_id_r, match_weight, match_probability, match_key, decision
        from pairs
        union all
        select least(record_id, same_as), greatest(record_id, same_as), null, 1.0, '{COPY_KEY}',
            'joined'
        from same_records where record_id != same_as
    )
    order by record_id_l, record_id_r
"""


def _write_rows(con: duckdb.DuckDBPyConnection, out: Path, files: Sequence[InputFile]) -> list[str]:
    """Write every row of the files, in their order, under all its own columns."""
    remarks = []
    parts = []
    offset = 0
    taken = {name for file in files for name in map(str.lower, file.columns)}
    for file in files:
        selected = []
        for number, name in enumerate(file.columns):
            shown = name
            if name.lower() in RESULTS:
                shown = f"input_{name}"
                while shown.lower() in taken:
                    shown = f"input_{shown}"
                remarks.append(f"{file.path.name}: its own column {name} is written as {shown}")
            escaped = shown.replace('"', '""')
            selected.append(f'c{number} as "{escaped}"')
        parts.append(
            f"select row_number + {offset} as klantbeeld_row_number, {', '.join(selected)} "
            f"from {file.table}"
        )
        offset += file.rows
    _write(
        con,
        out,
        f"""
        select given.* exclude (klantbeeld_row_number),
            results.record_id, results.profile_id, results.match_probability
        from ({" union all by name ".join(parts)}) as given
        inner join results on results.row_number = given.klantbeeld_row_number
        order by results.row_number
        """,
    )
    return remarks


def _write(con: duckdb.DuckDBPyConnection, path: Path, query: str) -> None:
    """Write a query's rows to a file, which is whole or as it was."""
    form = "format parquet" if path.suffix.lower() == ".parquet" else "format csv, header true"
    try:
        with atomic_file(path) as temporary:
            target = str(temporary).replace("'", "''")
            con.execute(f"copy ({query}) to '{target}' ({form})")
    except OSError as error:
        raise KlantbeeldError(
            f"{path} cannot be written: {error.strerror}", "Name another place.", ExitCode.USAGE
        ) from None
    except (duckdb.BinderException, duckdb.ConversionException) as error:
        raise KlantbeeldError(
            f"the files hold different things under one name: {str(error).splitlines()[0]}",
            "Rename the column in one of them, or link them one by one.",
            ExitCode.USAGE,
        ) from None


def _require_outputs(request: FileLinkRequest) -> None:
    """Refuse outputs that cannot be written or would overwrite an input, before any work."""
    named = {"--out": request.out, "--pairs": request.pairs}
    outputs = {option: path for option, path in named.items() if path is not None}
    inputs = {path.resolve() for path in request.inputs}
    for option, path in outputs.items():
        if path.suffix.lower() not in OUTPUTS:
            raise KlantbeeldError(
                f"{option} {path}: its ending does not say what to write",
                "End it in .parquet or .csv.",
                ExitCode.USAGE,
            )
        if path.resolve() in inputs:
            raise KlantbeeldError(
                f"{option} {path} is also an input", "Name another file.", ExitCode.USAGE
            )
        if path.is_dir():
            raise KlantbeeldError(f"{option} {path} is a folder", "Name a file.", ExitCode.USAGE)
        _require_writable(option, path)
    if request.pairs is not None and request.pairs.resolve() == request.out.resolve():
        raise KlantbeeldError(
            "--out and --pairs are one file", "Name two different ones.", ExitCode.USAGE
        )
    if request.report is not None:
        if request.report.exists() and not request.report.is_dir():
            raise KlantbeeldError(
                f"--report {request.report} is a file", "Name a folder.", ExitCode.USAGE
            )
        inside = request.report / "charts"
        _require_writable("--report", inside if request.report.is_dir() else request.report)
    if len(inputs) < len(request.inputs):
        raise KlantbeeldError("a file is given twice", "Give every file once.", ExitCode.USAGE)


def _require_writable(option: str, path: Path) -> None:
    folder = path.parent
    if not folder.exists():
        raise KlantbeeldError(
            f"{option} {path}: the folder {folder} does not exist",
            "Make it, or name another place.",
            ExitCode.USAGE,
        )
    probe = folder / f".klantbeeld-{path.name}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise KlantbeeldError(
            f"{option} {path} cannot be written: {error.strerror}",
            "Name another place.",
            ExitCode.USAGE,
        ) from None


def _model_of(path: Path) -> LinkageModel:
    """A model file, or the parameters in the folder of a model version."""
    file = path / PARAMETERS if path.is_dir() else path
    if not file.exists():
        raise KlantbeeldError(
            f"--model {path} does not exist",
            "Give the model.json of a model version or of --report with --train.",
            ExitCode.USAGE,
        )
    try:
        return load_model(file)
    except KlantbeeldError as error:
        raise KlantbeeldError(error.message, error.hint, ExitCode.USAGE) from None
    except UnicodeDecodeError:
        raise KlantbeeldError(
            f"--model {path} is not a linkage model",
            "Give the model.json of a model version or of --report with --train.",
            ExitCode.USAGE,
        ) from None


def _row(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = con.execute(sql).fetchone()
    return tuple(int(value) for value in row) if row else ()

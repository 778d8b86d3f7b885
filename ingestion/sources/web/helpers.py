"""Reading click-stream files: one JSON object per line."""

from collections.abc import Iterator

from ingestion.intake import Intake, TableLoad
from ingestion.landing import LandedFile
from ingestion.lines import Lines, batches, read_lines


def read_files(intake: Intake, files: list[LandedFile], max_bytes: int, load: TableLoad) -> None:
    """Hand all lines of landed files to validation."""
    for batch in batches(_readable(intake, load, files, max_bytes)):
        load.rows.add_documents(batch.text, batch.files, batch.numbers, batch.raw)


def _readable(
    intake: Intake, load: TableLoad, files: list[LandedFile], max_bytes: int
) -> Iterator[tuple[LandedFile, Lines]]:
    for file in files:
        if file.size > max_bytes:
            why = f"oversized file: more than {max_bytes // 2**20} MB"
            load.rows.reject(file.name, why, payload=file.digest)
            intake.settle_file(load.table, file, 1, quarantined_because=why)
            continue
        try:
            lines = read_lines(file.path.read_bytes())
        except FileNotFoundError:
            # The retention of the landing folder removed it: what it held is no longer to be had.
            intake.settle_file(load.table, file, 0)
            continue
        intake.settle_file(load.table, file, len(lines.text))
        yield file, lines

"""Settings that sources have in common; each source's `settings.py` extends one of these."""

from pathlib import Path

from pydantic import Field, field_validator

from ingestion.contracts import NewColumns
from klantbeeld.settings import SourceSettings


class IngestSettings(SourceSettings):
    """What every source has.

    Attributes:
        new_columns: Per table, what happens to columns the contract does not know.
    """

    new_columns: dict[str, NewColumns] = Field(default_factory=dict)


class PulledSettings(IngestSettings):
    """A source that is asked for what changed since the last load.

    Attributes:
        lag_minutes: How far before the last change seen to ask again. It must exceed the longest
            transaction at the source: a row gets its `updated_at` before others can see it.
    """

    lag_minutes: int = Field(60, ge=0, le=60 * 24 * 31)


class FolderSettings(IngestSettings):
    """A source that drops files in a folder.

    Attributes:
        folder: The folder.
        settle_seconds: A file whose last line has no end is left alone until it has not changed
            for this long.
        max_file_megabytes: A larger file is quarantined unread.
    """

    folder: Path
    settle_seconds: float = Field(60, ge=0)
    max_file_megabytes: int = Field(512, ge=1)

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        folder = value.expanduser().absolute()
        # Such a path is read as a pattern when its files are listed, and would find none.
        if set("*?[") & set(str(folder)):
            raise ValueError("expected a folder without * ? or [ in its path")
        return folder

"""Settings of the tills: `[sources.pos]`."""

from ingestion.settings import FolderSettings


class PosSettings(FolderSettings):
    """The folder in which the tills drop their files, a subfolder per store."""

"""Settings of the click stream: `[sources.web]`."""

from ingestion.settings import FolderSettings


class WebSettings(FolderSettings):
    """The folder in which the collector of the web site writes its events, a file per day."""

"""Settings of the newsletter tool: `[sources.newsletter]`."""

from pydantic import Field, SecretStr

from ingestion.settings import PulledSettings


class NewsletterSettings(PulledSettings):
    """Where its API is.

    Attributes:
        base_url: Its address, without `/v1`.
        token: The bearer token; belongs in secrets.toml.
        page_rows: Rows per answer.
    """

    base_url: str = Field(pattern=r"^https?://", description="an address that begins with https://")
    token: SecretStr = SecretStr("")
    page_rows: int = Field(2_000, ge=1, le=5_000)

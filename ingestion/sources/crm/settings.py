"""Settings of the CRM as a source: `[sources.crm]`."""

from pydantic import Field, SecretStr

from ingestion.settings import IngestSettings


class CrmSettings(IngestSettings):
    """Where its Web API is.

    Attributes:
        base_url: Its address up to and including the version, such as
            `https://org.crm4.dynamics.com/api/data/v9.2/`.
        token_url: Where tokens come from; `/token` at the same host by default.
        client_id: The application user.
        client_secret: Its secret; belongs in secrets.toml.
        page_rows: Rows per answer.
        delta_hours: Without changes, a delta link is renewed only after this long: it has to be
        younger
            than the CRM's own limit (7 days), and renewing it is a load.
    """

    base_url: str = Field(pattern=r"^https?://", description="an address that begins with https://")
    token_url: str | None = None
    client_id: str
    client_secret: SecretStr = SecretStr("")
    page_rows: int = Field(2_000, ge=1, le=5_000)
    delta_hours: int = Field(24, ge=1, le=24 * 6)

"""Settings of the web shop's database: `[sources.shop]`."""

from pydantic import Field, SecretStr

from ingestion.settings import PulledSettings


class ShopSettings(PulledSettings):
    """Where the shop's PostgreSQL is, and as whom it is read.

    Attributes:
        host: A host name, or the folder of its socket.
        port: Its port; for a socket it is part of the socket's name.
        database: The database.
        database_schema: The schema in it.
        user: A role that may read, and nothing else.
        password: Its password; belongs in secrets.toml.
        statement_seconds: The longest that one query may take.
    """

    host: str
    port: int = Field(5432, ge=1, le=65535)
    database: str
    database_schema: str = "public"
    user: str
    password: SecretStr = SecretStr("")
    statement_seconds: int = Field(1800, ge=1)

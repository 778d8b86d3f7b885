"""Where files are left: a folder, a folder on an SFTP server, a bucket that speaks S3.

Belongs here: putting a whole file in place, so that whoever looks finds all of it or nothing, and
taking it away again. What is in a file belongs to `files` and `hashed_audience`, when one is
written to `exports`.

    file in the home -> `.<name>.partial` there -> flushed -> renamed      folder, SFTP
                     -> one PUT, which a bucket takes whole or not at all   S3
"""

from __future__ import annotations

import asyncio
import html
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from klantbeeld.errors import KlantbeeldError
from klantbeeld.files import PRIVATE_FILE, private_dir, sync_dir
from klantbeeld.http import AuthenticationFailed, TransportError, connect, session
from klantbeeld.settings import DestinationSettings, Settings

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_PARTIAL = ".{}.partial"
_LARGEST_PUT = 5 * 1024**3  # what S3 takes in one request
_SILENCE_SECONDS = 30


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SftpSettings(_Section):
    """A folder on an SFTP server.

    Attributes:
        host: The server.
        port: Its port.
        user: As whom to log in, with a password or a key.
        folder: The folder, which must be there.
        host_keys: The server's public keys, as `ssh-keyscan` prints them behind its name; two
            while one is being replaced. A server with another key is not spoken to.
        password: Belongs in secrets.toml.
        private_key_file: A key without passphrase, readable by its owner alone.
    """

    host: str
    port: int = Field(22, ge=1, le=65535)
    user: str
    folder: str = "."
    host_keys: tuple[str, ...] = Field(min_length=1)
    password: SecretStr | None = None
    private_key_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_login(self) -> SftpSettings:
        if (self.password is None) == (self.private_key_file is None):
            raise ValueError("expected either password or private_key_file")
        return self


class S3Settings(_Section):
    """A bucket of Amazon S3, or of anything that speaks its protocol.

    Attributes:
        bucket: The bucket.
        prefix: What names of files begin with, such as `inbox/`.
        region: The region; many services other than Amazon's take any.
        endpoint: The address of the service; that of the region at Amazon if it is not set.
        access_key_id: Who asks; the secret belongs in secrets.toml.
        secret_access_key: Signs every request and never travels.
    """

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str | None = Field(None, pattern=r"^https?://")
    access_key_id: str
    secret_access_key: SecretStr


class PlaceSettings(DestinationSettings):
    """What every destination that takes files has: one of three places."""

    folder: Path | None = None
    sftp: SftpSettings | None = None
    s3: S3Settings | None = None

    @model_validator(mode="after")
    def _is_one_place(self) -> PlaceSettings:
        if sum(place is not None for place in (self.folder, self.sftp, self.s3)) != 1:
            raise ValueError("expected exactly one of folder, sftp or s3")
        return self


class Store(Protocol):
    """A place for files.

    Attributes:
        address: What it is called in records of what was left there.
    """

    address: str

    def names(self) -> list[str]:
        """The names of the files that are there, hidden ones too."""
        ...

    def put(self, source: Path, name: str) -> None:
        """Copy a file there under a name, as a whole or not at all; one of that name is replaced.

        Raises:
            KlantbeeldError: The place cannot be reached or does not take it.
            OSError: The folder cannot be written.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...


def open_store(settings: Settings, place: PlaceSettings) -> Store:
    """The place that a destination's settings name."""
    if place.folder is not None:
        return Folder(place.folder)
    if place.sftp is not None:
        return Sftp(settings, place.sftp)
    if place.s3 is not None:
        return Bucket(settings, place.s3)
    raise KlantbeeldError("a destination for files names no place")


class Folder:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = str(folder.absolute())

    def names(self) -> list[str]:
        """See `Store.names`."""
        return [path.name for path in private_dir(self._folder).iterdir() if path.is_file()]

    def put(self, source: Path, name: str) -> None:
        """See `Store.put`."""
        partial = private_dir(self._folder) / _PARTIAL.format(name)
        try:
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
            shutil.copyfile(source, partial)
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(self._folder / name)
            sync_dir(self._folder)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        (self._folder / name).unlink(missing_ok=True)


class Sftp:
    """A folder on an SFTP server whose key is known."""

    def __init__(self, settings: Settings, own: SftpSettings) -> None:
        try:
            import asyncssh
        except ImportError:
            raise KlantbeeldError(
                "SFTP needs a library that is not installed", "pip install 'klantbeeld[sftp]'"
            ) from None
        # It names files and users at its usual level.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        self._settings = settings
        self._own = own
        self._keys = [_public_key(text) for text in own.host_keys]
        self._secret: dict[str, Any] = (
            {"client_keys": [str(own.private_key_file)], "preferred_auth": "publickey"}
            if own.password is None
            else {"password": own.password.get_secret_value(), "preferred_auth": "password"}
        )
        self._errors: Any = (asyncssh.Error, OSError, EOFError)
        self.address = f"sftp://{own.host}:{own.port}/{own.folder.lstrip('/')}"

    def names(self) -> list[str]:
        """See `Store.names`."""

        async def names(there: asyncssh.SFTPClient) -> list[str]:
            found = await there.listdir(self._own.folder)
            return [str(name) for name in found if name not in (".", "..")]

        return self._with(names)

    def put(self, source: Path, name: str) -> None:
        """See `Store.put`."""
        partial, target = self._path(_PARTIAL.format(name)), self._path(name)

        async def put(there: asyncssh.SFTPClient) -> None:
            await there.put(str(source), partial)
            if await there.getsize(partial) != source.stat().st_size:
                raise TransportError(
                    f"{self._own.host} did not take the whole file.", was_sent=True
                )
            await there.posix_rename(partial, target)

        self._with(put)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""

        async def remove(there: asyncssh.SFTPClient) -> None:
            if await there.exists(self._path(name)):
                await there.remove(self._path(name))

        self._with(remove)

    def _path(self, name: str) -> str:
        return f"{self._own.folder.rstrip('/')}/{name}"

    def _with(self, work: Callable[[asyncssh.SFTPClient], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            async with self._client() as client:
                return await work(client)

        return asyncio.run(run())

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[asyncssh.SFTPClient]:
        import asyncssh

        own = self._own
        opened = connect(self._settings, own.host, own.port)
        opened.setblocking(False)
        try:
            async with (
                asyncssh.connect(
                    own.host,
                    own.port,
                    sock=opened,
                    username=own.user,
                    known_hosts=(self._keys, [], []),
                    agent_path=None,
                    config=None,
                    login_timeout=_SILENCE_SECONDS,
                    keepalive_interval=_SILENCE_SECONDS / 3,
                    keepalive_count_max=3,
                    **self._secret,
                ) as connection,
                connection.start_sftp_client() as client,
            ):
                yield client
        except KlantbeeldError:
            raise  # one of ours is an OSError too
        except asyncssh.HostKeyNotVerifiable:
            raise TransportError(
                f"{own.host} shows another key than the ones in the settings.",
                hint="Nothing was sent. Ask its owner for the key, and set host_keys.",
                was_sent=False,
            ) from None
        except asyncssh.PermissionDenied:
            raise AuthenticationFailed(
                f"{own.host} does not accept {own.user}.", hint="Check user, password and key."
            ) from None
        except self._errors as error:
            raise TransportError(
                f"SFTP with {own.host} failed ({type(error).__name__}).",
                hint="Check that the folder is there and may be written; the next run tries again.",
                was_sent=True,
            ) from None


class Bucket:
    """A bucket that speaks S3, by signed requests of the product's own HTTP session."""

    def __init__(self, settings: Settings, own: S3Settings) -> None:
        endpoint = own.endpoint or f"https://s3.{own.region}.amazonaws.com"
        self._own = own
        self._bucket = f"{endpoint.rstrip('/')}/{own.bucket}"
        self._http = session(settings, base_url=endpoint, total_timeout=3_600)
        self.address = f"s3://{urlsplit(endpoint).netloc}/{own.bucket}/{own.prefix}".rstrip("/")

    def names(self) -> list[str]:
        """See `Store.names`."""
        found: list[str] = []
        query = {"list-type": "2", "prefix": self._own.prefix, "encoding-type": "url"}
        while True:
            text = self._ask("GET", f"{self._bucket}?{urlencode(query, quote_via=quote)}").text
            # Two elements are wanted, and a parser of XML would follow whatever the text declares.
            found += re.findall(r"<Key>([^<]*)</Key>", text)
            token = re.search(r"<NextContinuationToken>([^<]*)<", text)
            if token is None:
                break
            query["continuation-token"] = html.unescape(token[1])
        names = (unquote(html.unescape(key)).removeprefix(self._own.prefix) for key in found)
        return [name for name in names if name and "/" not in name]

    def put(self, source: Path, name: str) -> None:
        """See `Store.put`."""
        if source.stat().st_size > _LARGEST_PUT:
            raise KlantbeeldError(
                f"{name} is larger than 5 GB, which S3 takes at once",
                "Send fewer columns, or make two audiences of it.",
            )
        with source.open("rb") as stream:
            self._ask("PUT", self._url(name), stream)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        self._ask("DELETE", self._url(name))

    def _url(self, name: str) -> str:
        return f"{self._bucket}/{quote(self._own.prefix + name, safe='/~')}"

    def _ask(self, method: str, url: str, body: Any = None) -> requests.Response:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        own = self._own
        signed = AWSRequest(method=method, url=url, data=body)
        credentials = Credentials(own.access_key_id, own.secret_access_key.get_secret_value())
        S3SigV4Auth(credentials, "s3", own.region).add_auth(signed)
        response = self._http.request(method, url, data=body, headers=dict(signed.headers))
        if not (method == "DELETE" and response.status_code == 404):
            response.raise_for_status()
        return response


def _public_key(text: str) -> asyncssh.SSHKey:
    import asyncssh

    try:
        return asyncssh.import_public_key(text)
    except asyncssh.KeyImportError:
        raise KlantbeeldError(
            "a host key in the settings is none",
            "Expected as `ssh-keyscan` prints it behind the name: `ssh-ed25519 AAAA…`.",
        ) from None

"""The settings of a home that works on the demo world: `klantbeeld.toml` and `secrets.toml`.

A file that somebody wrote or changed by hand is left alone: the first line carries a digest of what
was written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from demo.shop.server import READER
from demo.shop.store import DATABASE
from demo.state import Folder, World
from klantbeeld.files import private_dir, write_atomic
from klantbeeld.settings import Settings

CRM_CLIENT = "klantbeeld"
_MARK = "# Written by `klantbeeld demo start`, and again as long as nobody changes it. Digest: "

Section = dict[str, str | int | bool]


def crm_url(world: World) -> str:
    """Where the CRM's API is."""
    return f"http://127.0.0.1:{world.ports['crm']}/api/data/v9.2/"


def newsletter_url(world: World) -> str:
    """Where the newsletter tool is."""
    return f"http://127.0.0.1:{world.ports['newsletter']}/"


def write_settings(
    settings: Settings, folder: Folder, world: World, socket_folder: Path
) -> list[Path]:
    """Write both files; gives those that were left alone because somebody else wrote them."""
    crm_secret = folder.secret("crm_client_secret").read_text()
    public: dict[str, Section] = {
        "": {
            "environment": "demo",
            "time_zone": "Europe/Amsterdam",
            "default_country": "NL",
            "as_of_file": str(folder.clock),
            "allow_private_addresses": True,
        },
        "demo": {
            "persons": world.persons,
            "seed": world.seed,
            "dir": str(folder.root),
            "crm_port": world.ports["crm"],
            "newsletter_port": world.ports["newsletter"],
        },
        "identity": {"truth_file": str(folder.truth)},
        "sources.crm": {"base_url": crm_url(world), "client_id": CRM_CLIENT},
        "sources.shop": {"host": str(socket_folder), "database": DATABASE, "user": READER},
        "sources.pos": {"folder": str(folder.pos)},
        "sources.newsletter": {"base_url": newsletter_url(world)},
        "sources.web": {"folder": str(folder.web)},
        "destinations.crm": {
            "kind": "dataverse",
            "environment": "demo",
            "base_url": crm_url(world),
            "client_id": CRM_CLIENT,
        },
        "destinations.newsletter": _drop("files", folder.inboxes["newsletter"]),
        "destinations.print_house": _drop("files", folder.inboxes["print_house"]),
        "destinations.advertising": _drop("hashed_audience", folder.inboxes["advertising"]),
    }
    private: dict[str, Section] = {
        "sources.crm": {"client_secret": crm_secret},
        "sources.shop": {"password": folder.secret("shop_password").read_text()},
        "sources.newsletter": {"token": folder.secret("newsletter_token").read_text()},
        "destinations.crm": {"client_secret": crm_secret},
    }
    home = settings.paths
    private_dir(home.home)
    kept = []
    for path, content in ((home.config, public), (home.secrets, private)):
        if not _write(path, _toml(content)):
            kept.append(path)
    return kept


def _drop(kind: str, folder: Path) -> Section:
    return {"kind": kind, "environment": "demo", "folder": str(folder)}


def _toml(content: dict[str, Section]) -> str:
    blocks = []
    for name, section in content.items():
        lines = [f"[{name}]"] if name else []
        # A JSON string, number or truth value is one of TOML too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _write(path: Path, body: str) -> bool:
    if path.exists():
        first, _, rest = path.read_text().partition("\n")
        if not first.startswith(_MARK) or first.removeprefix(_MARK) != _digest(rest):
            return False
    write_atomic(path, f"{_MARK}{_digest(body)}\n{body}")
    return True


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]

"""Where a sync's rows go, so that its ledger is never taken for what another place holds.

Belongs here: what makes two places one, and what follows when the settings or the model name
another. What the ledger remembers of it is in `ledger`, comparing in `reconcile`.

    settings + sync -> Place -> same? -> go on
                             -> other address: the ledger is compared with what is there first
                             -> other rows (kind, entity, key): refused
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from klantbeeld.activation.ledger import Ledger
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash
from klantbeeld.settings import Settings

# What says where a system is, of whatever kind: never a credential.
_ADDRESS = ("base_url", "url", "host", "port", "database")


@dataclass(frozen=True)
class Place:
    """Where rows go.

    Attributes:
        rows: Kind, entity and key, such as `rest members by external_id`.
        address: Keyed hash of where the system is: an address may hold a secret.
    """

    rows: str
    address: str


def place_of(settings: Settings, spec: SyncSpec) -> Place:
    """Where the rows of a sync go by the settings."""
    values = settings.destinations.get(spec.destination, {})
    parts = [_without_login(str(values[name])) for name in _ADDRESS if name in values]
    return Place(
        f"{values.get('kind')} {spec.entity} by {spec.key_column}",
        keyed_hash(" ".join(parts), settings.home_key()),
    )


def refuse_other_rows(spec: SyncSpec, place: Place, ledger: Ledger) -> None:
    """Refuse a sync whose ledger is of other rows than those it is to write now.

    Raises:
        KlantbeeldError: It is; what was acknowledged there says nothing about here, and what has to
            be taken away there would be taken away here.
    """
    known = _known(ledger)
    if known is None or known.rows == place.rows or ledger.is_empty():
        return
    raise KlantbeeldError(
        f"{spec.name}: its rows went to {known.rows} until now, and would go to {place.rows}: what"
        " is known of them is not known of that; nothing was sent",
        "Give the sync another name, which begins anew and leaves the rows where they are, or put"
        " back what was changed.",
    )


def is_moved(place: Place, ledger: Ledger) -> bool:
    """Whether the same rows are said to be at another address than they were."""
    known = _known(ledger)
    return known is not None and known.address != place.address


def keep(place: Place, ledger: Ledger) -> None:
    """Remember where the rows go; a ledger of another address is compared before it is believed."""
    known = _known(ledger)
    if known == place:
        return
    if known is not None and known.address != place.address:
        ledger.distrust()
    ledger.keep_place(json.dumps(asdict(place)))


def _known(ledger: Ledger) -> Place | None:
    text = ledger.place()
    return None if text is None else Place(**json.loads(text))


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    _, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl().rstrip("/")

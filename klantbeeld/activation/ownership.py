"""Whose value stands when both sides may write a field.

Belongs here: the decision for one field, from three values: what we last wrote, what is there now,
and what is wanted now. Reading them is `delivery`'s and `reconcile`'s.

    last written (keyed digest), there now, wanted, whose the column is -> write or keep, conflict

What is there and equals what we last wrote is an echo of our own write: nobody changed it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from klantbeeld.activation.ledger import DIGEST_LENGTH
from klantbeeld.activation.specs import Owner


@dataclass(frozen=True)
class Field:
    """One field of one row, as far as it is known.

    Attributes:
        wanted: What the model wants, in the destination's terms; None is empty.
        there: What the destination holds, in the same terms.
        was_written: What we last wrote, as digest; None if we never did.
        digest_wanted: Digest of `wanted`.
        digest_there: Digest of `there`.
        ours_at: When the model's row last changed, if the sync says.
        theirs_at: When the destination's row last changed, if the sync says.
    """

    wanted: str | None
    there: str | None
    was_written: str | None
    digest_wanted: str
    digest_there: str
    ours_at: str | None = None
    theirs_at: str | None = None


@dataclass(frozen=True)
class Decision:
    """What is done about a field.

    Attributes:
        write: Whether our value is written.
        conflict: Whose value stands, if both sides changed the field since we last wrote it.
    """

    write: bool
    conflict: str | None = None


_WRITE = Decision(write=True)
_KEEP = Decision(write=False)


def field_digest(home_key: bytes, key: str, column: str, text: str | None) -> str:
    """The digest by which the ledger knows what was written to a field of a row."""
    value = "n" if text is None else f"v{text}"
    message = f"{len(key)}|{key}|{column}|{value}".encode()
    return hashlib.blake2b(message, key=home_key, digest_size=DIGEST_LENGTH // 2).hexdigest()


def decide(owner: Owner, field: Field) -> Decision:
    """Whether to write a field of a row that is there."""
    if field.wanted == field.there:
        return _KEEP
    is_echo = field.was_written == field.digest_there
    was_changed_there = field.was_written is not None and not is_echo
    match owner:
        case "ours":
            return Decision(write=True, conflict="ours" if was_changed_there else None)
        case "theirs":
            return _KEEP
        case "fill_empty":
            if field.there is None or is_echo:
                return _WRITE
            return Decision(write=False, conflict="theirs" if was_changed_there else None)
        case "newest":
            if is_echo or (field.there is None and field.was_written is None):
                return _WRITE
            if field.was_written == field.digest_wanted:
                return _KEEP  # only they changed it
            if field.ours_at and field.theirs_at and field.ours_at > field.theirs_at:
                return Decision(write=True, conflict="ours")
            return Decision(write=False, conflict="theirs")

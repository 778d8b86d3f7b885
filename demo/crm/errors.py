"""Refusals of the CRM, with Dataverse's status, code and wording."""

from __future__ import annotations

from collections.abc import Mapping


class CrmError(Exception):
    """A request that the CRM refuses.

    Args:
        status: HTTP status.
        code: Dataverse's error code, such as `0x80040217`.
        message: For the developer who called; may repeat what the request held.
        headers: Extra response headers.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON body that goes with it."""
        return {"error": {"code": self.code, "message": self.message}}


def bad_query(message: str) -> CrmError:
    """400: an address or query option that cannot be understood."""
    return CrmError(400, "0x80060888", message)


def no_such_property(name: str, logical_name: str) -> CrmError:
    """400: a query names a column that the table does not have."""
    return CrmError(
        400,
        "0x0",
        f"Could not find a property named '{name}' on type"
        f" 'Microsoft.Dynamics.CRM.{logical_name}'.",
    )


def bad_payload(set_name: str, reason: str) -> CrmError:
    """400: a body that does not fit the table."""
    return CrmError(
        400,
        "0x80048d19",
        "Error identified in Payload provided by the user for Entity"
        f" :'{set_name}', inner exception: {reason}",
    )


def no_such_row(logical_name: str, row_id: str) -> CrmError:
    """404: no row with this primary key."""
    return CrmError(404, "0x80040217", f"{logical_name} With Id = {row_id} Does Not Exist")


def no_such_key(logical_name: str) -> CrmError:
    """404: no row with this alternate key."""
    return CrmError(
        404,
        "0x80060891",
        f"A record with the specified key values does not exist in {logical_name} entity",
    )


def no_such_resource(segment: str) -> CrmError:
    """404: a path that leads nowhere."""
    return CrmError(404, "0x8006088a", f"Resource not found for the segment '{segment}'.")


def row_exists() -> CrmError:
    """412: `If-None-Match: *` on a row that is there, or an id that is taken."""
    return CrmError(412, "0x80040237", "A record with matching key values already exists.")


def key_exists(column: str) -> CrmError:
    """412: another row has this value of an alternate key."""
    return CrmError(
        412,
        "0x80060892",
        f"Entity Key violated. A record with the same value for {column} already exists."
        " A duplicate record cannot be created.",
    )


def version_mismatch() -> CrmError:
    """412: `If-Match` with the version of an older state."""
    return CrmError(
        412,
        "0x80060882",
        "The version of the existing record doesn't match the RowVersion property provided.",
    )


def no_privilege(name: str, privilege_id: str) -> CrmError:
    """403: the user's roles do not allow it."""
    return CrmError(
        403,
        "0x80040220",
        f"Principal user is missing {name} privilege (Id={privilege_id}).",
    )


def delta_expired() -> CrmError:
    """400: a delta link that is older than the CRM remembers."""
    return CrmError(
        400,
        "0x80044352",
        "Version stamp associated with the client has expired. Please perform a full sync.",
    )

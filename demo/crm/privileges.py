"""What the one client may do: everything, less the privileges that the CRM was told to withhold.

Belongs here: the privileges of a table as Dataverse names and lists them, and the refusal of who
lacks one. How far a privilege reaches (its depth) is not kept: each is for all rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import NAMESPACE_URL, uuid5

from demo.crm.errors import no_privilege
from demo.crm.schema import ENTITIES, Entity

KINDS = ("Create", "Read", "Write", "Delete", "Assign", "Share", "Append", "AppendTo")

Json = Mapping[str, object]


def privilege_name(entity: Entity, kind: str) -> str:
    """The name of a privilege, such as `prvReadcontact`."""
    return f"prv{kind}{entity.logical_name}"


def privilege_id(name: str) -> str:
    """The id of a privilege, the same in every CRM."""
    return str(uuid5(NAMESPACE_URL, f"privilege/{name}"))


def of_table(entity: Entity) -> list[Json]:
    """The privileges that there are for a table, as its definition lists them."""
    return [
        {
            "CanBeBasic": False,
            "CanBeDeep": False,
            "CanBeEntityReference": False,
            "CanBeGlobal": True,
            "CanBeLocal": False,
            "CanBeParentEntityReference": False,
            "Name": privilege_name(entity, kind),
            "PrivilegeId": privilege_id(privilege_name(entity, kind)),
            "PrivilegeType": kind,
        }
        for kind in KINDS
    ]


class Privileges:
    """What the client may do.

    Args:
        withheld: Names of privileges that it lacks.
    """

    def __init__(self, withheld: Collection[str] = ()) -> None:
        self._withheld = frozenset(withheld)

    def held(self, business_unit: str) -> list[Json]:
        """What it has, as `RetrieveUserPrivileges` answers."""
        return [
            {
                "Depth": "Global",
                "PrivilegeId": privilege_id(name),
                "BusinessUnitId": business_unit,
                "PrivilegeName": name,
            }
            for name in names()
            if name not in self._withheld
        ]

    def require(self, entity: Entity, kind: str) -> None:
        """Let who has the privilege pass.

        Raises:
            CrmError: 403, when it is withheld.
        """
        name = privilege_name(entity, kind)
        if name in self._withheld:
            raise no_privilege(name, privilege_id(name))


def names() -> list[str]:
    """Every privilege that there is."""
    return [privilege_name(entity, kind) for entity in ENTITIES for kind in KINDS]

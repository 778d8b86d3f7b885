"""What has lasting ids: profiles, companies and households, each with a prefix and a ledger.

Here: what tells them apart. Not here: how ids are given and made official, which is the same for
all of them (`profile_ids`), nor which records are one company or which profiles one household.
"""

from dataclasses import dataclass
from typing import Final

from klantbeeld.control import tables


@dataclass(frozen=True)
class IdSpace:
    """The ids of one kind of thing.

    Attributes:
        name: What an id stands for: `profile`, `company`, `household`.
        prefix: The first letter of its ids.
        member: The column that names what it is made of.
        members_table: The table of schema `identity` that says which member belongs to which id.
        report_table: The table of schema `identity` that says what those ids were made from.
        ledger: Its tables in the control plane.
        state_key: Where the control plane keeps the state of the ledger.
    """

    name: str
    prefix: str
    member: str
    members_table: str
    report_table: str
    ledger: tables.IdLedger
    state_key: str

    @property
    def id_column(self) -> str:
        """The column that holds its ids."""
        return f"{self.name}_id"


PROFILES: Final = IdSpace(
    name="profile",
    prefix="P",
    member="record_id",
    members_table="profile_records",
    report_table="linkage_report",
    ledger=tables.PROFILE_LEDGER,
    state_key="identity_state",
)
COMPANIES: Final = IdSpace(
    name="company",
    prefix="C",
    member="record_id",
    members_table="company_records",
    report_table="company_report",
    ledger=tables.COMPANY_LEDGER,
    state_key="company_state",
)
HOUSEHOLDS: Final = IdSpace(
    name="household",
    prefix="H",
    member="profile_id",
    members_table="household_profiles",
    report_table="household_report",
    ledger=tables.HOUSEHOLD_LEDGER,
    state_key="household_state",
)
ID_SPACES: Final = (PROFILES, COMPANIES, HOUSEHOLDS)

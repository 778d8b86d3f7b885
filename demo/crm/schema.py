"""The CRM's tables, declared once.

Validation, the SQLite tables, `$metadata`, the option labels and the pages all read these
declarations; nothing else in the CRM knows a column by name except where a page lays out a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Kind(Enum):
    """What a column holds: its type in Dataverse's metadata, in OData and in SQLite."""

    GUID = ("Uniqueidentifier", "Edm.Guid", "TEXT")
    TEXT = ("String", "Edm.String", "TEXT")
    OPTION = ("Picklist", "Edm.Int32", "INTEGER")
    STATE = ("State", "Edm.Int32", "INTEGER")
    STATUS = ("Status", "Edm.Int32", "INTEGER")
    BOOLEAN = ("Boolean", "Edm.Boolean", "INTEGER")
    INTEGER = ("Integer", "Edm.Int32", "INTEGER")
    BIGINT = ("BigInt", "Edm.Int64", "INTEGER")
    DECIMAL = ("Decimal", "Edm.Decimal", "REAL")
    DATE = ("DateTime", "Edm.Date", "TEXT")
    DATETIME = ("DateTime", "Edm.DateTimeOffset", "TEXT")
    LOOKUP = ("Lookup", "Edm.Guid", "TEXT")

    def __init__(self, attribute_type: str, edm_type: str, sql_type: str) -> None:
        self.attribute_type = attribute_type
        self.edm_type = edm_type
        self.sql_type = sql_type

    @property
    def has_options(self) -> bool:
        """Whether the column's values are integers with a label each."""
        return self in (Kind.OPTION, Kind.STATE, Kind.STATUS)


@dataclass(frozen=True)
class Option:
    """One value of an option set and the label people see."""

    value: int
    label: str


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: The logical name, which is also the column's name in SQLite.
        kind: What it holds.
        label: What people see.
        max_length: Longest text, for `Kind.TEXT`.
        options: The option set, for the kinds that have one.
        target: Logical name of the table a lookup points to.
        navigation: The navigation property that a lookup is written by (`<navigation>@odata.bind`).
        minimum: Smallest number.
        maximum: Largest number.
        precision: Digits after the decimal point; what is written is rounded to it.
        default: Value of a new row that does not give one.
        is_required: Whether a new row must have it.
        is_read_only: Kept by the CRM itself; a value in a request is ignored, as Dataverse does.
    """

    name: str
    kind: Kind
    label: str
    max_length: int = 100
    options: tuple[Option, ...] = ()
    target: str = ""
    navigation: str = ""
    minimum: int = -2_147_483_648
    maximum: int = 2_147_483_647
    precision: int = 2
    default: int | None = None
    is_required: bool = False
    is_read_only: bool = False

    @property
    def property_name(self) -> str:
        """The name by which the column is read: a lookup's is `_<name>_value`."""
        return f"_{self.name}_value" if self.kind is Kind.LOOKUP else self.name

    @cached_property
    def labels(self) -> dict[int, str]:
        """Label by option value."""
        return {option.value: option.label for option in self.options}


@dataclass(frozen=True)
class Entity:
    """One table of the CRM.

    Attributes:
        logical_name: Singular name, as in `EntityDefinitions(LogicalName='contact')`.
        set_name: Plural name, as in the address and in SQLite.
        label: What people call one row.
        labels: What people call the table.
        primary_name: The column that names a row for people.
        columns: Every column but the row's version; the first is the primary key.
        alternate_key: A column whose values are unique and can address a row as well.
    """

    logical_name: str
    set_name: str
    label: str
    labels: str
    primary_name: str
    columns: tuple[Column, ...]
    alternate_key: str = ""

    @property
    def primary_id(self) -> str:
        """Name of the primary key column."""
        return self.columns[0].name

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by logical name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def by_property(self) -> dict[str, Column]:
        """Columns by the name under which they are read, the row's version included."""
        return {column.property_name: column for column in (*self.columns, VERSION_NUMBER)}

    @cached_property
    def by_navigation(self) -> dict[str, Column]:
        """Lookup columns by navigation property."""
        return {column.navigation: column for column in self.lookups}

    @cached_property
    def lookups(self) -> tuple[Column, ...]:
        """The lookup columns."""
        return tuple(column for column in self.columns if column.kind is Kind.LOOKUP)


def _id(name: str, label: str) -> Column:
    return Column(name, Kind.GUID, label, is_required=True)


def _text(name: str, label: str, max_length: int) -> Column:
    return Column(name, Kind.TEXT, label, max_length=max_length)


def _options(
    name: str,
    label: str,
    labels: dict[int, str],
    kind: Kind = Kind.OPTION,
    default: int | None = None,
) -> Column:
    options = tuple(Option(value, text) for value, text in labels.items())
    return Column(name, kind, label, options=options, default=default)


def _flag(name: str, label: str) -> Column:
    return Column(name, Kind.BOOLEAN, label, default=0)


def _lookup(
    name: str, label: str, target: str, navigation: str, *, is_required: bool = False
) -> Column:
    return Column(
        name, Kind.LOOKUP, label, target=target, navigation=navigation, is_required=is_required
    )


def _count(name: str, label: str, maximum: int = 2_147_483_647) -> Column:
    return Column(name, Kind.INTEGER, label, minimum=0, maximum=maximum)


def _amount(name: str, label: str) -> Column:
    return Column(name, Kind.DECIMAL, label, minimum=-100_000_000_000, maximum=100_000_000_000)


_STATE = _options("statecode", "Status", {0: "Actief", 1: "Inactief"}, Kind.STATE, default=0)
_CREATED_ON = Column("createdon", Kind.DATETIME, "Created on", is_read_only=True)
_MODIFIED_ON = Column("modifiedon", Kind.DATETIME, "Modified on", is_read_only=True)
_ADDRESS = (
    _text("address1_line1", "Street", 250),
    _text("address1_postalcode", "Postal code", 20),
    _text("address1_city", "City", 80),
    _text("address1_country", "Country", 80),
)

VERSION_NUMBER = Column("versionnumber", Kind.BIGINT, "Version number", is_read_only=True)

CONTACT = Entity(
    "contact",
    "contacts",
    "Contact",
    "Contacts",
    "lastname",
    (
        _id("contactid", "Contact"),
        _text("firstname", "First name", 50),
        _text("middlename", "Infix", 50),
        _text("lastname", "Last name", 50),
        _text("cdp_initials", "Initials", 50),
        _text("cdp_maidenname", "Maiden name", 100),
        _options("gendercode", "Gender", {1: "Man", 2: "Vrouw", 3: "Onbekend"}),
        Column("birthdate", Kind.DATE, "Birthday"),
        _text("emailaddress1", "E-mail", 100),
        _text("telephone1", "Phone", 50),
        _text("mobilephone", "Mobile", 50),
        *_ADDRESS,
        _lookup("parentcustomerid", "Company", "account", "parentcustomerid_account"),
        _lookup("cdp_guardianid", "Guardian", "contact", "cdp_guardianid"),
        _lookup("masterid", "Merged into", "contact", "masterid"),
        _options(
            "preferredcontactmethodcode",
            "Prefers",
            {1: "Geen voorkeur", 2: "E-mail", 3: "Telefoon", 4: "Post"},
        ),
        _text("cdp_loyaltynumber", "Card number", 50),
        _text("cdp_favouritecategory", "Favourite", 100),
        _flag("donotemail", "Do not e-mail"),
        _flag("donotphone", "Do not phone"),
        _flag("donotpostalmail", "Do not mail"),
        Column("cdp_consentdate", Kind.DATE, "Consent date"),
        _STATE,
        _CREATED_ON,
        _MODIFIED_ON,
    ),
)

ACCOUNT = Entity(
    "account",
    "accounts",
    "Account",
    "Accounts",
    "name",
    (
        _id("accountid", "Account"),
        _text("name", "Name", 160),
        _text("cdp_kvknumber", "KvK number", 20),
        _text("cdp_vatnumber", "VAT number", 30),
        _text("telephone1", "Phone", 50),
        _text("emailaddress1", "E-mail", 100),
        *_ADDRESS,
        _text("websiteurl", "Website", 200),
        _STATE,
        _CREATED_ON,
        _MODIFIED_ON,
    ),
)

LEAD = Entity(
    "lead",
    "leads",
    "Lead",
    "Leads",
    "subject",
    (
        _id("leadid", "Lead"),
        _text("firstname", "First name", 50),
        _text("middlename", "Infix", 50),
        _text("lastname", "Last name", 50),
        _text("emailaddress1", "E-mail", 100),
        _text("mobilephone", "Mobile", 50),
        _text("companyname", "Company", 100),
        _text("subject", "Subject", 300),
        _options(
            "leadsourcecode",
            "Source",
            {1: "Advertentie", 2: "Beurs", 3: "Webformulier", 4: "Doorverwijzing"},
        ),
        _options(
            "statuscode",
            "Status",
            {1: "Nieuw", 2: "Contact gelegd", 3: "Gekwalificeerd", 4: "Afgewezen"},
            Kind.STATUS,
            default=1,
        ),
        _lookup("parentcontactid", "Contact", "contact", "parentcontactid"),
        _text("address1_postalcode", "Postal code", 20),
        _CREATED_ON,
        _MODIFIED_ON,
    ),
)

CUSTOMER_PROFILE = Entity(
    "cdp_customerprofile",
    "cdp_customerprofiles",
    "Customer profile",
    "Customer profiles",
    "cdp_fullname",
    (
        _id("cdp_customerprofileid", "Customer profile"),
        _lookup("cdp_contactid", "Contact", "contact", "cdp_ContactId", is_required=True),
        _text("cdp_profileid", "Profile", 100),
        _text("cdp_fullname", "Name", 200),
        _text("cdp_primaryemail", "E-mail", 100),
        _text("cdp_primaryphone", "Phone", 50),
        _text("cdp_city", "City", 80),
        _options(
            "cdp_lifecyclestage",
            "Stage",
            {1: "Prospect", 2: "Nieuw", 3: "Actief", 4: "Sluimerend", 5: "Vertrokken"},
        ),
        _options("cdp_loyaltytier", "Tier", {1: "Geen", 2: "Brons", 3: "Zilver", 4: "Goud"}),
        _options(
            "cdp_preferredchannel",
            "Preferred channel",
            {1: "Winkel", 2: "Webshop", 3: "Gemengd", 4: "Onbekend"},
        ),
        _options(
            "cdp_emailengagement",
            "E-mail engagement",
            {1: "Geen", 2: "Laag", 3: "Middel", 4: "Hoog"},
        ),
        _amount("cdp_totalrevenue", "Revenue"),
        _amount("cdp_averagebasket", "Average basket"),
        _count("cdp_ordercount", "Orders"),
        Column("cdp_firstorderdate", Kind.DATE, "First order"),
        Column("cdp_lastorderdate", Kind.DATE, "Last order"),
        _count("cdp_usualpurchasehour", "Usual hour of purchase", maximum=23),
        _text("cdp_audiences", "Audiences", 2000),
        _text("cdp_sources", "Sources", 200),
        _count("cdp_recordcount", "Records"),
        _CREATED_ON,
        _MODIFIED_ON,
    ),
    alternate_key="cdp_contactid",
)

ENTITIES = (CONTACT, ACCOUNT, LEAD, CUSTOMER_PROFILE)
BY_SET_NAME = {entity.set_name: entity for entity in ENTITIES}
BY_LOGICAL_NAME = {entity.logical_name: entity for entity in ENTITIES}

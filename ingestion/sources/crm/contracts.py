"""The raw tables of the CRM: its entity sets, with lookups under their logical names."""

from ingestion.contracts import Column, Kind, Table


def _lookup(name: str) -> Column:
    return Column(name, origin=f"_{name}_value")


def _table(name: str, key: str, *columns: Column) -> Table:
    return Table(
        source="crm",
        name=name,
        columns=(
            Column(key),
            *columns,
            Column("createdon", Kind.MOMENT),
            Column("modifiedon", Kind.MOMENT, is_required=True),
        ),
        key=(key,),
        cursor="modifiedon",
    )


CONTACTS = _table(
    "contacts",
    "contactid",
    Column("firstname"),
    Column("middlename"),
    Column("lastname"),
    Column("cdp_initials"),
    Column("cdp_maidenname"),
    Column("gendercode", Kind.INTEGER),
    Column("birthdate", Kind.DATE),
    Column("emailaddress1"),
    Column("telephone1"),
    Column("mobilephone"),
    Column("address1_line1"),
    Column("address1_postalcode"),
    Column("address1_city"),
    Column("address1_country"),
    _lookup("parentcustomerid"),
    _lookup("cdp_guardianid"),
    Column("preferredcontactmethodcode", Kind.INTEGER),
    Column("cdp_loyaltynumber"),
    Column("cdp_favouritecategory"),
    Column("donotemail", Kind.BOOLEAN),
    Column("donotphone", Kind.BOOLEAN),
    Column("donotpostalmail", Kind.BOOLEAN),
    Column("cdp_consentdate", Kind.DATE),
    Column("statecode", Kind.INTEGER),
)

ACCOUNTS = _table(
    "accounts",
    "accountid",
    Column("name"),
    Column("cdp_kvknumber"),
    Column("cdp_vatnumber"),
    Column("telephone1"),
    Column("emailaddress1"),
    Column("address1_line1"),
    Column("address1_postalcode"),
    Column("address1_city"),
    Column("address1_country"),
    Column("websiteurl"),
    Column("statecode", Kind.INTEGER),
)

LEADS = _table(
    "leads",
    "leadid",
    Column("firstname"),
    Column("middlename"),
    Column("lastname"),
    Column("emailaddress1"),
    Column("mobilephone"),
    Column("companyname"),
    Column("subject"),
    Column("leadsourcecode", Kind.INTEGER),
    Column("statuscode", Kind.INTEGER),
    _lookup("parentcontactid"),
    Column("address1_postalcode"),
)

OPTION_LABELS = Table(
    source="crm",
    name="option_labels",
    columns=(
        Column("entity"),
        Column("attribute"),
        Column("value", Kind.INTEGER),
        Column("label", is_required=True),
    ),
    key=("entity", "attribute", "value"),
    ignored=("entityset",),
)

TABLES = (CONTACTS, ACCOUNTS, LEADS, OPTION_LABELS)

LOGICAL_NAMES = {CONTACTS.name: "contact", ACCOUNTS.name: "account", LEADS.name: "lead"}

"""The raw tables of the tills, and the names of the files they come in.

`receipts_<store>_<yyyymmdd>.csv` -> raw_pos.receipt_lines
`members_<store>_<yyyymmdd>.csv`  -> raw_pos.members
"""

from ingestion.contracts import Column, Kind, Notation, Table

RECEIPT_LINES = Table(
    source="pos",
    name="receipt_lines",
    columns=(
        Column("bonnummer"),
        Column("regel", Kind.INTEGER),
        Column("filiaal"),
        Column("kassa"),
        # A receipt of 2099 would be its customer's last order for ever.
        Column("datum", Kind.DATE, is_required=True, not_in_future=True),
        Column("tijd"),
        Column("klantkaart"),
        Column("artikel"),
        Column("omschrijving"),
        # Three digits: what is weighed is sold by the gram.
        Column("aantal", Kind.DECIMAL, digits=(12, 3)),
        Column("prijs", Kind.DECIMAL),
        Column("korting", Kind.DECIMAL),
        Column("bedrag", Kind.DECIMAL, is_required=True),
        Column("betaalwijze"),
        # It decides the sign of the line: half a word must not pass for one.
        Column("soort", allowed=("VERKOOP", "RETOUR"), is_required=True),
    ),
    key=("filiaal", "bonnummer", "regel"),
    notation=Notation.DUTCH,
    delimiter=";",
    from_files=True,
)

MEMBERS = Table(
    source="pos",
    name="members",
    columns=(
        Column("kaartnummer"),
        Column("voorletters"),
        Column("voornaam"),
        Column("tussenvoegsel"),
        Column("achternaam"),
        Column("geslacht"),
        Column("geboortedatum", Kind.DATE),
        Column("straat"),
        Column("huisnummer"),
        Column("toevoeging"),
        Column("postcode"),
        Column("plaats"),
        Column("telefoon"),
        Column("email"),
        Column("aanmelddatum", Kind.DATE),
        Column("mailing"),
        Column("post"),
        Column("gewijzigd", Kind.LOCAL_TIME, is_required=True),
    ),
    key=("kaartnummer",),
    cursor="gewijzigd",
    notation=Notation.DUTCH,
    delimiter=";",
    from_files=True,
    newest_wins=True,
)

TABLES = (RECEIPT_LINES, MEMBERS)

PATTERNS = {RECEIPT_LINES.name: "**/receipts_*.csv", MEMBERS.name: "**/members_*.csv"}

"""The pages a person opens: contacts with search, a contact beside its profile, accounts, leads.

Read-only and without sign-in; whoever can reach 127.0.0.1 may look. Everything is rendered on the
server, with one style sheet and nothing from elsewhere.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from demo.crm.odata import Value
from demo.crm.schema import ACCOUNT, CONTACT, CUSTOMER_PROFILE, LEAD, Entity, Kind
from demo.crm.store import Store

Row = Mapping[str, Value]

PAGE_SIZE = 25
_MAX_WORDS = 5
_NOT_UNIFIED = "none"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_SEARCHED = (
    "firstname",
    "middlename",
    "lastname",
    "emailaddress1",
    "mobilephone",
    "address1_postalcode",
    "address1_city",
    "cdp_loyaltynumber",
)
_CONTACT_SECTIONS = (
    (
        "Person",
        (
            "firstname",
            "cdp_initials",
            "middlename",
            "lastname",
            "cdp_maidenname",
            "gendercode",
            "birthdate",
        ),
    ),
    ("Reach", ("emailaddress1", "mobilephone", "telephone1", "preferredcontactmethodcode")),
    (
        "Address",
        ("address1_line1", "address1_postalcode", "address1_city", "address1_country"),
    ),
    (
        "Customer card",
        ("cdp_loyaltynumber", "cdp_favouritecategory"),
    ),
)
_PERMISSIONS = (("donotemail", "E-mail"), ("donotphone", "Phone"), ("donotpostalmail", "Post"))
_ACCOUNT_SECTIONS = (
    ("Company", ("name", "cdp_kvknumber", "cdp_vatnumber")),
    ("Reach", ("emailaddress1", "telephone1", "websiteurl")),
    (
        "Address",
        ("address1_line1", "address1_postalcode", "address1_city", "address1_country"),
    ),
)


@dataclass(frozen=True)
class Paging:
    """Which part of a list is shown."""

    page: int
    total: int
    query: Mapping[str, str]

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, math.ceil(self.total / PAGE_SIZE))

    @property
    def first(self) -> int:
        """Number of the first row shown."""
        return min(self.total, (self.page - 1) * PAGE_SIZE + 1)

    @property
    def last(self) -> int:
        """Number of the last row shown."""
        return min(self.total, self.page * PAGE_SIZE)

    def address(self, page: int) -> str:
        """The address of another page of the same list."""
        return "?" + urlencode({**self.query, "page": str(page)})


class Pages:
    """Renders the pages from one store."""

    def __init__(self, rows: Store) -> None:
        self._store = rows
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            day=_day, money=_money, number=_number, moment=_moment, hour=_hour, tint=_tint
        )
        self._templates.globals.update(full_name=_full_name, initials=_initials, label=_label)

    def routes(self) -> list[Route]:
        """The routes of all pages."""
        return [
            Route("/", self._contacts),
            Route("/contacts", lambda _: RedirectResponse("/")),
            Route("/contacts/{id}", self._contact),
            Route("/accounts", self._accounts),
            Route("/accounts/{id}", self._account),
            Route("/leads", self._leads),
        ]

    def _contacts(self, request: Request) -> Response:
        words = request.query_params.get("q", "").strip()
        stage = request.query_params.get("stage", "")
        conditions, values = _search(words, "c", _SEARCHED)
        if stage == _NOT_UNIFIED:
            conditions.append("p.cdp_contactid is null")
        elif stage.isdecimal():
            conditions.append("p.cdp_lifecyclestage = ?")
            values.append(int(stage))
        # Without a choice of stage the profiles need not be counted along.
        joined = "left join cdp_customerprofiles as p on p.cdp_contactid = c.contactid"
        source = f"contacts as c {joined if stage else ''}"
        where = " and ".join(conditions) or "true"
        with self._store.read() as connection:
            total = _number_of(connection, f"{source} where {where}", values)
            paging = _paging(request, total, {"q": words, "stage": stage})
            rows = _rows(
                connection,
                "select c.*, p.cdp_lifecyclestage, p.cdp_loyaltytier, p.cdp_totalrevenue,"
                f" p.cdp_contactid from contacts as c {joined} where {where} order by"
                " c.lastname collate nocase, c.firstname collate nocase, c.contactid"
                " limit ? offset ?",
                [*values, PAGE_SIZE, (paging.page - 1) * PAGE_SIZE],
            )
        stages = [("", "All")]
        stages += [(str(value), text) for value, text in _labels("cdp_lifecyclestage").items()]
        stages.append((_NOT_UNIFIED, "Not yet unified"))
        return self._render(
            "contacts.html", rows=rows, paging=paging, words=words, stage=stage, stages=stages
        )

    def _contact(self, request: Request) -> Response:
        row_id = request.path_params["id"].lower()
        with self._store.read() as connection:
            contact = _row(connection, CONTACT, row_id)
            if contact is None:
                return self._missing("contact")
            profile = _first(
                connection, "select * from cdp_customerprofiles where cdp_contactid = ?", row_id
            )
            company = _row(connection, ACCOUNT, contact["parentcustomerid"])
            guardian = _row(connection, CONTACT, contact["cdp_guardianid"])
            wards = _rows(connection, "select * from contacts where cdp_guardianid = ?", [row_id])
            leads = _rows(
                connection,
                "select * from leads where parentcontactid = ? order by createdon desc",
                [row_id],
            )
            twins = _same_profile(connection, profile)
        permissions = [(text, not contact[name]) for name, text in _PERMISSIONS]
        return self._render(
            "contact.html",
            contact=contact,
            sections=_sections(CONTACT, contact, _CONTACT_SECTIONS),
            permissions=permissions,
            profile=profile,
            audiences=_split(profile, "cdp_audiences", ";"),
            sources=_split(profile, "cdp_sources", ","),
            company=company,
            guardian=guardian,
            wards=wards,
            leads=leads,
            twins=twins,
        )

    def _accounts(self, request: Request) -> Response:
        words = request.query_params.get("q", "").strip()
        conditions, values = _search(words, "a", ("name", "cdp_kvknumber", "address1_city"))
        where = " and ".join(conditions) or "true"
        with self._store.read() as connection:
            total = _number_of(connection, f"accounts as a where {where}", values)
            paging = _paging(request, total, {"q": words})
            rows = _rows(
                connection,
                "select a.*, (select count(*) from contacts as c"
                " where c.parentcustomerid = a.accountid) as contacts"
                f" from accounts as a where {where}"
                " order by a.name collate nocase, a.accountid limit ? offset ?",
                [*values, PAGE_SIZE, (paging.page - 1) * PAGE_SIZE],
            )
        return self._render("accounts.html", rows=rows, paging=paging, words=words)

    def _account(self, request: Request) -> Response:
        row_id = request.path_params["id"].lower()
        with self._store.read() as connection:
            account = _row(connection, ACCOUNT, row_id)
            if account is None:
                return self._missing("account")
            contacts = _rows(
                connection,
                "select * from contacts where parentcustomerid = ?"
                " order by lastname collate nocase, firstname collate nocase limit 200",
                [row_id],
            )
        sections = _sections(ACCOUNT, account, _ACCOUNT_SECTIONS)
        return self._render("account.html", account=account, sections=sections, contacts=contacts)

    def _leads(self, request: Request) -> Response:
        words = request.query_params.get("q", "").strip()
        searched = ("firstname", "lastname", "companyname", "subject", "emailaddress1")
        conditions, values = _search(words, "l", searched)
        where = " and ".join(conditions) or "true"
        with self._store.read() as connection:
            total = _number_of(connection, f"leads as l where {where}", values)
            paging = _paging(request, total, {"q": words})
            rows = _rows(
                connection,
                f"select * from leads as l where {where} order by createdon desc, leadid"
                " limit ? offset ?",
                [*values, PAGE_SIZE, (paging.page - 1) * PAGE_SIZE],
            )
        return self._render("leads.html", rows=rows, paging=paging, words=words)

    def _missing(self, what: str) -> Response:
        return self._render("missing.html", status=404, what=what)

    def _render(self, template: str, status: int = 200, **values: object) -> Response:
        text = self._templates.get_template(template).render(**values)
        return HTMLResponse(text, status, _HEADERS)


# --------------------------------------------------------------------------------------------
# Rows
# --------------------------------------------------------------------------------------------


def _rows(connection: sqlite3.Connection, sql: str, values: Sequence[Value]) -> list[Row]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _first(connection: sqlite3.Connection, sql: str, value: Value) -> Row | None:
    rows = _rows(connection, f"{sql} limit 1", [value])
    return rows[0] if rows else None


def _row(connection: sqlite3.Connection, entity: Entity, row_id: Value) -> Row | None:
    if row_id is None:
        return None
    return _first(
        connection, f"select * from {entity.set_name} where {entity.primary_id} = ?", row_id
    )


def _same_profile(connection: sqlite3.Connection, profile: Row | None) -> list[Row]:
    """Other contacts that were found to be the same person."""
    if profile is None or profile["cdp_profileid"] is None:
        return []
    return _rows(
        connection,
        "select c.* from cdp_customerprofiles as p join contacts as c"
        " on c.contactid = p.cdp_contactid where p.cdp_profileid = ? and p.cdp_contactid <> ?",
        [profile["cdp_profileid"], profile["cdp_contactid"]],
    )


def _number_of(connection: sqlite3.Connection, source: str, values: Sequence[Value]) -> int:
    return int(connection.execute(f"select count(*) from {source}", values).fetchone()[0])


def _search(words: str, alias: str, columns: Sequence[str]) -> tuple[list[str], list[Value]]:
    """Every word must occur in one of the columns."""
    text = " || ' ' || ".join(f"ifnull({alias}.{column}, '')" for column in columns)
    found = words.split()[:_MAX_WORDS]
    values: list[Value] = ["%" + re.sub(r"([\\%_])", r"\\\1", word) + "%" for word in found]
    return [f"({text}) like ? escape '\\'"] * len(found), values


def _paging(request: Request, total: int, query: Mapping[str, str]) -> Paging:
    text = request.query_params.get("page", "1")
    page = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 1
    paging = Paging(page, total, {name: value for name, value in query.items() if value})
    return Paging(min(max(page, 1), paging.pages), total, paging.query)


# --------------------------------------------------------------------------------------------
# What people read
# --------------------------------------------------------------------------------------------


def _sections(
    entity: Entity, row: Row, layout: Sequence[tuple[str, Sequence[str]]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (
            title,
            [(entity.by_name[name].label, _shown(entity, name, row[name])) for name in names],
        )
        for title, names in layout
    ]


def _shown(entity: Entity, name: str, value: Value) -> str:
    column = entity.by_name[name]
    if value is None:
        return ""
    if column.kind.has_options:
        return column.labels[int(value)]
    if column.kind is Kind.DATE:
        return _day(value)
    return str(value)


def _label(entity_name: str, column: str, row: Row) -> str:
    """The label of an option, or nothing."""
    entity = {"contact": CONTACT, "profile": CUSTOMER_PROFILE, "lead": LEAD}[entity_name]
    return _shown(entity, column, row[column])


def _labels(column: str) -> Mapping[int, str]:
    return CUSTOMER_PROFILE.by_name[column].labels


def _split(profile: Row | None, column: str, separator: str) -> list[str]:
    text = str((profile or {}).get(column) or "")
    return [part.strip() for part in text.split(separator) if part.strip()]


def _full_name(row: Row) -> str:
    first = row.get("firstname") or row.get("cdp_initials")
    parts = [first, row.get("middlename"), row.get("lastname")]
    return " ".join(str(part) for part in parts if part) or "(no name)"


def _initials(row: Row) -> str:
    letters = [str(row[name])[0] for name in ("firstname", "lastname") if row.get(name)]
    return "".join(letters).upper() or "?"


def _day(value: Value) -> str:
    if value is None:
        return ""
    day = date.fromisoformat(str(value)[:10])
    return f"{day.day} {day:%b} {day.year}"


def _moment(value: Value) -> str:
    moment = datetime.fromisoformat(str(value))
    return f"{moment.day} {moment:%b} {moment.year}, {moment:%H:%M} UTC"


def _money(value: Value) -> str:
    return "–" if value is None else f"€ {float(value):,.2f}"


def _number(value: Value) -> str:
    return "–" if value is None else f"{int(value):,}"


def _hour(value: Value) -> str:
    return "–" if value is None else f"{int(value):02d}:00–{(int(value) + 1) % 24:02d}:00"


def _tint(value: Value) -> int:
    """One of six colours, the same for a row wherever it is shown."""
    return int(str(value)[:6], 16) % 6

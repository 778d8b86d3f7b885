"""The language of OData addresses, as far as the CRM speaks it: keys, query options, preferences.

Everything here is pure: text in, dataclasses and SQL out. A filter is parsed to a tree, and the
tree written as SQL over the table alias `c`, every value bound. OData's comparisons are either true
or false, never unknown as in SQL, so a `not` is carried down to the comparisons instead of being
left to SQL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from demo.crm.errors import CrmError, bad_query, no_such_property
from demo.crm.schema import BY_LOGICAL_NAME, Column, Entity, Kind

Value: TypeAlias = str | int | float | None

MAX_PAGE_SIZE = 5000
MAX_CONDITIONS = 500
MAX_MEMBERS = 2000
_MAX_DEPTH = 64
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**63 - 1

_GUID_TEXT = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GUID = re.compile(_GUID_TEXT)
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<guid>{_GUID_TEXT})(?![\w-])
      | (?P<datetime>\d{{4}}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))
      | (?P<date>\d{{4}}-\d\d-\d\d)(?![\w-])
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w-])
      | (?P<name>[A-Za-z_][\w.]*)
      | (?P<mark>[(),=\[\]])
    )""",
    re.VERBOSE | re.ASCII,
)
_NEGATION = {"eq": "ne", "ne": "eq", "gt": "le", "le": "gt", "lt": "ge", "ge": "lt"}
_SQL_OPERATOR = {"eq": "is", "ne": "is not", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_TEXT_FUNCTIONS = ("contains", "startswith", "endswith")
_MEMBERS_FUNCTION = "Microsoft.Dynamics.CRM.In"


# --------------------------------------------------------------------------------------------
# Filters
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """`column operator value`."""

    column: Column
    operator: str
    value: Value


@dataclass(frozen=True)
class TextMatch:
    """`contains`, `startswith` or `endswith`, without regard to case."""

    column: Column
    function: str
    text: str


@dataclass(frozen=True)
class Members:
    """`Microsoft.Dynamics.CRM.In(PropertyName='…',PropertyValues=['…',…])`."""

    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Junction:
    """`and` or `or` over two or more conditions."""

    operator: str
    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Negation:
    """`not` a condition."""

    part: Filter


Filter: TypeAlias = Comparison | TextMatch | Members | Junction | Negation


@dataclass(frozen=True)
class Sql:
    """An SQL condition and the values bound to it."""

    text: str
    values: tuple[Value, ...] = ()


def parse_filter(entity: Entity, text: str) -> Filter:
    """Read a `$filter`.

    Raises:
        CrmError: 400, when it cannot be understood or names a column that is not there.
    """
    return _FilterParser(entity, text).parse()


def filter_sql(condition: Filter, *, negated: bool = False) -> Sql:
    """The condition over the table alias `c`; null compares as OData says, not as SQL does."""
    match condition:
        case Negation(part):
            return filter_sql(part, negated=not negated)
        case Junction(operator, parts):
            word = operator if not negated else {"and": "or", "or": "and"}[operator]
            written = [filter_sql(part, negated=negated) for part in parts]
            text = f" {word} ".join(part.text for part in written)
            return Sql(f"({text})", tuple(value for part in written for value in part.values))
        case Comparison(column, operator, value):
            return _comparison_sql(column, operator, value, negated=negated)
        case TextMatch(column, function, text):
            pattern = re.sub(r"([\\%_])", r"\\\1", text)
            before = "" if function == "startswith" else "%"
            after = "" if function == "endswith" else "%"
            written_match = f"c.{column.name} like ? escape '\\'"
            if negated:
                written_match = f"(c.{column.name} is null or not {written_match})"
            return Sql(written_match, (f"{before}{pattern}{after}",))
        case Members(column, values):
            written_in = f"{_operand(column)} in ({', '.join('?' for _ in values)})"
            if negated:
                written_in = f"(c.{column.name} is null or not {written_in})"
            return Sql(written_in, values)


def _comparison_sql(column: Column, operator: str, value: Value, *, negated: bool) -> Sql:
    if negated:
        operator = _NEGATION[operator]
    if (
        column.kind is Kind.DATETIME
        and isinstance(value, str)
        and "." in value
        and operator not in ("eq", "ne")
    ):
        # Times are kept in whole seconds: before 12:00:00.5 is up to 12:00:00.
        operator = {"ge": "gt", "lt": "le"}.get(operator, operator)
        value = value.partition(".")[0] + "Z"
    text = f"{_operand(column)} {_SQL_OPERATOR[operator]} ?"
    if negated and operator not in ("eq", "ne"):
        text = f"(c.{column.name} is null or {text})"
    return Sql(text, (value,))


def _operand(column: Column) -> str:
    collation = " collate nocase" if column.kind is Kind.TEXT else ""
    return f"c.{column.name}{collation}"


class _FilterParser:
    """Recursive descent: or > and > not > parentheses, functions, comparisons."""

    def __init__(self, entity: Entity, text: str) -> None:
        self._entity = entity
        self._tokens = _tokens(text)
        self._position = 0
        self._depth = 0
        self._conditions = 0

    def parse(self) -> Filter:
        condition = self._any()
        if self._peek()[0] != "end":
            raise bad_query(f"Syntax error in $filter: unexpected '{self._peek()[1]}'.")
        return condition

    def _any(self) -> Filter:
        return self._junction("or", self._all)

    def _all(self) -> Filter:
        return self._junction("and", self._not)

    def _junction(self, word: str, part: Callable[[], Filter]) -> Filter:
        parts = [part()]
        while self._peek() == ("name", word):
            self._next()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _not(self) -> Filter:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise bad_query("Syntax error in $filter: nested too deep.")
        try:
            if self._peek() == ("name", "not"):
                self._next()
                return Negation(self._not())
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Filter:
        kind, text = self._next()
        if (kind, text) == ("mark", "("):
            condition = self._any()
            self._expect(")")
            return condition
        if kind != "name":
            raise bad_query(f"Syntax error in $filter: expected a property, found '{text}'.")
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise CrmError(
                400,
                "0x8004430d",
                f"Number of conditions in query exceeded maximum limit of {MAX_CONDITIONS}.",
            )
        if text in _TEXT_FUNCTIONS:
            return self._text_function(text)
        if text == _MEMBERS_FUNCTION:
            return self._members_function()
        return self._comparison(self._column(text))

    def _comparison(self, column: Column) -> Filter:
        _, operator = self._next()
        if operator not in _SQL_OPERATOR:
            raise bad_query(f"Syntax error in $filter: '{operator}' is not an operator.")
        kind, text = self._next()
        value = literal(column, kind, text)
        if value is None and operator not in ("eq", "ne"):
            raise bad_query(f"The operator '{operator}' cannot be used with null.")
        return Comparison(column, operator, value)

    def _text_function(self, function: str) -> Filter:
        self._expect("(")
        kind, name = self._next()
        if kind != "name":
            raise bad_query(f"Syntax error in $filter: {function} needs a property.")
        column = self._column(name)
        if column.kind is not Kind.TEXT:
            raise bad_query(f"The function '{function}' needs a text property.")
        self._expect(",")
        kind, text = self._next()
        value = literal(column, kind, text)
        if not isinstance(value, str):
            raise bad_query(f"The function '{function}' needs a text.")
        self._expect(")")
        return TextMatch(column, function, value)

    def _members_function(self) -> Filter:
        for mark in ("(", "PropertyName", "="):
            self._expect(mark)
        kind, name = self._next()
        if kind != "string":
            raise bad_query("PropertyName must be a text.")
        column = self._column(_unquote(name))
        for mark in (",", "PropertyValues", "=", "["):
            self._expect(mark)
        values: list[Value] = []
        while True:
            kind, text = self._next()
            if kind != "string":
                raise bad_query("PropertyValues must be texts.")
            values.append(_text_as(column, _unquote(text)))
            kind, mark = self._next()
            if mark == "]":
                break
            if mark != ",":
                raise bad_query(f"Syntax error in $filter: expected ',' or ']', found '{mark}'.")
        self._expect(")")
        if len(values) > MAX_MEMBERS:
            raise bad_query(f"PropertyValues holds more than {MAX_MEMBERS} values.")
        return Members(column, tuple(values))

    def _column(self, name: str) -> Column:
        column = self._entity.by_property.get(name)
        if column is None:
            raise no_such_property(name, self._entity.logical_name)
        return column

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._position]

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._position]
        if token[0] == "end":
            raise bad_query("Syntax error in $filter: it ends too early.")
        self._position += 1
        return token

    def _expect(self, text: str) -> None:
        found = self._next()[1]
        if found != text:
            raise bad_query(f"Syntax error in $filter: expected '{text}', found '{found}'.")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise bad_query(f"Syntax error at position {position} in $filter.")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        position = found.end()
    tokens.append(("end", ""))
    return tokens


def _unquote(text: str) -> str:
    return text[1:-1].replace("''", "'")


def literal(column: Column, kind: str, text: str) -> Value:
    """A literal of an address as the value that SQLite keeps for the column.

    Raises:
        CrmError: 400, when it is not of the column's type.
    """
    if (kind, text) == ("name", "null"):
        return None
    if kind == "string":
        unquoted = _unquote(text)
        if column.kind is Kind.TEXT:
            return unquoted
        if column.kind in (Kind.GUID, Kind.LOOKUP) and _GUID.fullmatch(unquoted):
            return unquoted.lower()
    elif kind == "guid" and column.kind in (Kind.GUID, Kind.LOOKUP):
        return text.lower()
    elif kind in ("date", "datetime") and column.kind in (Kind.DATE, Kind.DATETIME):
        return _moment(column, kind, text)
    elif kind == "number":
        value = _number(column, text)
        if value is not None:
            return value
    elif kind == "name" and column.kind is Kind.BOOLEAN and text in ("true", "false"):
        return int(text == "true")
    raise bad_query(
        f"A literal of type {kind} is incompatible with property '{column.property_name}'"
        f" of type '{column.kind.edm_type}'."
    )


def _moment(column: Column, kind: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text if kind == "datetime" else f"{text}T00:00:00+00:00")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad_query(f"'{text}' is not a date.") from None
    if column.kind is Kind.DATE:
        return moment.date().isoformat()
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def _number(column: Column, text: str) -> int | float | None:
    if column.kind is Kind.DECIMAL:
        return float(text)
    if column.kind.edm_type in ("Edm.Int32", "Edm.Int64") and re.fullmatch(r"-?\d+", text):
        return max(_SMALLEST_INTEGER, min(_LARGEST_INTEGER, int(text)))
    return None


def _text_as(column: Column, text: str) -> Value:
    """A value that `In` gives as text, whatever the column's type is."""
    if column.kind is Kind.TEXT:
        return text
    tokens = _tokens(text)
    if [kind for kind, _ in tokens[1:]] != ["end"]:
        raise bad_query(f"'{text}' is not a value of '{column.property_name}'.")
    return literal(column, *tokens[0])


# --------------------------------------------------------------------------------------------
# Query options
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """One term of `$orderby`."""

    column: Column
    descending: bool = False


@dataclass(frozen=True)
class Expand:
    """One lookup whose row is given along, with the columns asked for."""

    lookup: Column
    select: tuple[Column, ...]


@dataclass(frozen=True)
class Query:
    """The query options of one request."""

    entity: Entity
    options: tuple[tuple[str, str], ...] = ()
    select: tuple[Column, ...] | None = None
    where: Filter | None = None
    order_by: tuple[Order, ...] = ()
    expand: tuple[Expand, ...] = ()
    top: int | None = None
    count: bool = False
    skip_token: str | None = None
    delta_token: str | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns to give: those selected and the primary key, or all."""
        if self.select is None:
            return tuple(self.entity.by_property.values())
        key = self.entity.columns[0]
        return self.select if key in self.select else (*self.select, key)

    @property
    def context(self) -> str:
        """The `$select` part of `@odata.context`."""
        if self.select is None and not self.expand:
            return ""
        names = [column.property_name for column in self.select or ()]
        names += [f"{expand.lookup.navigation}()" for expand in self.expand]
        return f"({','.join(names)})"

    def link(self, **options: str) -> str:
        """The query string of a link that goes on with this query."""
        kept = [
            (name, text)
            for name, text in self.options
            if name not in ("$skiptoken", "$deltatoken", "$count")
        ]
        return urlencode(
            [*kept, *((f"${name}", text) for name, text in options.items())],
            safe="$,()'=!/",
            quote_via=quote,
        )

    def signature(self) -> str:
        """What a skip token belongs to: the rows and their order, not the columns."""
        kept = [text for name, text in self.options if name in ("$filter", "$orderby")]
        text = "\n".join([self.entity.set_name, *kept])
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def parse_query(entity: Entity, text: str) -> Query:
    """Read the query string of a request for rows.

    Raises:
        CrmError: 400, when an option is unknown or cannot be understood.
    """
    options = tuple(parse_qsl(text, keep_blank_values=True))
    given: dict[str, str] = {}
    for name, value in options:
        if not name.startswith("$"):
            continue
        if name in given:
            raise bad_query(f"Query option '{name}' was specified more than once.")
        given[name] = value
    unsupported = set(given) - {
        "$select",
        "$filter",
        "$orderby",
        "$expand",
        "$top",
        "$count",
        "$skiptoken",
        "$deltatoken",
    }
    if unsupported:
        raise bad_query(f"The query option '{min(unsupported)}' is not supported.")
    return Query(
        entity,
        options,
        select=_select(entity, given["$select"]) if given.get("$select") else None,
        where=parse_filter(entity, given["$filter"]) if "$filter" in given else None,
        order_by=_order_by(entity, given["$orderby"]) if given.get("$orderby") else (),
        expand=_expand(entity, given["$expand"]) if given.get("$expand") else (),
        top=_top(given["$top"]) if "$top" in given else None,
        count=_flag(given["$count"]) if "$count" in given else False,
        skip_token=given.get("$skiptoken"),
        delta_token=given.get("$deltatoken"),
    )


def _property(entity: Entity, name: str) -> Column:
    column = entity.by_property.get(name)
    if column is None:
        raise no_such_property(name, entity.logical_name)
    return column


def _select(entity: Entity, text: str) -> tuple[Column, ...]:
    names = dict.fromkeys(name.strip() for name in text.split(","))
    return tuple(_property(entity, name) for name in names)


def _order_by(entity: Entity, text: str) -> tuple[Order, ...]:
    orders: list[Order] = []
    for term in text.split(","):
        name, *direction = term.split()[:3] or [""]
        if direction not in ([], ["asc"], ["desc"]):
            raise bad_query(f"Syntax error in $orderby: '{term.strip()}'.")
        orders.append(Order(_property(entity, name), direction == ["desc"]))
    return tuple(orders)


_EXPAND_TERM = re.compile(r"\s*(\w+)\s*(?:\(\s*\$select=([\w,\s]+)\))?\s*(?:,|$)")


def _expand(entity: Entity, text: str) -> tuple[Expand, ...]:
    expands: list[Expand] = []
    position = 0
    while position < len(text):
        found = _EXPAND_TERM.match(text, position)
        if found is None:
            raise bad_query("$expand takes lookups, each with an optional ($select=…).")
        lookup = entity.by_navigation.get(found[1])
        if lookup is None:
            raise no_such_property(found[1], entity.logical_name)
        target = BY_LOGICAL_NAME[lookup.target]
        query = Query(target, select=_select(target, found[2]) if found[2] else None)
        expands.append(Expand(lookup, query.columns))
        position = found.end()
    return tuple(expands)


def _top(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise bad_query(f"Invalid value '{text}' for $top query option found.")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise bad_query(f"Invalid value '{text}' for $count query option found.")
    return text == "true"


# --------------------------------------------------------------------------------------------
# Paging
# --------------------------------------------------------------------------------------------


def order_sql(query: Query) -> str:
    """The `order by` of a query, with the primary key last so that the order is total."""
    terms = [
        f"{_operand(order.column)}{' desc' if order.descending else ''}" for order in query.order_by
    ]
    return ", ".join([*terms, f"c.{query.entity.primary_id}"])


def after_sql(query: Query, last: Sequence[Value]) -> Sql:
    """The rows behind the one whose order columns and primary key are `last`.

    A position is a place in the order, not a number of rows, so that rows which come and go
    while somebody pages neither repeat nor hide the others.
    """
    orders = [*query.order_by, Order(query.entity.columns[0])]
    if len(last) != len(orders):
        raise bad_query("The skip token does not belong to this query.")
    alternatives: list[str] = []
    values: list[Value] = []
    for index, (order, value) in enumerate(zip(orders, last, strict=True)):
        behind = _behind(order, value)
        if behind is None:
            continue
        same = [f"{_operand(before.column)} is ?" for before in orders[:index]]
        alternatives.append(f"({' and '.join([*same, behind.text])})")
        values += [*last[:index], *behind.values]
    return Sql(f"({' or '.join(alternatives)})", tuple(values))


def _behind(order: Order, value: Value) -> Sql | None:
    """What comes behind a value in SQLite's order, in which null is the smallest."""
    operand = _operand(order.column)
    if order.descending:
        if value is None:
            return None
        return Sql(f"({operand} < ? or {operand} is null)", (value,))
    if value is None:
        return Sql(f"{operand} is not null")
    return Sql(f"{operand} > ?", (value,))


@dataclass(frozen=True)
class SkipToken:
    """Where the next page starts.

    Attributes:
        signature: The query that it belongs to.
        last: Order columns and primary key of the last row given.
        remaining: Rows that `$top` still allows.
        delta: The delta that the last page will link to, when changes are tracked.
        since: For a delta: the version up to which rows were given before it.
        deleted: For a delta: whether the rows are through and the deletions are being given.
    """

    signature: str
    last: tuple[Value, ...]
    remaining: int | None = None
    delta: DeltaToken | None = None
    since: int | None = None
    deleted: bool = False

    def encode(self) -> str:
        """The opaque text."""
        delta = self.delta and self.delta.encode()
        content = [
            self.signature,
            list(self.last),
            self.remaining,
            delta,
            self.since,
            self.deleted,
        ]
        raw = json.dumps(content, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str, signature: str) -> SkipToken:
        """Read the opaque text of a link of ours.

        Raises:
            CrmError: 400, when it is not one, or one of another query.
        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            found, last, remaining, delta, since, deleted = json.loads(raw)
            if not all(_is_value(value) for value in (*last, remaining, since)):
                raise ValueError("not a value")
            token = cls(
                str(found),
                tuple(last),
                remaining and int(remaining),
                DeltaToken.decode(delta) if delta else None,
                since and int(since),
                bool(deleted),
            )
        except (ValueError, TypeError, AttributeError, binascii.Error):
            raise bad_query("The skip token is malformed.") from None
        if token.signature != signature:
            raise bad_query("The skip token does not belong to this query.")
        return token


@dataclass(frozen=True)
class DeltaToken:
    """What a delta link knows: up to which version, of which store, and when it was given."""

    version: int
    epoch: str
    issued: datetime

    def encode(self) -> str:
        """The text, which looks as it does in Dataverse: version, `!`, time."""
        return f"{self.version}!{self.issued:%m/%d/%Y %H:%M:%S}!{self.epoch}"

    @classmethod
    def decode(cls, text: str) -> DeltaToken:
        """Read the text of a link of ours.

        Raises:
            CrmError: 400, when it is not one.
        """
        try:
            version, issued, epoch = text.split("!")
            moment = datetime.strptime(issued, "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC)
            return cls(int(version), epoch, moment)
        except ValueError:
            raise bad_query("The delta token is malformed.") from None


def _is_value(value: object) -> bool:
    if isinstance(value, int):
        return _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER
    return value is None or isinstance(value, str | float)


# --------------------------------------------------------------------------------------------
# Paths, keys and headers
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """How one row is addressed: a column and its value."""

    column: Column
    value: str

    def text(self, entity: Entity) -> str:
        """What stands between the parentheses."""
        if self.column.name == entity.primary_id:
            return self.value
        return f"{self.column.name}={self.value}"


_ROW = re.compile(r"(\w+)\((.*)\)")


def parse_row_path(segment: str) -> tuple[str, str] | None:
    """Split `contacts(…)` into the set's name and the key's text; None for anything else."""
    found = _ROW.fullmatch(segment)
    return (found[1], found[2]) if found else None


def parse_key(entity: Entity, text: str) -> Key:
    """Read a primary key, or an alternate key as `column=value`.

    Raises:
        CrmError: 400, when it is neither.
    """
    name, equals, value = text.rpartition("=")
    value = value.strip().strip("'")
    if not _GUID.fullmatch(value):
        raise bad_query(f"The key of '{entity.set_name}' must be a GUID.")
    if not equals:
        return Key(entity.columns[0], value.lower())
    name = name.strip()
    for column in (entity.columns[0], entity.by_name.get(entity.alternate_key)):
        if column is not None and name in (column.name, column.property_name):
            return Key(column, value.lower())
    raise CrmError(
        400,
        "0x80060893",
        f"The specified key attributes are not a defined key for the {entity.logical_name} entity",
    )


@dataclass(frozen=True)
class Preferences:
    """The `Prefer` header, as far as the CRM honours it."""

    page_size: int | None = None
    track_changes: bool = False
    representation: bool = False
    continue_on_error: bool = False
    formatted_values: bool = False
    applied: tuple[str, ...] = field(default=())


_PREFERENCE = re.compile(r'\s*([\w.\-]+)\s*(?:=\s*("[^"]*"|[^,;]*))?[^,]*(?:,|$)')
_FORMATTED = "OData.Community.Display.V1.FormattedValue"


def parse_prefer(header: str) -> Preferences:
    """Read a `Prefer` header; what is not known is passed over, as HTTP asks."""
    given = {
        found[1].lower(): (found[2] or "").strip().strip('"')
        for found in _PREFERENCE.finditer(header)
    }
    size_text = given.get("odata.maxpagesize", given.get("maxpagesize", ""))
    page_size = int(size_text) if re.fullmatch(r"[1-9]\d{0,8}", size_text) else None
    annotations = given.get("odata.include-annotations", "")
    found = Preferences(
        page_size=page_size,
        track_changes="odata.track-changes" in given,
        representation=given.get("return") == "representation",
        continue_on_error=given.get("odata.continue-on-error", "false") in ("", "true"),
        formatted_values=any(
            _matches(pattern.strip(), _FORMATTED) for pattern in annotations.split(",")
        ),
    )
    applied = [
        text
        for text, holds in (
            (f"odata.maxpagesize={page_size}", page_size is not None),
            ("odata.track-changes", found.track_changes),
            ("return=representation", found.representation),
            ("odata.continue-on-error", found.continue_on_error),
            (f'odata.include-annotations="{annotations}"', found.formatted_values),
        )
        if holds
    ]
    return Preferences(
        found.page_size,
        found.track_changes,
        found.representation,
        found.continue_on_error,
        found.formatted_values,
        tuple(applied),
    )


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == name

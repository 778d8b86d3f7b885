"""Reading the body of a write: JSON in, the values that SQLite keeps out, or a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from demo.crm.errors import CrmError, bad_payload, no_such_resource
from demo.crm.odata import Value, parse_key, parse_row_path
from demo.crm.schema import BY_SET_NAME, Column, Entity, Kind

_BIND = "@odata.bind"
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
# What XML cannot hold, Dataverse does not take.
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_EARLIEST_YEAR = 1753


@dataclass(frozen=True)
class Payload:
    """A body that fits its table.

    Attributes:
        values: By column name; lookups hold the id of the row they point to.
        row_id: The primary key, if the body gives it.
    """

    values: Mapping[str, Value]
    row_id: str | None


def read_payload(entity: Entity, body: bytes, resolve: Callable[[str], str]) -> Payload:
    """Check a body against its table.

    Args:
        entity: The table.
        body: JSON.
        resolve: Turns `$1`, as used in a change set, into the path of the row it stands for.

    Raises:
        CrmError: 400, when the body is not JSON or does not fit.
    """
    values: dict[str, Value] = {}
    for name, value in _read_json(entity, body).items():
        if name.endswith(_BIND):
            column = entity.by_navigation.get(name.removesuffix(_BIND))
            if column is None:
                raise bad_payload(
                    entity.set_name,
                    f"An undeclared property '{name.removesuffix(_BIND)}' which only has property"
                    " annotations in the payload but no property value was found in the payload.",
                )
            values[column.name] = _bound_id(entity, column, value, resolve)
            continue
        if "@" in name:
            continue
        column = entity.by_property.get(name)
        if column is None or column.kind is Kind.LOOKUP:
            raise bad_payload(
                entity.set_name,
                f"The property '{name}' does not exist on type"
                f" 'Microsoft.Dynamics.CRM.{entity.logical_name}'. Make sure to only use property"
                " names that are defined by the type.",
            )
        if not column.is_read_only:
            values[name] = _value(entity, column, value)
    row_id = values.pop(entity.primary_id, None)
    return Payload(values, None if row_id is None else str(row_id))


def _read_json(entity: Entity, body: bytes) -> dict[str, object]:
    try:
        content = json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise bad_payload(entity.set_name, "The body is not valid JSON.") from None
    if not isinstance(content, dict):
        raise bad_payload(entity.set_name, "The body must be a JSON object.")
    return content


def _refuse_constant(text: str) -> object:
    raise ValueError(text)


def _bound_id(
    entity: Entity, column: Column, value: object, resolve: Callable[[str], str]
) -> Value:
    if value is None:
        if column.is_required:
            raise bad_payload(entity.set_name, f"'{column.name}' cannot be set to null.")
        return None
    if not isinstance(value, str):
        raise bad_payload(entity.set_name, f"'{column.navigation}{_BIND}' must be an address.")
    # An absolute address, a path from the root, or a path from the service's root.
    segment = resolve(value).rstrip("/").rpartition("/")[2]
    parts = parse_row_path(segment)
    target = BY_SET_NAME.get(parts[0]) if parts else None
    if parts is None or target is None:
        raise no_such_resource(segment)
    if target.logical_name != column.target:
        raise bad_payload(
            entity.set_name,
            f"'{column.navigation}' points to a {column.target}, not to a {target.logical_name}.",
        )
    return parse_key(target, parts[1]).value


def _value(entity: Entity, column: Column, value: object) -> Value:
    if value is None:
        if column.is_required:
            raise bad_payload(entity.set_name, f"'{column.name}' cannot be set to null.")
        return None
    match column.kind, value:
        case Kind.TEXT, str():
            return _text(entity, column, value)
        case Kind.GUID, str() if _GUID.fullmatch(value):
            return value.lower()
        case Kind.BOOLEAN, bool():
            return int(value)
        case _, bool():
            pass
        case Kind.DATE, str() if _DATE.fullmatch(value):
            return _date(entity, column, value)
        case Kind.DECIMAL, int() | Decimal():
            return _decimal(entity, column, Decimal(value))
        case Kind.INTEGER, int():
            if column.minimum <= value <= column.maximum:
                return value
            raise _out_of_range(entity, column)
        case Kind.OPTION | Kind.STATE | Kind.STATUS, int():
            if value in column.labels:
                return value
            accepted = ",".join(str(option.value) for option in column.options)
            raise CrmError(
                400,
                "0x8004431a",
                f"A validation error occurred. The value {value} of '{column.name}' on record of"
                f" type '{entity.logical_name}' is outside the valid range. Accepted Values:"
                f" {accepted}",
            )
    raise bad_payload(
        entity.set_name,
        f"Cannot convert the value of '{column.name}' to the expected type"
        f" '{column.kind.edm_type}'.",
    )


def _text(entity: Entity, column: Column, text: str) -> str | None:
    try:
        length = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise bad_payload(entity.set_name, f"'{column.name}' is not valid Unicode.") from None
    if _CONTROL_CHARACTERS.search(text):
        raise bad_payload(entity.set_name, f"'{column.name}' contains invalid characters.")
    if length > column.max_length:
        raise CrmError(
            400,
            "0x80044331",
            f"A validation error occurred.  The length of the '{column.name}' attribute of the"
            f" '{entity.logical_name}' entity exceeded the maximum allowed length of"
            f" '{column.max_length}'.",
        )
    return text or None


def _date(entity: Entity, column: Column, text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise bad_payload(
            entity.set_name,
            f"Cannot convert the value of '{column.name}' to the expected type 'Edm.Date'.",
        ) from None
    if day.year < _EARLIEST_YEAR:
        raise CrmError(
            400,
            "0x80040239",
            "DateTime is less than minumum value supported by CrmDateTime. Actual value:"
            f" {day:%m/%d/}{day.year:04d} 00:00:00, Minimum value supported: 01/01/1753 00:00:00",
        )
    return text


def _decimal(entity: Entity, column: Column, number: Decimal) -> float:
    if not column.minimum <= number <= column.maximum:
        raise _out_of_range(entity, column)
    return float(number.quantize(Decimal(1).scaleb(-column.precision), ROUND_HALF_UP))


def _out_of_range(entity: Entity, column: Column) -> CrmError:
    return CrmError(
        400,
        "0x80044330",
        f"A validation error occurred. The value of '{column.name}' on record of type"
        f" '{entity.logical_name}' is outside the valid range.",
    )

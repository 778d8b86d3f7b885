"""Rows as JSON, written by SQLite itself.

A page of 5,000 contacts is 140,000 values; `json_object` makes their text without a Python object
for any of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from demo.crm.odata import Query
from demo.crm.schema import BY_LOGICAL_NAME, Column, Kind

_FORMATTED = "OData.Community.Display.V1.FormattedValue"
_BOOLEAN_LABELS = {0: "Nee", 1: "Ja"}


def row_json(query: Query, *, formatted_values: bool = False) -> str:
    """An SQL expression over the alias `c` that gives one row of the query as a JSON object."""
    pairs = ["'@odata.etag'", "'W/\"' || c.versionnumber || '\"'", *_pairs(query.columns, "c")]
    for expand in query.expand:
        target = BY_LOGICAL_NAME[expand.lookup.target]
        inner = _json_object(
            ["'@odata.etag'", "'W/\"' || t.versionnumber || '\"'", *_pairs(expand.select, "t")]
        )
        source = f"{target.set_name} as t where t.{target.primary_id} = c.{expand.lookup.name}"
        pairs += [f"'{expand.lookup.navigation}'", f"(select {inner} from {source})"]
    row = _json_object(pairs)
    return _with_labels(row, query.columns) if formatted_values else row


def _pairs(columns: Iterable[Column], alias: str) -> list[str]:
    pairs: list[str] = []
    for column in columns:
        value = f"{alias}.{column.name}"
        if column.kind is Kind.BOOLEAN:
            value = f"json(case {value} when 1 then 'true' when 0 then 'false' end)"
        pairs += [f"'{column.property_name}'", value]
    return pairs


def _json_object(pairs: list[str]) -> str:
    return f"json_object({', '.join(pairs)})"


def _with_labels(row: str, columns: Iterable[Column]) -> str:
    """The row with the label of each option beside its code; an empty column has no label."""
    pairs: list[str] = []
    for column in columns:
        labels = _BOOLEAN_LABELS if column.kind is Kind.BOOLEAN else column.labels
        if labels:
            cases = " ".join(f"when {value} then '{label}'" for value, label in labels.items())
            pairs += [
                f"'{column.property_name}@{_FORMATTED}'",
                f"case c.{column.name} {cases} end",
            ]
    if not pairs:
        return row
    # A merge patch with null adds nothing, so an empty column gets no label.
    return f"json_patch({row}, {_json_object(pairs)})"

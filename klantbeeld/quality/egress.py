"""The egress border: what every model that leaves must be, before anything is published or sent.

activation.sync_*, activation.audience_* -> figures, one row per model -> suite -> BorderResult

Consent is a join in the models; this border finds out if an edit broke the join. Values that a
spreadsheet would run as a formula are neutralised by the writer of each file; here is only seen
that no control character is in a value that leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from klantbeeld.quality.borders import BorderResult, Finding, Rule, Severity, check_frame

RULES = (
    Rule("exists", Severity.BLOCKS, "the model to be built", minimum=1),
    Rule("unapproved_columns", Severity.BLOCKS, "only approved columns", maximum=0),
    Rule("missing_columns", Severity.BLOCKS, "every approved column", maximum=0),
    Rule("empty_keys", Severity.BLOCKS, "a key in every row", maximum=0),
    Rule("double_keys", Severity.BLOCKS, "each key once", maximum=0),
    Rule("rows_without_consent", Severity.BLOCKS, "consent for channel and purpose", maximum=0),
    Rule("control_characters", Severity.BLOCKS, "no control character in a text", maximum=0),
    Rule("rows", Severity.WARNS, "at least one row", minimum=1),
)


@dataclass(frozen=True)
class LeavingModel:
    """A model whose rows leave the platform.

    Attributes:
        schema: Its schema.
        name: Its name.
        key: The column that the destination knows a row by.
        approved: The columns that may leave.
        internal: Columns that are in the model and do not leave (keys of ours, what tells whom a
            row is about, the consent itself).
        channel: The channel of an audience; its rows are contact points of that channel.
        purpose: The purpose that each of them must be allowed for; None where no consent is needed.
    """

    schema: str
    name: str
    key: str
    approved: frozenset[str]
    internal: frozenset[str] = frozenset()
    channel: str | None = None
    purpose: str | None = None

    @property
    def expected(self) -> frozenset[str]:
        """The columns that it has, and no others."""
        return self.approved | self.internal | {self.key}

    @property
    def subject(self) -> str:
        """How a finding names it."""
        return f"{self.schema}.{self.name}"


def check_egress(
    con: duckdb.DuckDBPyConnection, suite_name: str, leaving: Sequence[LeavingModel]
) -> BorderResult:
    """Check models that are about to leave.

    Args:
        con: The build.
        suite_name: The name of the suite.
        leaving: The models.
    """
    parts = [_figures_sql(con, model) for model in leaving]
    frame = con.execute(" union all by name ".join(parts)).df()
    result = check_frame(suite_name, frame, RULES)
    findings = tuple(_with_columns(con, finding, leaving) for finding in result.findings)
    return replace(result, findings=findings)


def _with_columns(
    con: duckdb.DuckDBPyConnection, finding: Finding, leaving: Sequence[LeavingModel]
) -> Finding:
    """The finding, with the names of the columns that it is about."""
    names: set[str] = set()
    for model in leaving:
        if model.subject not in finding.subjects:
            continue
        present, expected = set(_columns(con, model)), model.expected
        if finding.rule.column == "unapproved_columns":
            names |= present - expected
        elif finding.rule.column == "missing_columns":
            names |= expected - present
    if not names:
        return finding
    word = "not" if finding.rule.column == "unapproved_columns" else "also"
    sentence = f"{finding.rule.sentence}, {word} {', '.join(sorted(names))}"
    return replace(finding, rule=replace(finding.rule, sentence=sentence))


def _columns(con: duckdb.DuckDBPyConnection, model: LeavingModel) -> dict[str, str]:
    """SQL type by column of a model; nothing if it is not built."""
    columns = con.execute(
        "select column_name, data_type from duckdb_columns() "
        "where schema_name = $schema and table_name = $name",
        {"schema": model.schema, "name": model.name},
    )
    return dict(columns.fetchall())


def _figures_sql(con: duckdb.DuckDBPyConnection, model: LeavingModel) -> str:
    present, expected = _columns(con, model), model.expected
    head = f"""
        '{model.subject}' as subject,
        {int(bool(present))} as exists,
        {len(set(present) - expected)} as unapproved_columns,
        {len(expected - set(present))} as missing_columns
    """
    if model.key not in present:
        return f"""
            select {head}, 0 as rows, 0 as empty_keys, 0 as double_keys,
                0 as rows_without_consent, 0 as control_characters
        """
    texts = sorted(name for name in model.approved if present.get(name, "").startswith("VARCHAR"))
    is_unsafe = " or ".join(rf"""regexp_matches("{name}", '[\x00-\x1f\x7f]')""" for name in texts)
    without = "false"
    if model.purpose is not None:
        # Asked again of the contact points themselves, not of what the model made of them.
        without = f"""
            "{model.key}" not in (
                select contact_point_key
                from marts.dim_contact_points
                where channel = '{model.channel}' and is_{model.purpose}_allowed
            )
        """
    return f"""
        select
            {head},
            count(*) as rows,
            count(*) filter (where "{model.key}" is null) as empty_keys,
            count("{model.key}") - count(distinct "{model.key}") as double_keys,
            count(*) filter (where {without}) as rows_without_consent,
            count(*) filter (where {is_unsafe or "false"}) as control_characters
        from "{model.schema}"."{model.name}"
    """

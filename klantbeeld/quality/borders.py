"""Running a suite on a frame, and what comes of it, without any value of a row.

frame, rules -> Great Expectations -> findings by severity
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Severity(StrEnum):
    """What a broken expectation means."""

    BLOCKS = "blocks"
    WARNS = "warns"


@dataclass(frozen=True)
class Rule:
    """One expectation on a column of figures: every row's figure lies between two bounds.

    Attributes:
        column: The figure, a column of the frame.
        severity: What it means when it does not hold.
        sentence: What is expected, for the person who reads the check.
        minimum: The smallest figure that is accepted.
        maximum: The largest figure that is accepted.
    """

    column: str
    severity: Severity
    sentence: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Finding:
    """A rule that does not hold for one or more subjects (tables or models)."""

    subjects: tuple[str, ...]
    rule: Rule

    def __str__(self) -> str:
        return f"{', '.join(self.subjects)}: expected {self.rule.sentence}"


@dataclass(frozen=True)
class BorderResult:
    """What a suite found."""

    suite: str
    subjects: int
    evaluated: int
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.rule.severity is severity)


def check_frame(suite_name: str, frame: "pd.DataFrame", rules: Sequence[Rule]) -> BorderResult:
    """Hold a frame of figures (one row per subject, column `subject`) against rules.

    Args:
        suite_name: The name of the suite.
        frame: The figures; no column may hold a value of a person.
        rules: What is expected of each column.
    """
    results = _validate(suite_name, frame, rules)
    findings = tuple(
        Finding(_subjects_outside(frame, rule), rule)
        for rule, holds in zip(rules, results, strict=True)
        if not holds
    )
    return BorderResult(suite_name, len(frame), len(rules), findings)


def _validate(suite_name: str, frame: "pd.DataFrame", rules: Sequence[Rule]) -> list[bool]:
    # Read at import; it would otherwise report its use to its makers.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    # Progress bars would be written into the run's log.
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("border")
        .add_dataframe_asset(suite_name)
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(
        gx.ExpectationSuite(
            name=suite_name,
            expectations=[_expectation(gx, number, rule) for number, rule in enumerate(rules)],
        )
    )
    validation = gx.ValidationDefinition(name=suite_name, data=batch, suite=suite)
    # BOOLEAN_ONLY: the other formats put offending values into the result.
    outcome = validation.run(
        batch_parameters={"dataframe": frame}, result_format={"result_format": "BOOLEAN_ONLY"}
    )
    held: dict[int, bool] = {}
    for result in outcome.results:
        config = result.expectation_config
        if config is not None and config.meta is not None:
            held[int(config.meta["rule"])] = bool(result.success)
    return [held[number] for number in range(len(rules))]


def _expectation(gx: Any, number: int, rule: Rule) -> Any:
    return gx.expectations.ExpectColumnValuesToBeBetween(
        column=rule.column,
        min_value=rule.minimum,
        max_value=rule.maximum,
        severity="critical" if rule.severity is Severity.BLOCKS else "warning",
        # Two rules on one column and bounds would otherwise be one expectation.
        meta={"rule": number, "sentence": rule.sentence},
    )


def _subjects_outside(frame: "pd.DataFrame", rule: Rule) -> tuple[str, ...]:
    figures = frame[rule.column]
    outside = figures.isna() & False
    if rule.minimum is not None:
        outside |= figures < rule.minimum
    if rule.maximum is not None:
        outside |= figures > rule.maximum
    return tuple(frame.loc[outside, "subject"])

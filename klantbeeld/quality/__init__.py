"""Great Expectations at the two borders: what comes in (`landing`), what goes out (`egress`).

Belongs here: suites as code, with a severity each, and the small frames they look at. Does not:
anything between the borders (dbt tests do that), nor any orchestrator.

warehouse -> one aggregated frame per border (counts, never values) -> suite -> BorderResult

The frames are made by SQL in the engine: one row per table, so a suite costs the same for a
thousand rows as for a hundred million. Great Expectations is imported when a suite runs and not
before: the import alone is 11 s of CPU.
"""

from klantbeeld.quality.borders import BorderResult, Finding, Severity

__all__ = ["BorderResult", "Finding", "Severity"]

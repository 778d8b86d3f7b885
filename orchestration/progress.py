"""What a person sees while a run works: one line per thing done, and what needs attention.

Belongs here: collecting and showing lines. Does not: deciding anything. Lines carry counts and
names of stages, never a value of a person.

asset functions -> Progress -> stderr, and the summary of `orchestration.run`
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TextIO

STAGE_WORDS = {
    "load": "load",
    "staging": "clean",
    "intermediate": "harmonise",
    "identity": "link",
    "marts": "publish",
    "insights": "measure",
    "segments": "choose",
    "activation": "shape",
    "warehouse": "publish",
    "send": "send",
}


@dataclass(frozen=True)
class Line:
    """One thing that was done."""

    stage: str
    what: str
    status: str
    counts: Mapping[str, int | float | str]
    seconds: float


@dataclass(frozen=True)
class Problem:
    """Something a person has to know: `failed` stops the run's purpose, `attention` does not."""

    stage: str
    what: str
    message: str
    severity: Literal["failed", "attention"]


@dataclass
class Progress:
    """Lines and problems of one run of the pipeline; shows each line as it comes."""

    stream: TextIO | None = None
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def done(
        self,
        stage: str,
        what: str,
        counts: Mapping[str, int | float | str] | None = None,
        seconds: float = 0.0,
        status: str = "done",
    ) -> None:
        """Record and show that one thing was done."""
        line = Line(stage, what, status, dict(counts or {}), round(seconds, 2))
        self.lines.append(line)
        mark = {"done": "·", "unchanged": "=", "failed": "✗", "attention": "!"}.get(status, "·")
        self._write(
            f"{mark} {stage:<10} {what:<41} {_describe(line.counts):<62} {line.seconds:>7.1f} s"
        )

    def problem(
        self, stage: str, what: str, message: str, severity: Literal["failed", "attention"]
    ) -> None:
        """Record something that needs attention, once."""
        found = Problem(stage, what, message, severity)
        if found not in self.problems:
            self.problems.append(found)

    def warn(self, text: str) -> None:
        """Show what somebody may look at, below the line of what was done; it needs nobody now."""
        self._write(f"  warning: {text}")

    def say(self, text: str) -> None:
        """Show a line that is not part of the record."""
        self._write(text)

    def as_dict(self) -> dict[str, Any]:
        """The record, ready for JSON."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def _write(self, text: str) -> None:
        if self.stream is not None:
            self.stream.write(text.rstrip() + "\n")
            self.stream.flush()


# Runs that Dagster starts by itself record into this one and show nothing: their lines are in the
# event log. `orchestration.run` puts its own in place; one process runs one pipeline at a time.
_current = Progress()


def progress() -> Progress:
    """The record of the run that this process works on."""
    return _current


@contextmanager
def recording(stream: TextIO | None = sys.stderr) -> Iterator[Progress]:
    """Record into a new Progress that writes to `stream`."""
    global _current
    before = _current
    _current = Progress(stream)
    try:
        yield _current
    finally:
        _current = before


def _describe(counts: Mapping[str, int | float | str]) -> str:
    parts = []
    for name, value in counts.items():
        label = name.replace("_", " ")
        if isinstance(value, str):
            parts.append(f"{label} {value}" if label else value)
        elif isinstance(value, float):
            parts.append(f"{label} {value:.3f}")
        elif value:
            parts.append(f"{value:,} {_singular(label) if value == 1 else label}")
    return ", ".join(parts)


def _singular(label: str) -> str:
    return label.removesuffix("ies") + "y" if label.endswith("ies") else label.removesuffix("s")

"""Errors that are meant to be read by a person.

Every foreseeable failure is a `KlantbeeldError`: what is wrong, what to do about it, and the exit
code that the command line gives. Anything else is a bug and keeps its traceback.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every `klantbeeld` command; documented in docs/command-line.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ATTENTION = 3
    BUSY = 4


def in_one_line(message: str, hint: str | None) -> str:
    """What is wrong and what to do, as sentences of one line."""
    if not hint:
        return message
    return f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} {hint}"


class KlantbeeldError(Exception):
    """A failure with a message for the person who has to act.

    Args:
        message: What is wrong, naming the file, row or setting; never a personal value.
        hint: What to do about it.
        exit_code: The exit code of a command that ends with this error.
    """

    def __init__(
        self, message: str, hint: str | None = None, exit_code: int = ExitCode.FAILED
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = int(exit_code)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class SettingsError(KlantbeeldError):
    """A setting that is missing or wrong, named with what is expected."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint, ExitCode.USAGE)


# What code raises that meets something which its author did not think of, such as an answer of
# another shape. What the machine has to do with (disk, memory, database) is none of it.
_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def unforeseen_in_one_line() -> Iterator[None]:
    """Tell an error that nobody thought of by where it was raised, and by none of its words.

    For code that meets what other systems say: those words may be a row's values, and one system
    must not end what has nothing to do with it.

    Raises:
        KlantbeeldError: Instead of an error that was not foreseen.
    """
    try:
        yield
    except KlantbeeldError:
        raise
    except _UNFORESEEN as error:
        place = "an unknown place"
        for frame, line in traceback.walk_tb(error.__traceback__):
            place = f"{Path(frame.f_code.co_filename).name}, line {line}"
        raise KlantbeeldError(
            f"something that was not foreseen ({type(error).__name__} in {place})",
            "Please report it with this line. An answer may have a shape that was not expected.",
        ) from None

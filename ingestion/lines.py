"""Text files as Arrow lines, whatever bytes they hold.

Each line stands by itself, so nothing in one line can spoil another. A file is read as UTF-8; a
file that is not UTF-8 is read as Latin-1 (in its Windows form, which is what tills write) if that
leaves fewer lines unread. A line that cannot be read is null here, with a printable form of its
bytes beside it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.landing import LandedFile
from ingestion.validation import numbered

# Lines of many small files are handed on together: a till file has hundreds, and each batch costs
# the same few milliseconds however small it is.
BATCH_BYTES = 32 * 1024 * 1024
_KEPT_BYTES = 4_096


@dataclass(frozen=True)
class Lines:
    """Lines of one file: text (null if it cannot be read), number in the file, printable bytes."""

    text: pa.Array
    numbers: pa.Array
    raw: pa.Array


@dataclass(frozen=True)
class Batch:
    """Lines of several files."""

    text: pa.Array
    numbers: pa.Array
    raw: pa.Array
    files: pa.Array


def read_lines(data: bytes) -> Lines:
    """The lines of a file that are not empty."""
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    try:
        lines = _split(pa.array([data.decode("utf-8")], pa.large_string()))
        raw = pa.nulls(len(lines), pa.string())
    except UnicodeDecodeError:
        lines, raw = _decode(data)
    numbers = numbered(len(lines))
    filled = pc.fill_null(pc.not_equal(pc.binary_length(lines), 0), fill_value=True)
    return Lines(lines.filter(filled), numbers.filter(filled), raw.filter(filled))


def batches(files: Iterable[tuple[LandedFile, Lines]]) -> Iterator[Batch]:
    """Lines of many files, put together to a size that is worth the work."""
    gathered: list[tuple[LandedFile, Lines]] = []
    size = 0
    for file, lines in files:
        gathered.append((file, lines))
        size += file.size
        if size >= BATCH_BYTES:
            yield _together(gathered)
            gathered, size = [], 0
    if gathered:
        yield _together(gathered)


def _together(gathered: list[tuple[LandedFile, Lines]]) -> Batch:
    return Batch(
        text=pa.chunked_array([lines.text.cast(pa.large_string()) for _, lines in gathered]),
        numbers=pa.chunked_array([lines.numbers for _, lines in gathered]),
        raw=pa.chunked_array([lines.raw for _, lines in gathered]),
        files=pa.chunked_array(
            [pa.repeat(pa.scalar(file.name), len(lines.text)) for file, lines in gathered]
        ),
    )


def _split(whole: pa.Array) -> pa.Array:
    separator = "\n" if pa.types.is_large_string(whole.type) else b"\n"
    return pc.list_flatten(pc.split_pattern(whole, pattern=separator))


def _decode(data: bytes) -> tuple[pa.Array, pa.Array]:
    """Text of lines that are not all UTF-8, and a printable form of those that cannot be read."""
    # A byte that is no UTF-8 becomes a code point of a range of its own; the rest is arithmetic.
    escaped = data.decode("utf-8", "surrogateescape")
    points = np.frombuffer(escaped.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.flatnonzero(points == ord("\n"))
    bad = _lines_with(ends, (points >= 0xDC80) & (points <= 0xDCFF))
    beyond_ascii = _lines_with(ends, points >= 0x80)
    if bad.sum() >= (beyond_ascii & ~bad).sum():
        # A byte that means nothing in Windows Latin-1 becomes U+FFFD, which no byte stands for.
        windows = data.decode("cp1252", "replace")
        text = _split(pa.array([windows], pa.large_string()))
        bad = pc.match_substring(text, "\ufffd").to_numpy(zero_copy_only=False)
    else:
        readable = escaped.encode("utf-8", "replace").decode()
        text = _split(pa.array([readable], pa.large_string()))
    mask = pa.array(bad)
    shown = [
        line[:_KEPT_BYTES].decode("ascii", "backslashreplace").replace("\0", "\\x00")
        for line in _split(pa.array([data], pa.large_binary())).filter(mask).to_pylist()
    ]
    raw = pc.replace_with_mask(pa.nulls(len(text), pa.string()), mask, pa.array(shown, pa.string()))
    return pc.if_else(mask, pa.scalar(None, pa.large_string()), text), raw


def _lines_with(ends: Any, wanted: Any) -> Any:
    """Which lines hold at least one of the wanted code points."""
    found = np.zeros(len(ends) + 1, dtype=bool)
    found[np.searchsorted(ends, np.flatnonzero(wanted))] = True
    return found

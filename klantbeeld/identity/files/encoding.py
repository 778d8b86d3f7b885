"""What kind of file it is and how its bytes become text.

Here: looking at bytes. Not here: rows and columns (`reading`).
"""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from klantbeeld.errors import ExitCode, KlantbeeldError

_CHUNK: Final = 1 << 20
_PARQUET: Final = b"PAR1"
# What people rename to .csv, by the first bytes.
_OTHER_FILES: Final = (
    (b"PK\x03\x04", "a spreadsheet or another zip file", "Save it as CSV (UTF-8) first."),
    (b"\xd0\xcf\x11\xe0", "an Excel or Word file", "Save it as CSV (UTF-8) first."),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first."),
    (b"BZh", "compressed with bzip2", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Unpack it first."),
    (b"%PDF", "a PDF file", "Give a CSV or a Parquet file."),
    (b"SQLite format 3", "a SQLite database", "Export the table as CSV first."),
)
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    # Before UTF-16, whose mark begins the same.
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
# Control characters that no text has.
_CONTROL: Final = bytes({*range(1, 9), *range(14, 27), *range(28, 32)})
_MOST_CONTROL: Final = 0.02


@dataclass(frozen=True)
class Encoding:
    """How a text file is read.

    Attributes:
        codec: Python's name of the codec.
        label: What people call it.
        damaged: Bytes that are no text in it; they are read as the replacement character.
        has_nul: Whether it holds NUL characters.
    """

    codec: str
    label: str
    damaged: int = 0
    has_nul: bool = False


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its first bytes.

    Raises:
        KlantbeeldError: It is empty, named Parquet but something else, or no table at all.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
    if not start:
        raise KlantbeeldError(
            f"{path} is empty",
            "Give a CSV file whose first line names its columns, or Parquet.",
            ExitCode.USAGE,
        )
    if start.startswith(_PARQUET):
        return True
    for first, what, hint in _OTHER_FILES:
        if start.startswith(first):
            raise KlantbeeldError(f"{path} is {what}", hint, ExitCode.USAGE)
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise KlantbeeldError(
            f"{path} is not a Parquet file",
            "A CSV file may have any other ending, such as .csv.",
            ExitCode.USAGE,
        )
    return False


def detect_encoding(path: Path) -> Encoding:
    """How to read a text file: UTF-8, UTF-16, UTF-32 or Windows-1252 (which holds Latin-1).

    The whole file is looked at, in pieces: its one accented name may be at its end.

    Raises:
        KlantbeeldError: It is not text.
    """
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    for mark, codec, label in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return _checked(path, codec, label)
    nuls_even, nuls_odd = start[0::2].count(0), start[1::2].count(0)
    half = max(1, len(start) // 2)
    # Latin letters in UTF-16: every second byte is zero.
    if nuls_odd > 0.4 * half and nuls_even < 0.1 * half:
        return _checked(path, "utf-16-le", "UTF-16")
    if nuls_even > 0.4 * half and nuls_odd < 0.1 * half:
        return _checked(path, "utf-16-be", "UTF-16")
    control = len(start) - len(start.translate(None, _CONTROL)) + start.count(0)
    if control > max(8, _MOST_CONTROL * len(start)):
        raise KlantbeeldError(
            f"{path} is not a text file", "Give a CSV or a Parquet file.", ExitCode.USAGE
        )
    return _checked(path, "utf-8", "UTF-8")


def _checked(path: Path, codec: str, label: str) -> Encoding:
    """The encoding, if the bytes bear it out; for what is no UTF-8 the next best."""
    decoder = codecs.getincrementaldecoder(codec)(errors="replace")
    damaged, foreign, has_nul = 0, 0, False
    with path.open("rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            text = decoder.decode(chunk, final=not chunk)
            damaged += text.count("\ufffd")
            foreign += len(text) - len(text.encode("ascii", "ignore"))
            has_nul = has_nul or "\0" in text
            if not chunk:
                break
    # Where most of what is not ASCII is no UTF-8, it is the older encoding; a few bad bytes in
    # good UTF-8 are damage.
    if codec == "utf-8" and damaged > (foreign - damaged):
        return Encoding("cp1252", "Windows-1252 (Latin-1)", 0, has_nul)
    return Encoding(codec, label, damaged, has_nul)

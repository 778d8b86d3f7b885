"""Many small text files out of one table, without a loop over rows.

The lines are made by SQL and sorted by file; a file's content then is one slice of Arrow's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def slices(files: pa.Array, lines: pa.Array) -> Iterator[tuple[str, bytes]]:
    """Give each file's name and bytes.

    Args:
        files: The file of each line, sorted.
        lines: The lines, each with its line end.
    """
    if len(files) == 0:
        return
    runs = pc.run_end_encode(files)
    ends = runs.run_ends.to_numpy()
    names = runs.values.to_pylist()
    text = lines.cast(pa.large_string())
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[text.offset :]
    data = memoryview(text.buffers()[2])
    start = 0
    for name, end in zip(names, ends, strict=True):
        yield name, bytes(data[offsets[start] : offsets[end]])
        start = end


def append(path: Path, content: bytes, header: bytes = b"") -> None:
    """Add to a file that is still being made; a new one starts with the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        if header and not stream.tell():
            stream.write(header)
        stream.write(content)


def drop(path: Path, content: bytes, header: bytes = b"") -> None:
    """Put a whole file in place at once, as a till does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(header + content)
    temporary.replace(path)


Writer = Callable[[Path, bytes, bytes], None]

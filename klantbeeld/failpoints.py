"""Named places where a test may kill the process, to show that the next run converges.

`KLANTBEELD_FAILPOINT=publish.before_commit` kills the process (SIGKILL, as an out-of-memory killer
would) the first time it passes that point; `name:3` the third time. Without the variable a
failpoint is nothing.
"""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Die here if the environment asks for it."""
    wanted = os.environ.get("KLANTBEELD_FAILPOINT")
    if not wanted:
        return
    wanted_name, _, count = wanted.partition(":")
    if name != wanted_name:
        return
    _passed[name] += 1
    if _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)

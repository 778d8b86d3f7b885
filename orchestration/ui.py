"""The Dagster UI of a home on 127.0.0.1: `python -m orchestration.ui --port 3000`.

Belongs here: starting the web server with its daemon, and ending all of it. Does not: definitions.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from klantbeeld.errors import KlantbeeldError
from klantbeeld.settings import load_settings
from orchestration.instance import prepare_dagster_home

_WORKSPACE = Path(__file__).resolve().parent.parent / "workspace.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.ui", description=__doc__)
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args(arguments)
    # As of a run: what Dagster's processes write in the home is the owner's alone.
    os.umask(0o077)
    try:
        settings = load_settings()
        environment = {
            **os.environ,
            "KLANTBEELD_HOME": str(settings.paths.home),
            "DAGSTER_HOME": str(prepare_dagster_home(settings)),
            # What it recommends instead is a command line for projects that it laid out itself.
            "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        }
    except KlantbeeldError as error:
        sys.stderr.write(f"klantbeeld: {error}\n")
        return error.exit_code
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(_WORKSPACE), "-h", "127.0.0.1"]
    # A session of its own: `dagster dev` can end before its web server, daemon and code server do,
    # so all of them are ended together, as a group.
    child = subprocess.Popen(
        [*command, "-p", str(options.port)], env=environment, start_new_session=True
    )

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sys.stderr.write(f"Dagster UI: http://127.0.0.1:{options.port} (Ctrl-C stops it)\n")
    try:
        return child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(child.pid, number)
            child.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())

"""Run the newsletter tool: `python -m demo.newsletter --db PATH --port N --token-file FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from demo.newsletter.app import make_app


def main(arguments: list[str] | None = None) -> int:
    """Serve one newsletter store on 127.0.0.1 until the process is stopped."""
    parser = argparse.ArgumentParser(prog="python -m demo.newsletter", description=main.__doc__)
    parser.add_argument(
        "--db", type=Path, required=True, help="SQLite file of demo.newsletter.store"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        token = options.token_file.read_text().strip()
    except OSError as error:
        sys.stderr.write(f"{options.token_file}: {error.strerror}\n")
        return 2
    if not token or not options.db.exists():
        sys.stderr.write("expected a token in --token-file and a store at --db\n")
        return 2
    # No access log: cursors hold e-mail addresses.
    uvicorn.run(
        make_app(options.db, token),
        host="127.0.0.1",
        port=options.port,
        access_log=False,
        log_level="warning",
        ws="none",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

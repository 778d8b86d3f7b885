"""Run the CRM: `python -m demo.crm --db PATH --port N --client-id ID --client-secret-file FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from demo.crm import privileges, store
from demo.crm.access import Limits
from demo.crm.app import CrmOptions, make_app
from klantbeeld.errors import KlantbeeldError


def main(arguments: list[str] | None = None) -> int:
    """Serve one CRM file on 127.0.0.1 until the process is stopped."""
    options = _parser().parse_args(arguments)
    try:
        secret = options.client_secret_file.read_text().strip()
    except OSError as error:
        sys.stderr.write(f"{options.client_secret_file}: {error.strerror}\n")
        return 2
    if not secret:
        sys.stderr.write(f"{options.client_secret_file}: is empty\n")
        return 2
    try:
        store.create(options.db)
    except KlantbeeldError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    app = make_app(
        CrmOptions(
            database=options.db,
            client_id=options.client_id,
            client_secret=secret,
            clock_file=options.clock_file,
            token_seconds=options.token_seconds,
            delta_seconds=options.delta_days * 86_400,
            limits=Limits(
                requests=options.limit_requests,
                window_seconds=options.limit_window,
                concurrent=options.limit_concurrent,
            ),
            withheld=tuple(options.withhold),
        )
    )
    # No access log: addresses with a $filter hold personal data.
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, access_log=False, log_level="warning", ws="none"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.crm", description=main.__doc__)
    parser.add_argument("--db", type=Path, required=True, help="SQLite file; made when absent")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--client-secret-file", type=Path, required=True)
    parser.add_argument(
        "--clock-file", type=Path, help='JSON {"as_of": …} that stamps writes; else the wall clock'
    )
    parser.add_argument("--token-seconds", type=float, default=3599.0, help="a token's lifetime")
    parser.add_argument("--delta-days", type=float, default=7.0, help="a delta link's lifetime")
    parser.add_argument("--limit-requests", type=int, default=6000, help="requests per window")
    parser.add_argument("--limit-window", type=float, default=300.0, help="window in seconds")
    parser.add_argument("--limit-concurrent", type=int, default=52, help="requests at once")
    parser.add_argument(
        "--withhold",
        action="append",
        default=[],
        choices=privileges.names(),
        metavar="PRIVILEGE",
        help="a privilege that the client lacks, such as prvDeletecontact; may be repeated",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The same small job given to drt-core and to Klantbeeld, with the same harm done to both.

    python -m venv drt && drt/bin/pip install 'drt-core[postgres]==1.2.1'
    python -m benchmarks.side_by_side --drt drt/bin/drt

drt-core is another open tool that sends tables to APIs. Each tool is run as a person would run it,
by its command line, and told to be as careful as its documentation says it can be. What it then
reports (exit code, rows) is put beside what the server holds: rows that are right, missing, or
there twice, and the requests it took. The server is the one of the delivery tests. Four APIs:

    upsert  100 rows a request, made or changed by our key; each row has its own result
    find    one row a request, made anew each time; rows can be searched by our key
    keys    the same, without the search, but an Idempotency-Key is honoured
    blind   the same, without either

drt reads a PostgreSQL table, because its ledger of deliveries needs one; Klantbeeld a published
version. Two requests are harmed, after three and after eight tenths of the rows; the kill comes
half way, when the server has done what it was asked and before it can say so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg

from demo.shop import server as postgres
from tests.fixtures import destinations as harm
from tests.fixtures.destinations import SYNC, Asked, RowsWorld, Service, Told

Row = dict[str, Any]
COLUMNS = ("customer", "name", "city", "points")
BATCH = 100
# drt waits 30 s for an answer, which no setting changes; Klantbeeld is told to wait as long.
TIMEOUT_SECONDS = 30
REFUSED = {"status": "error", "code": "locked"}


def people(count: int) -> list[Row]:
    """Rows of the table, all of invented people."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return [
        {"customer": f"c{n:05d}", "name": f"Bedacht {n}", "city": "Tiel", "points": n,
         "updated_at": moment + timedelta(seconds=n)}
        for n in range(count)
    ]  # fmt: skip


# ---- the APIs ------------------------------------------------------------------------------------


class Api(Protocol):
    """What the server does.

    Attributes:
        refusals: So many of the next rows are refused, each in its own result.
    """

    refusals: int

    def __call__(self, asked: Asked) -> Told:
        """Answer a request."""
        ...

    def held(self) -> list[Row]:
        """The rows that are there."""
        ...


class Upserting:
    """Makes or changes rows by our key, many in one request, with a result for each."""

    def __init__(self) -> None:
        self.refusals = 0
        self._rows: dict[str, Row] = {}

    def __call__(self, asked: Asked) -> Told:
        """Take a batch."""
        results = []
        for row in asked.json["rows"]:
            told = {"customer": row["customer"], "status": "ok"}
            if self.refusals:
                self.refusals -= 1
                told |= REFUSED
            else:
                self._rows.setdefault(row["customer"], {}).update(row)
            results.append(told)
        return Told(200, {"results": results})

    def held(self) -> list[Row]:
        """The rows that are there."""
        return list(self._rows.values())


class Creating:
    """Makes a row of whatever it is sent; `honours_keys`: once for each Idempotency-Key."""

    def __init__(self, *, honours_keys: bool = False) -> None:
        self.refusals = 0
        self._honours_keys = honours_keys
        self._answers: dict[str, Told] = {}
        self._rows: list[Row] = []

    def __call__(self, asked: Asked) -> Told:
        """Search, make or change."""
        if asked.method == "GET":
            wanted = asked.query["customer"][0]
            found = [
                {"id": number, **row}
                for number, row in enumerate(self._rows)
                if row["customer"] == wanted
            ]
            return Told(200, {"rows": found})
        if asked.method == "PATCH":
            row = self._rows[int(asked.path.rpartition("/")[2])]
            row.update(asked.json)
            return Told(200, {"customer": row["customer"]})
        if self.refusals:
            self.refusals -= 1
            return Told(200, {"errors": [REFUSED]})
        key = asked.headers.get("idempotency-key") if self._honours_keys else None
        if key is not None and key in self._answers:
            return self._answers[key]
        self._rows.append(asked.json)
        told = Told(201, {"customer": asked.json["customer"]})
        if key is not None:
            self._answers[key] = told
        return told

    def held(self) -> list[Row]:
        """The rows that are there."""
        return self._rows


# ---- what is done to a request -------------------------------------------------------------------


def errors_inside(api: Api, asked: Asked) -> Told:
    """Three rows are not taken, and the answer says so inside a 200."""
    api.refusals = min(3, len(asked.json.get("rows", "1")))
    return api(asked)


def multi_status(api: Api, asked: Asked) -> Told:
    """The same, with 207."""
    return replace(errors_inside(api, asked), status=207)


def hang_after(api: Api, asked: Asked) -> None:
    """All of it was done, and nobody says anything for longer than a client waits."""
    api(asked)
    time.sleep(TIMEOUT_SECONDS + 3)


def slow(api: Api, asked: Asked) -> Told:
    """The answer takes its time."""
    told = api(asked)
    time.sleep(2)
    return told


def wrong_order(api: Api, asked: Asked) -> Told:
    """The results come in another order than the rows."""
    told = api(asked)
    return replace(told, json={"results": told.json["results"][::-1]})


def outage(_: Api, __: Asked) -> Told:
    """One of many refusals in a row."""
    return Told(503)


Damage = Callable[[Any, Asked], Told | None]
FAULTS: dict[str, Damage | None] = {
    "none": None,
    "429, Retry-After: 1": harm.too_many,
    "500 before commit": harm.error_before,
    "500 after commit": harm.error_after,
    "reset before commit": harm.reset_before,
    "reset after commit": harm.reset_after,
    "silence after commit": hang_after,
    "200, 3 rows refused inside": errors_inside,
    "207, 3 rows refused inside": multi_status,
    "200, a page of HTML": harm.html_page,
    "half an answer": harm.truncated,
    "slow": slow,
    "another order": wrong_order,
}
OUTAGE, KILL, CHANGE = "503 to 30 requests", "kill -9", "1 % of the rows change"
AFTER_COMMIT = ("500 after commit", "reset after commit", KILL)
# Faults of a batch's answer mean nothing where a request is one row.
ALONE = [name for name in FAULTS if name not in ("another order", "207, 3 rows refused inside")]
CASES: dict[str, Sequence[str]] = {
    "upsert": [*FAULTS, OUTAGE, KILL, CHANGE],
    "find": [*ALONE, KILL],
    "keys": AFTER_COMMIT,
    "blind": AFTER_COMMIT,
}


# ---- the two tools -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a run reported."""

    exit_code: int
    report: str


class Tool(Protocol):
    """A tool with a job of its own, prepared from nothing."""

    name: str

    def load(self, rows: Sequence[Row]) -> None:
        """Let its table hold these rows."""
        ...

    def commands(self) -> Iterator[subprocess.Popen[str]]:
        """Start what a person would run, one command after the other."""
        ...

    def said(self, exit_code: int, told: str) -> Said:
        """What the last of the commands reported."""
        ...


class Drt:
    """drt-core with a ledger, a dead letter queue, retries and a cursor."""

    name = "drt"

    def __init__(self, program: Path, folder: Path, api: str, url: str, database: Path) -> None:
        self._program = program
        self._folder = folder
        self._database = database
        self._has_run = False
        (folder / "syncs").mkdir(parents=True)
        (folder / ".drt").mkdir()
        connection = {"type": "postgres", "host": str(database), "port": 5432}
        connection |= {"dbname": "postgres", "user": postgres.SUPERUSER}
        connection["managed_schema"] = f"_drt_{folder.name}"
        # JSON is YAML.
        (folder / ".drt" / "profiles.yml").write_text(json.dumps({"here": connection}))
        state = {"backend": "warehouse", "connection_profile": "here", "idempotency": True}
        project = {"name": "members", "version": "0.1", "profile": "here", "state": state}
        (folder / "drt_project.yml").write_text(json.dumps(project))
        (folder / "syncs" / "members.yml").write_text(json.dumps(self._sync(api, url)))

    def _sync(self, api: str, url: str) -> dict[str, Any]:
        fields = ", ".join(f'"{name}": {{{{ row.{name} | tojson_safe }}}}' for name in COLUMNS)
        to: dict[str, Any] = {"type": "rest_api", "url": f"{url}/members", "method": "POST"}
        to["headers"] = {"Content-Type": "application/json"}
        if api == "upsert":
            rows = (
                f"{{% for row in rows %}}{{{fields}}}{{{{ ',' if not loop.last }}}}{{% endfor %}}"
            )
            to |= {"body_mode": "batch", "batch_template": f'{{"rows": [{rows}]}}'}
            to |= {"max_records_per_request": BATCH, "native_idempotency_key": "{{ request_id }}"}
        else:
            to |= {"body_template": f"{{{fields}}}"}
            to["native_idempotency_key"] = "{{ row.customer }}-{{ row.updated_at }}"
        return {
            "name": "members",
            "model": "ref('members')",
            "destination": to,
            "sync": {
                "mode": "incremental",
                "cursor_field": "updated_at",
                "idempotency_key": "{{ row.customer }}-{{ row.updated_at }}",
                # The ledger is written after each batch: smaller ones lose less when it is killed.
                "batch_size": BATCH if api == "upsert" else 10,
                "rate_limit": {"requests_per_second": 1_000},
                "retry": {"max_attempts": 5},
                "on_error": "skip",
                "dlq": {"enabled": True},
            },
        }

    def load(self, rows: Sequence[Row]) -> None:
        """Fill the table in PostgreSQL."""
        with psycopg.connect(
            host=str(self._database), dbname="postgres", user=postgres.SUPERUSER
        ) as connection:
            connection.execute("drop table if exists members")
            connection.execute(
                "create table members (customer text primary key, name text, city text,"
                " points integer, updated_at text)"
            )
            with connection.cursor().copy("copy members from stdin") as copy:
                for row in rows:
                    # As text: of a row with a timestamp, drt's dead letter queue keeps nothing.
                    copy.write_row([row[name] for name in COLUMNS] + [str(row["updated_at"])])

    def commands(self) -> Iterator[subprocess.Popen[str]]:
        """The sync; from the second time on after what its dead letter queue holds."""
        commands = [["run", "--output", "json"]]
        if self._has_run:
            commands.insert(0, ["retry", "members"])
        self._has_run = True
        environment = {**os.environ, "HOME": str(self._folder), "DO_NOT_TRACK": "1"}
        environment.pop("PYTHONPATH", None)
        for command in commands:
            yield started([str(self._program), *command], self._folder, environment)

    def said(self, exit_code: int, told: str) -> Said:
        """Status and counts of the run."""
        if exit_code < 0:
            return Said(exit_code, "killed")
        (run,) = json.loads(told)["syncs"]
        report = f"{run['status']}: {run['rows_synced']:,} synced"
        if run["rows_failed"]:
            report += f", {run['rows_failed']:,} failed"
        return Said(exit_code, report)


class Klantbeeld:
    """Klantbeeld with its defaults, and the API described in its settings."""

    name = "Klantbeeld"

    def __init__(self, folder: Path, api: str, url: str) -> None:
        folder.mkdir(parents=True)
        self._home = folder / "home"
        self._api = api
        self._section = {
            "kind": "rest",
            "base_url": f"{url}/",
            "timeout_seconds": TIMEOUT_SECONDS,
            "entities": {"rows": self._entity(api)},
        }

    @staticmethod
    def _entity(api: str) -> dict[str, Any]:
        if api == "upsert":
            batch = {"path": "members", "largest": BATCH, "body": {"rows": "{rows}"}}
            batch |= {"rows": "results", "key": "customer", "status": "status", "ok": ["ok"]}
            return {"batch": batch}
        create: dict[str, Any] = {"method": "POST", "path": "members", "body": "{row}"}
        create["answer"] = {"key": "customer", "errors": "errors"}
        if api == "keys":
            create["headers"] = {"Idempotency-Key": "{op_id}"}
        if api != "find":
            return {"create": create}
        find = {"path": "members", "query": {"customer": "{key}"}, "rows": "rows"}
        find |= {"key": "customer", "id": "id"}
        update = {"method": "PATCH", "path": "members/{id}", "body": "{values}"}
        return {"find": find, "create": create, "update": update}

    def load(self, rows: Sequence[Row]) -> None:
        """Publish a version."""
        world = RowsWorld(self._home, self._section, batch_size=BATCH)
        mode = "upsert" if self._api in ("upsert", "find") else "create_only"
        columns = {name: name for name in COLUMNS}
        world.publish(
            [{name: row[name] for name in COLUMNS} for row in rows],
            columns,
            mode=mode,
            on_leave="nothing",
        )
        world.close()
        settings = {
            "environment": "demo",
            "allow_private_addresses": True,
            "activation": {"batch_size": BATCH},
            "destinations": {"x": {"environment": "demo", **self._section}},
        }
        (self._home / "klantbeeld.toml").write_text("\n".join(_toml(settings)))

    def commands(self) -> Iterator[subprocess.Popen[str]]:
        """The sync, whether or not it ran before."""
        command = "from klantbeeld.cli import main; main()"
        environment = {**os.environ, "KLANTBEELD_HOME": str(self._home)}
        yield started(
            [sys.executable, "-c", command, "sync", "run", SYNC, "--json"], Path.cwd(), environment
        )

    def said(self, exit_code: int, told: str) -> Said:
        """Status and counts of the run."""
        if exit_code < 0:
            return Said(exit_code, "killed")
        run = json.loads(told)
        counts = [f"{run['acknowledged']:,} acknowledged"]
        counts += [
            f"{run[name]:,} {word}"
            for name, word in (
                ("rejected", "rejected"),
                ("unknown", "unknown"),
                ("blocked", "wait"),
            )
            if run[name]
        ]
        return Said(exit_code, f"{run['status']}: {', '.join(counts)}")


def _toml(section: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """A section as TOML, one key a line."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _toml(value, f"{path}{name}.")
        else:
            yield f"{path}{name} = {json.dumps(value)}"


def started(command: list[str], folder: Path, environment: Mapping[str, str]) -> Any:
    """Start a command whose output is kept."""
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# ---- one case ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What the server held after a run, and the requests that the run took."""

    right: int
    missing: int
    double: int
    requests: int

    def __str__(self) -> str:
        wrong = f"**{self.missing:,}**" if self.missing else "0"
        double = f"**{self.double:,}**" if self.double else "0"
        return f"{self.right:,} | {wrong} | {double} | {self.requests:,}"


class Case:
    """One tool, one API, one kind of harm."""

    def __init__(self, api: Api, service: Service, tool: Tool, rows: list[Row]) -> None:
        self._api = api
        self._service = service
        self._tool = tool
        self._rows = rows
        self._process: subprocess.Popen[str] | None = None
        tool.load(rows)

    def run(self, fault: str, requests: int) -> tuple[Said, Held]:
        """Run the tool while the server does its harm.

        Args:
            fault: The kind of harm.
            requests: Writes that the job takes when nothing goes wrong.
        """
        self._service.seen.clear()
        damages: list[Damage | None] = [None] * requests
        if fault == KILL:
            damages[requests // 2] = self._kill
        elif fault == OUTAGE:
            damages[requests // 2 : requests // 2] = [outage] * 30
        else:
            for tenth in (3, 8):
                damages[requests * tenth // 10 - 1] = FAULTS.get(fault)
        self._service.damages = damages
        return self._run()

    def again(self, fault: str) -> tuple[Said, Held]:
        """Run it once more with nothing in its way."""
        self._service.damages = []
        self._service.seen.clear()
        if fault == CHANGE:
            for row in self._rows[::100]:
                row["city"] = "Ede"
                row["updated_at"] += timedelta(days=1)
            self._tool.load(self._rows)
        return self._run()

    def _run(self) -> tuple[Said, Held]:
        told, code = "", 0
        for process in self._tool.commands():
            self._process = process
            told, trouble = process.communicate()
            code = process.returncode
            if not told and code >= 0:
                raise SystemExit(f"{self._tool.name}: {trouble}")
        return self._tool.said(code, told), self._held()

    def _kill(self, api: Api, asked: Asked) -> None:
        """All of it was done, and whoever asked is gone."""
        api(asked)
        if self._process is not None:
            self._process.kill()

    def _held(self) -> Held:
        wanted = {row["customer"]: {name: row[name] for name in COLUMNS} for row in self._rows}
        held = self._api.held()
        right = {row["customer"] for row in held if row == wanted[row["customer"]]}
        times = Counter(row["customer"] for row in held)
        return Held(
            right=len(right),
            missing=len(wanted) - len(right),
            double=sum(count - 1 for count in times.values()),
            requests=len(self._service.seen),
        )


def api_called(name: str) -> Api:
    """An API with no rows in it."""
    return Upserting() if name == "upsert" else Creating(honours_keys=name == "keys")


@contextmanager
def database(folder: Path) -> Iterator[Path]:
    """A PostgreSQL server; gives the folder of its socket."""
    running = postgres.start(folder)
    try:
        yield running.socket_folder
    finally:
        postgres.stop(folder)
        postgres.remove_socket_folder(folder)


def main() -> None:
    """Run every case with both tools and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drt", type=Path, required=True, help="drt's executable")
    parser.add_argument("--rows", type=int, default=1_000, help="rows of upsert")
    parser.add_argument("--single", type=int, default=200, help="rows of the other APIs")
    parser.add_argument("--api", choices=CASES, action="append", help="only these")
    parser.add_argument("--only", help="only the faults with this text in their name")
    arguments = parser.parse_args()
    say = partial(print, flush=True)
    program = arguments.drt.absolute()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    say(f"Beside {version.stdout.splitlines()[0]}.")
    made = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with database(folder / "postgres") as socket:
            for name in arguments.api or CASES:
                count = arguments.rows if name == "upsert" else arguments.single
                say(f"\n### {name}: {count:,} rows\n\n| harm | tool | exit | reported |"
                    " right | missing or wrong | double | requests |"
                    " next run: exit | right | missing or wrong | double | requests |\n"
                    f"|---|---|---:|---|{'---:|' * 9}")  # fmt: skip
                for fault in CASES[name]:
                    if arguments.only and arguments.only not in fault:
                        continue
                    for make in (
                        lambda home, url, name=name: Drt(program, home, name, url, socket),
                        lambda home, url, name=name: Klantbeeld(home, name, url),
                    ):
                        made += 1
                        api = api_called(name)
                        service = Service(api)
                        tool: Tool = make(folder / f"case{made}", service.url)
                        case = Case(api, service, tool, people(count))
                        said, held = case.run(fault, count // BATCH if name == "upsert" else count)
                        then, later = case.again(fault)
                        service.close()
                        say(f"| {fault} | {tool.name} | {said.exit_code} | {said.report} | {held} |"
                            f" {then.exit_code} | {later} |")  # fmt: skip


if __name__ == "__main__":
    main()

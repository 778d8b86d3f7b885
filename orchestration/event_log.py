"""Dagster's own event log on SQLite, with its connections kept open.

Belongs here: that one difference. Does not: what is stored, or how.

Dagster opens, pools and forgets an engine for every event, so each statement is compiled anew and
each event waits for two flushes of the disk: a build of 75 models with 200 tests writes some 900
events, an idle run 180. Named in the generated `dagster.yaml`; without it Dagster uses its own
class on the same files.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

# How long a writer waits for another one, such as the web server's process.
_BUSY_SECONDS = 60


class KeptConnectionsEventLog(SqliteEventLogStorage):
    """The same files and tables; one kept connection per file."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: dict[str, sa.Engine] = {}
        self._known_tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: Any, config_value: Mapping[str, Any]
    ) -> "KeptConnectionsEventLog":
        """Made by Dagster from `dagster.yaml`."""
        return cls(inst_data=inst_data, **config_value)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked at nearly every event, and a table stays."""
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> sa.Engine:
        path = Path(self.path_for_shard(shard))
        engine = self._engines.get(shard)
        if engine is not None and path.exists():
            return engine
        engine = sa.create_engine(
            self.conn_string_for_shard(shard),
            # Every use holds the lock above, so one connection serves all threads.
            poolclass=sa.StaticPool,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        )

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            # In WAL mode this loses nothing when a process is killed; events may be lost to a power
            # cut, and they are a report of what happened, not the truth of it.
            connection.execute("pragma synchronous=normal")

        self._engines[shard] = engine
        return engine

    def dispose(self) -> None:
        """Close what is kept."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()

"""Comparing the ledger with what the destination holds, and putting it right.

Belongs here: reading the destination whole, saying how it drifted, and the ledger as it would be if
it had been kept from what is there. What is sent to repair the drift is the ordinary plan on that
ledger, under the ordinary guards: nothing is written to a destination from here.

    destination.read_all -> compare with model and ledger -> Drift
                                                          -> learnt ledger -> plan, or the ledger

The same serves a home that was restored from a backup, or is new: its ledger is older than what was
sent, or empty. Learnt from the destination, it sends no row a second time and loses no removal.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from klantbeeld.activation import planning
from klantbeeld.activation.destinations import (
    InspectableDestination,
    LinkedDestination,
    RecordDestination,
    RowRefused,
)
from klantbeeld.activation.ledger import Ledger, split_chunks
from klantbeeld.activation.ownership import Field, decide, field_digest
from klantbeeld.activation.planning import column_tag, key_sql, quoted
from klantbeeld.activation.preflight import Shown
from klantbeeld.activation.specs import SyncSpec
from klantbeeld.errors import KlantbeeldError
from klantbeeld.records import keyed_hash

logger = logging.getLogger(__name__)

_BLOCK = 5_000
_MOST_MERGES = 20  # of one into the next; beyond it, two were merged into each other
_SHOWN_KEYS = 20
_FOUND = pa.schema(
    {
        "normal": pa.string(),
        "destination_key": pa.string(),
        "differs": pa.list_(pa.string()),
        "written": pa.string(),
        "content": pa.string(),
        "is_refused": pa.bool_(),
    }
)

# What each kind of drift is, and what a repair does about it, in the words of the report.
DRIFT = {
    "missing": ("acknowledged and wanted, but not there: deleted there", "made again"),
    "changed": ("acknowledged as wanted, but with other values: changed there", "written again"),
    "rekeyed": (
        "ours, but under another key: changed there",
        "leaves under that key as a row that left the model does",
    ),
    "merged": (
        "about something that was merged into another there",
        "sent for the one that is left",
    ),
    "orphaned": (
        "about something that was deleted there",
        "forgotten; the next load takes it out of the model",
    ),
    "unrecorded": (
        "there and wanted, but not in the ledger",
        "taken over, and written where it differs",
    ),
    "gone": ("in the ledger and not wanted any more, and gone already", "forgotten"),
    "unclaimed": (
        "there, neither wanted nor in the ledger, in an entity that is ours alone",
        "deleted, under the guards",
    ),
    "doubled": (
        "listed more than once under one key: made twice there, or moved while it was listed",
        "nothing; take one of them away there",
    ),
}
NO_DRIFT = {
    "in_step": "there as the model wants it",
    "behind": "the model changed since it was sent",
    "not_sent": "in the model, not sent yet",
    "leaving": "left the model, not taken away yet",
    "foreign": "there, and nothing of ours: left alone",
    "refused": "cannot be encoded, so cannot be compared",
}


@dataclass(frozen=True)
class Drift:
    """How a destination differs from what we know of it; counts and ids only.

    Attributes:
        kinds: Rows by kind, those of `DRIFT` and `NO_DRIFT`.
        columns: Rows by destination column, of the changed ones.
        keys: Some keys by kind of drift.
        listed: Whether all rows were read; if not, rows that are not ours are not known.
    """

    kinds: Mapping[str, int]
    columns: Mapping[str, int]
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listed: bool = True

    @property
    def rows(self) -> int:
        """Rows that drifted."""
        return sum(self.kinds.get(kind, 0) for kind in DRIFT)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "drift": self.rows,
            "kinds": dict(self.kinds),
            "columns": dict(self.columns),
            "keys": {kind: list(keys) for kind, keys in self.keys.items()},
            "repairs": {kind: DRIFT[kind][1] for kind in self.keys},
            "listed": self.listed,
        }


class Reconciliation:
    """One comparison; its rows are in temporary tables of the connection.

    Args:
        connection: A connection to the published version.
        spec: The sync.
        ledger: What was acknowledged.
        destination: What holds the rows.
        home_key: The secret of the digests.
        progress: Told the number of rows read, page by page.

    Raises:
        KlantbeeldError: The destination cannot be compared.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        spec: SyncSpec,
        ledger: Ledger,
        destination: RecordDestination,
        home_key: bytes,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if not can_compare(destination):
            raise KlantbeeldError(
                f"{spec.name}: {spec.destination} cannot be read back whole, so it cannot be"
                " reconciled",
                "Its state is what it acknowledged; see `klantbeeld sync status`.",
            )
        self._connection = connection
        self._spec = spec
        self._ledger = ledger
        self._destination = destination
        self._home_key = home_key
        self._progress = progress
        self._has_targets = False

    def compare(self) -> Drift:
        """Read the destination and compare; leaves what was found in `_sync_found`."""
        connection = self._connection
        planning.load_desired(connection, self._spec, self._home_key)
        known = self._ledger.read("acknowledged")["acknowledged"]
        planning.load(connection, "_sync_acknowledged", known)
        self._load_keys()
        self._load_targets()
        connection.execute(
            """
            create or replace temp table _sync_found (
                normal varchar, destination_key varchar, differs varchar[], written varchar,
                content varchar, is_refused boolean
            )
            """
        )
        for page in self._pages():
            found = pa.Table.from_pylist(list(self._compared(page)), schema=_FOUND)
            connection.register("_sync_page", found)
            connection.execute("insert into _sync_found from _sync_page")
            connection.unregister("_sync_page")
            if self._progress is not None:
                self._progress(len(page))
        self._set_doubles_aside()
        return self._drift()

    def _set_doubles_aside(self) -> None:
        """Keep one row of each key in `_sync_found`, and the keys of the others in `_sync_doubles`.

        The one that differs most is kept: it is what has to be put right.
        """
        connection = self._connection
        connection.execute(
            """
            create or replace temp table _sync_doubles as
            select any_value(destination_key) as destination_key
            from _sync_found group by normal having count(*) > 1
            """
        )
        if connection.execute("select count(*) from _sync_doubles").fetchall() != [(0,)]:
            connection.execute(
                """
                create or replace temp table _sync_found as
                from _sync_found
                qualify row_number() over (partition by normal order by len(differs) desc) = 1
                """
            )

    # ---- reading -------------------------------------------------------------------------------

    def _normal(self, keys: Iterable[str]) -> list[str]:
        """Keys in the form in which they are the same for the destination."""
        column = self._spec.key_column
        comparable = self._comparable
        return [comparable({column: key}).get(column) or key for key in keys]

    @property
    def _comparable(self) -> Callable[[Mapping[str, Any]], dict[str, str | None]]:
        assert isinstance(self._destination, InspectableDestination)  # noqa: S101 - see __init__
        return self._destination.comparable

    def _load_keys(self) -> None:
        """Leave the keys we know, with their normal form, in `_sync_keys`.

        Raises:
            KlantbeeldError: Two keys of the model are one for the destination.
        """
        self._connection.execute(
            "create or replace temp table _sync_keys (destination_key varchar, normal varchar)"
        )
        known = self._connection.execute(
            """
            select destination_key from _sync_desired
            union select destination_key from _sync_acknowledged
            union select destination_key from _sync_links
            """
        ).to_arrow_table()
        for batch in known.to_batches(max_chunksize=100_000):
            keys = batch.column(0).to_pylist()
            table = pa.table({"destination_key": keys, "normal": self._normal(keys)})
            self._connection.register("_sync_page", table)
            self._connection.execute("insert into _sync_keys from _sync_page")
            self._connection.unregister("_sync_page")
        doubles = [
            key
            for (keys,) in self._connection.execute(
                f"""
                select list(destination_key order by destination_key)
                from _sync_desired inner join _sync_keys using (destination_key)
                group by normal having count(*) > 1 order by normal limit {_SHOWN_KEYS}
                """
            ).fetchall()
            for key in keys
        ]
        if doubles:
            told = Shown(self._spec, self._home_key)
            raise KlantbeeldError(
                f"{self._spec.name}: keys that {self._spec.destination} does not tell apart, such"
                f" as {', '.join(map(told, doubles[:_SHOWN_KEYS]))}; nothing was sent",
                "One row per key of the destination; correct the model.",
            )

    def _load_targets(self) -> None:
        """Leave what the keys name at the destination in `_sync_targets`, with where it ended.

        `master` is null for what was not merged, and `ended` is the one that is left at the end of
        a chain of merges; null if that one is gone as well.
        """
        connection = self._connection
        pages = None
        if isinstance(self._destination, LinkedDestination):
            pages = self._destination.targets()
        self._has_targets = pages is not None
        connection.execute(
            "create or replace temp table _sync_pairs (normal varchar, master varchar)"
        )
        for page in pages or ():
            masters = [
                None if master is None else self._normal([master])[0] for master in page.values()
            ]
            normals = pa.array(self._normal(page), pa.string())
            table = pa.table({"normal": normals, "master": pa.array(masters, pa.string())})
            connection.register("_sync_page", table)
            connection.execute("insert into _sync_pairs from _sync_page")
            connection.unregister("_sync_page")
            if self._progress is not None:
                self._progress(len(page))
        connection.execute(
            f"""
            create or replace temp table _sync_targets as
            with recursive chain(normal, ended, steps) as (
                select normal, master, 1 from _sync_pairs where master is not null
                union all
                select chain.normal, pairs.master, steps + 1
                from chain inner join _sync_pairs as pairs on pairs.normal = chain.ended
                where pairs.master is not null and steps < {_MOST_MERGES}
            ),
            ends as (
                select normal, arg_max(ended, steps) as ended from chain group by normal
            )
            select
                pairs.normal,
                pairs.master,
                if(ends.ended in (select normal from _sync_pairs), ends.ended, null) as ended
            from _sync_pairs as pairs left join ends using (normal)
            """
        )

    def _pages(self) -> Iterator[dict[str, dict[str, Any]]]:
        columns = list(self._spec.value_columns.values())
        if self._spec.modified_at is not None:
            columns.append(self._spec.modified_at)
        assert isinstance(self._destination, InspectableDestination)  # noqa: S101 - see __init__
        for page in self._destination.read_all(columns):
            keys = list(page)
            yield dict(zip(self._normal(keys), (page[key] for key in keys), strict=True))

    def _compared(self, page: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """What each row of a page is to us."""
        connection = self._connection
        planning.load(connection, "_sync_normals", pa.table({"normal": list(page)}))
        wanted_keys: dict[str, tuple[str, bool]] = {
            normal: (key, is_wanted)
            for normal, key, is_wanted in connection.execute(
                """
                select normal, destination_key, _sync_desired.destination_key is not null
                from _sync_normals inner join _sync_keys using (normal)
                left join _sync_desired using (destination_key)
                """
            ).fetchall()
        }
        keys = [key for key, is_wanted in wanted_keys.values() if is_wanted]
        values = planning.whole_rows(connection, self._spec, keys)
        known = self._ledger.written(keys) if self._spec.reads_first else {}
        for normal, found in page.items():
            key, is_wanted = wanted_keys.get(normal, (None, False))
            row: dict[str, Any] = {
                "normal": normal,
                "destination_key": key or normal,
                "differs": [],
                "written": "",
                "content": None,
                "is_refused": False,
            }
            if key is None or not is_wanted:
                row["content"] = self._content(self._comparable(found))
            else:
                try:
                    body = self._destination.encode(key, "update", values[key])
                except RowRefused:
                    row["is_refused"] = True
                else:
                    row |= self._fields(key, body, found, known.get(key, ""))
            yield row

    def _content(self, texts: Mapping[str, str | None]) -> str | None:
        """A digest of the columns that are ours, by which a row is known under another key."""
        ours = [texts.get(column) for column in self._spec.owned_columns]
        if not any(ours):
            return None
        return keyed_hash(json.dumps(ours), self._home_key)

    def _fields(
        self, key: str, body: Mapping[str, Any], found: Mapping[str, Any], known: str
    ) -> dict[str, Any]:
        """Which columns of a row would have to be written, and what is there of ours."""
        wanted, there = self._comparable(body), self._comparable(found)
        if not self._spec.reads_first:
            return {"differs": [c for c, text in wanted.items() if there.get(c) != text]}
        last = dict(split_chunks(known))
        differs, written = [], dict(last)
        for column, text in wanted.items():
            tag = column_tag(column)
            digest = field_digest(self._home_key, key, column, text)
            held = there.get(column)
            one = Field(
                wanted=text,
                there=held,
                was_written=last.get(tag),
                digest_wanted=digest,
                digest_there=field_digest(self._home_key, key, column, held),
                theirs_at=there.get(self._spec.modified_at or ""),
            )
            if decide(self._spec.rule(column).owner, one).write:
                differs.append(column)
            if text == held:
                written[tag] = digest
        return {"differs": differs, "written": "".join(t + d for t, d in written.items())}

    # ---- what it means -------------------------------------------------------------------------

    def _drift(self) -> Drift:
        unclaimed = "unclaimed" if self._spec.is_exclusive else "foreign"
        connection = self._connection
        is_orphan = "false"
        if self._has_targets:
            is_orphan = "targets.normal is null or targets.master is not null"
        connection.execute(
            f"""
            create or replace temp table _sync_drift as
            select
                coalesce(wanted.destination_key, known.destination_key, found.destination_key)
                    as destination_key,
                case
                    when wanted.destination_key is not null and targets.ended is not null
                        then 'merged'
                    when wanted.destination_key is not null and found.normal is null
                        and ({is_orphan}) then 'orphaned'
                    when found.is_refused then 'refused'
                    when wanted.destination_key is not null and known.destination_key is not null
                        then case
                            when found.normal is null then 'missing'
                            when len(found.differs) = 0 then 'in_step'
                            when known.row_digest = wanted.row_digest then 'changed'
                            else 'behind'
                        end
                    when wanted.destination_key is not null
                        then if(found.normal is null, 'not_sent', 'unrecorded')
                    when known.destination_key is not null
                        then if(found.normal is null, 'gone', 'leaving')
                    else '{unclaimed}'
                end as kind,
                coalesce(found.differs, []) as differs,
                coalesce(found.written, '') as written,
                found.content,
                found.normal is not null as is_there,
                wanted.row_digest as wanted_digest,
                known.row_digest as known_digest,
                known.is_created
            from _sync_desired as wanted
            full join _sync_acknowledged as known using (destination_key)
            full join _sync_found as found
                on found.destination_key = coalesce(wanted.destination_key, known.destination_key)
            left join _sync_keys as keys
                on keys.destination_key = coalesce(wanted.destination_key, known.destination_key)
            left join _sync_targets as targets on targets.normal = keys.normal
            """
        )
        self._find_rekeyed(unclaimed)
        kinds = dict.fromkeys((*DRIFT, *NO_DRIFT), 0)
        keys: dict[str, tuple[str, ...]] = {}
        rows = connection.execute(
            f"""
            select kind, count(*), list(destination_key order by destination_key)[:{_SHOWN_KEYS}]
            from (
                select kind, destination_key from _sync_drift
                union all
                select 'doubled', destination_key from _sync_doubles
            )
            group by kind
            """
        ).fetchall()
        for kind, count, some in rows:
            kinds[kind] = count
            if kind in DRIFT:
                keys[kind] = tuple(some)
        columns = connection.execute(
            """
            select name, count(*) from (
                select unnest(differs) as name from _sync_drift where kind = 'changed'
            ) group by all order by 2 desc, 1
            """
        ).fetchall()
        return Drift(kinds, dict(columns), keys)

    def _find_rekeyed(self, unclaimed: str) -> None:
        """Recognise missing rows in rows that nobody claims: what is ours of them is the same.

        Only where both are the only ones that look like it: a row of somebody else that happens to
        have the values of one of ours, as others of ours have too, would be taken away.
        """
        connection = self._connection
        ours = [
            quoted(model)
            for model, column in self._spec.value_columns.items()
            if column in self._spec.owned_columns
        ]
        if not ours:
            return
        missing = [
            key
            for (key,) in connection.execute(
                f"""
                with alike as (
                    select
                        {key_sql(self._spec)} as destination_key,
                        count(*) over (partition by {", ".join(ours)}) as rows
                    from {self._spec.relation}
                )

                select destination_key from _sync_drift
                inner join alike using (destination_key)
                where kind = 'missing' and alike.rows = 1 and exists (
                    select 1 from _sync_drift where kind = $unclaimed and content is not null
                )
                """,
                {"unclaimed": unclaimed},
            ).fetchall()
        ]
        lost: dict[str, str] = {}
        for start in range(0, len(missing), _BLOCK):
            values = planning.whole_rows(connection, self._spec, missing[start : start + _BLOCK])
            for key, row in values.items():
                try:
                    body = self._destination.encode(key, "update", row)
                except RowRefused:
                    continue
                content = self._content(self._comparable(body))
                if content is not None:
                    lost[key] = content
        planning.load(
            connection,
            "_sync_lost",
            pa.table({"content": pa.array(list(lost.values()), pa.string())}),
        )
        connection.execute(
            """
            update _sync_drift set kind = 'rekeyed'
            where kind = $unclaimed and content in (
                select content from _sync_lost group by content having count(*) = 1
            ) and content in (
                select content from _sync_drift where kind = $unclaimed
                group by content having count(*) = 1
            )
            """,
            {"unclaimed": unclaimed},
        )

    # ---- the ledger as it should be ------------------------------------------------------------

    def learn(self) -> LearntLedger:
        """The ledger as if it had been kept from what is there; changes nothing yet."""
        connection = self._connection
        # Rows that are there but have no entry, or one that does not say what is there.
        connection.execute(
            """
            create or replace temp table _sync_learnt_keys as
            select destination_key from _sync_drift
            where kind in ('unrecorded', 'unclaimed', 'rekeyed', 'changed', 'behind')
                or (kind = 'merged' and is_there and known_digest is null)
                or (kind = 'in_step' and known_digest <> wanted_digest)
            """
        )
        planning.make_digests(
            connection, self._spec, self._home_key, "select destination_key from _sync_learnt_keys"
        )
        names = list(self._spec.value_columns.values())
        listed = "[" + ", ".join(planning.literal(name) for name in names) + "]::varchar[]"
        own = "true" if self._spec.is_exclusive or self._spec.mode != "mirror" else "false"
        connection.execute(
            f"""
            create or replace temp table _sync_learnt as
            select
                drift.destination_key,
                case when len(differs) = 0 then coalesce(wanted_digest, '') else '' end
                    as row_digest,
                coalesce(array_to_string([
                    digests[place] for place in range(1, {len(names) + 1})
                    if digests[place] is not null
                        and not list_contains(differs, ({listed})[place])
                ], ''), '') as column_digests,
                written as written_digests,
                coalesce(subjects, '') as subjects,
                'learnt-{uuid.uuid4().hex}' as op_id,
                coalesce(is_created = '1', kind = 'rekeyed' or {own}) as is_created
            from _sync_drift as drift
            left join _sync_digests using (destination_key)
            where drift.destination_key in (select destination_key from _sync_learnt_keys)
            """
        )
        connection.execute(
            """
            create or replace temp table _sync_forgotten as
            select destination_key from _sync_drift
            where kind in ('missing', 'orphaned', 'gone') or (kind = 'merged' and not is_there)
            """
        )
        return LearntLedger(connection, self._ledger)

    def masters(self) -> dict[str, str]:
        """The key that is left, by the key that was merged into it: of wanted rows, as it is now.

        Those that were relinked before are among them for as long as the destination says so.
        """
        return dict(
            self._connection.execute(
                """
                select keys.destination_key, coalesce(masters.destination_key, targets.ended)
                from _sync_keys as keys
                inner join _sync_targets as targets on targets.normal = keys.normal
                left join _sync_keys as masters on masters.normal = targets.ended
                where targets.ended is not null and keys.destination_key in (
                    select destination_key from _sync_desired
                    union select destination_key from _sync_links
                )
                """
            ).fetchall()
        )

    def repair_ledger(self) -> int:
        """Put the ledger right; returns how many of its rows changed.

        Nothing is sent: the next plan is made on what is there.
        """
        self.learn()
        names = (
            "destination_key", "row_digest", "column_digests", "written_digests", "subjects",
            "op_id", "is_created",
        )  # fmt: skip
        learnt = self._connection.execute(
            f"select {', '.join(names)} from _sync_learnt"
        ).to_arrow_table()
        forgotten = [
            key
            for (key,) in self._connection.execute(
                "select destination_key from _sync_forgotten"
            ).fetchall()
        ]
        blocks = (batch.to_pylist() for batch in learnt.to_batches(max_chunksize=_BLOCK))
        self._ledger.relearn(blocks, forgotten)
        changed: int = learnt.num_rows + len(forgotten)
        logger.info("%s: %d entries of the ledger put right", self._spec.name, changed)
        return changed


class LearntLedger:
    """The ledger as it would be after `repair_ledger`, for planning against the destination."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def read(self, *names: str) -> dict[str, pa.Table]:
        """See `planning.Acknowledged`."""
        tables = self._ledger.read(*names)
        if "acknowledged" in tables:
            tables["acknowledged"] = self._put_right(tables["acknowledged"])
        return tables

    def _put_right(self, acknowledged: pa.Table) -> pa.Table:
        planning.load(self._connection, "_sync_kept", acknowledged)
        return self._connection.execute(
            """
            select destination_key, row_digest, op_id, is_created from _sync_kept
            where destination_key not in (select destination_key from _sync_forgotten)
                and destination_key not in (select destination_key from _sync_learnt)
            union all
            select destination_key, row_digest, op_id, if(is_created, '1', '0') from _sync_learnt
            """
        ).to_arrow_table()

    def column_digests(self, keys: Iterable[str]) -> pa.Table:
        """See `planning.Acknowledged`."""
        planning.load(self._connection, "_sync_kept", self._ledger.column_digests(keys))
        return self._connection.execute(
            """
            select destination_key, column_digests from _sync_kept
            where destination_key not in (select destination_key from _sync_learnt)
            union all
            select destination_key, column_digests from _sync_learnt
            """
        ).to_arrow_table()

    def set_aside(self, give_up_after: int) -> pa.Table:
        """See `planning.Acknowledged`."""
        return self._ledger.set_aside(give_up_after)


def can_compare(destination: RecordDestination) -> bool:
    """Whether all rows of a destination can be listed and compared."""
    return destination.is_readable and isinstance(destination, InspectableDestination)

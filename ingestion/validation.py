"""In front of dlt: what cannot be loaded is set aside, and the rest is deduplicated and compared.

Everything here is SQL over Arrow, a batch at a time; no Python touches a row.

    batch (rows, documents or lines) -> typed, each row with its problem or none
    finish: problems -> quarantine; same key twice -> the latest;
            same as in the raw table -> unchanged;
            the rest, and the keys that are gone -> dlt

dlt cannot do this itself: a null key fails its load and every later one, `discard_row` leaves no
trace, and it compares nothing with what is already there.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ingestion.contracts import (
    DELETED,
    DIGEST,
    FILE,
    LINE,
    LOADED_AT,
    Column,
    Kind,
    Notation,
    Table,
)
from ingestion.contracts import NewColumns as Policy
from ingestion.report import TableCounts
from klantbeeld.errors import KlantbeeldError

# Rows that go to dlt at a time: a parquet row group, and the most that is held twice in memory.
BATCH_ROWS = 200_000
# Rows of an API that are validated at a time.
PAGED_ROWS = 20_000
# A longer line or document is quarantined without looking into it.
MAX_ROW_BYTES = 256 * 1024
# Of a payload this much is kept; what is longer can be found in the landed file.
MAX_PAYLOAD_BYTES = 64 * 1024

_CONTROL = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F]"
# A field in quotes (a quote inside is doubled), or one without any; `;` stands for the delimiter.
_CSV_FIELD = r"""(?:^|[;])("(?:[^"]|"")*"|[^;"]*)"""

_EXPECTED = {
    (Kind.INTEGER, Notation.ISO): "a whole number",
    (Kind.INTEGER, Notation.DUTCH): "a whole number",
    (Kind.BOOLEAN, Notation.ISO): "true or false",
    (Kind.BOOLEAN, Notation.DUTCH): "true or false",
    (Kind.DATE, Notation.ISO): "a date (yyyy-mm-dd)",
    (Kind.DATE, Notation.DUTCH): "a date (dd-mm-yyyy)",
    (Kind.MOMENT, Notation.ISO): "a time (yyyy-mm-ddThh:mm:ss with a zone)",
    (Kind.MOMENT, Notation.DUTCH): "a time (yyyy-mm-ddThh:mm:ss with a zone)",
    (Kind.LOCAL_TIME, Notation.ISO): "a date and time (yyyy-mm-dd hh:mm)",
    (Kind.LOCAL_TIME, Notation.DUTCH): "a date and time (dd-mm-yyyy hh:mm)",
    (Kind.DECIMAL, Notation.ISO): "a number with a decimal point",
    (Kind.DECIMAL, Notation.DUTCH): "a number with a decimal comma",
}


@dataclass(frozen=True)
class Quarantined:
    """Rows of one load that cannot be loaded.

    Attributes:
        table: Their table.
        rows: Arrow: position, row_key, reason, payload.
    """

    table: str
    rows: pa.Table


@dataclass
class Outcome:
    """What became of one table's rows in one load.

    Attributes:
        counts: The counts; they balance.
        quarantined: What cannot be loaded.
        superseded: Ids of earlier quarantine rows that this load makes void.
        notes: Columns that are new at the source, or gone.
    """

    counts: TableCounts
    quarantined: Quarantined
    superseded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class TableValidator:
    """Collects what a source says of one table, and sorts it out when the source has said all.

    Args:
        connection: An in-memory DuckDB with the time zone UTC, the build attached read-only as
        `build`,
            and the variable `home_key`.
        table: The contract.
        latest: No cursor may lie after this (one row dated 2099 would hide all that follows), and
            no column that the contract says so of.
        loaded_at: When this load began.
        compare: Whether to compare with the raw table as it is.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        *,
        latest: datetime,
        loaded_at: datetime,
        compare: bool = True,
    ) -> None:
        self._con = connection
        self.table = table
        self._latest = latest
        self._loaded_at = loaded_at
        self._typed = f'"typed_{table.source}_{table.name}"'
        self._gone = f'"gone_{table.source}_{table.name}"'
        self._winners = f'"winners_{table.source}_{table.name}"'
        self._existing = f'build."{table.schema}"."{table.name}"'
        self._compare = compare
        self._read = 0
        self._pages: list[Any] = []
        self._seen: set[str] = set()
        self._lacking: set[str] = set()  # not in the header of at least one file
        self._extra: dict[str, str] = {}  # name at the source -> name in the raw table
        self._has_gone = False
        self._has_winners = False
        columns = ", ".join(f'"{c.name}" {c.sql_type}' for c in table.columns)
        connection.execute(
            f'create or replace table {self._typed} ({columns}, "{FILE}" varchar, "{LINE}" bigint,'
            " __seq bigint, __problem varchar, __payload varchar, __key varchar,"
            " __position varchar, __void boolean)"
        )

    @property
    def rows_read(self) -> int:
        """Rows handed in so far."""
        return self._read + len(self._pages)

    # ---- in -------------------------------------------------------------------------------------

    def add_rows(self, rows: pa.Table) -> None:
        """Take rows with a column each, named as at the source, of any type."""
        if not rows.num_rows:
            return
        self._see(rows.column_names)
        types = self._register(rows)
        raw = {name: (f'b."{name}"', types[name]) for name in rows.column_names}
        payload = "to_json(struct_pack({}))::varchar".format(
            ", ".join(f'"{name}" := b."{name}"' for name in rows.column_names)
        )
        self._insert("batch b", raw, payload=payload, rows=rows.num_rows)

    def add_documents(
        self,
        documents: pa.Array,
        files: pa.Array | None = None,
        lines: pa.Array | None = None,
        raw: pa.Array | None = None,
    ) -> None:
        """Take JSON documents as text, one object each; null is one that could not be decoded.

        Args:
            documents: The documents.
            files: The file of each, if they come from files.
            lines: The line of each.
            raw: What is kept of a document that could not be decoded.
        """
        if not len(documents):
            return
        batch = {"document": documents}
        if files is not None:
            batch |= {"file": files, "line": lines}
        if raw is not None:
            batch |= {"raw": raw}
        self._register(pa.table(batch))
        self._con.execute(
            "create or replace temp table parsed as select *, case"
            f" when document is null or regexp_matches(document, '{_CONTROL}')"
            " or contains(document, '\\u0000') then 'undecodable: not text'"
            f" when strlen(document) > {MAX_ROW_BYTES} then 'oversized: the row is too long'"
            " when not json_valid(document) then 'truncated: not a whole JSON object'"
            " when json_type(document) <> 'OBJECT' then 'wrong type: not a JSON object'"
            " end as broken"
            " from batch"
        )
        keys = self._con.execute(
            "select distinct unnest(keys) from"
            " (select distinct json_keys(document) as keys from parsed where broken is null)"
        ).fetchall()
        self._see([key for (key,) in keys if not key.startswith("@") and "@" not in key])
        names = [c.source_name for c in self.table.origin_columns] + list(self._extra)
        # All columns in one go: a document is parsed once, not once per column.
        paths = ", ".join(_quote(_json_path(name)) for name in names)
        values = {name: (f"b.found[{place}]", "VARCHAR") for place, name in enumerate(names, 1)}
        self._insert(
            "(select *, case when broken is null"
            f" then json_extract_string(document, [{paths}]) end as found from parsed) b",
            values,
            broken="b.broken",
            payload="coalesce(b.document, b.raw)" if raw is not None else "b.document",
            place=("b.file", "b.line") if files is not None else None,
            rows=len(documents),
        )

    def add_page(self, page: list[Any]) -> None:
        """Take a page of rows as an API's answer has them, already parsed."""
        # Several pages at a time: each batch costs some milliseconds, however small it is.
        self._pages += page
        if len(self._pages) >= PAGED_ROWS:
            self._flush_pages()

    def _flush_pages(self) -> None:
        rows, self._pages = self._pages, []
        if not rows:
            return
        whole = json.dumps(rows)
        if self._con.execute("select json_valid(?)", [whole]).fetchone() == (True,):
            documents = self._con.execute(
                "select unnest(from_json(?::json, '[\"json\"]'))::varchar", [whole]
            ).fetch_arrow_table()
            self.add_documents(documents.column(0))
        else:
            # Some text in it is no text (half a surrogate pair): find out which row it is in.
            self.add_documents(pa.array([json.dumps(row) for row in rows], pa.string()))

    def add_lines(
        self,
        header: Sequence[str],
        lines: pa.Array,
        files: pa.Array,
        numbers: pa.Array,
        raw: pa.Array,
    ) -> None:
        """Take lines of delimited text; each line is a row by itself.

        Reading line by line is what keeps one stray quote from swallowing the good lines after it.

        Args:
            header: The column names in the files' first line.
            lines: The lines; null where the bytes are not text.
            files: The file of each.
            numbers: The line number of each.
            raw: What is kept of a line that cannot be read.
        """
        if not len(lines):
            return
        self._see(header)
        # One store's tills may lose a column while those of the others still have it.
        self._lacking |= {c.source_name for c in self.table.origin_columns} - set(header)
        width = len(header)
        delimiter = self.table.delimiter
        field = _CSV_FIELD.replace(";", delimiter)
        self._register(pa.table({"text": lines, "file": files, "line": numbers, "raw": raw}))
        self._con.execute(
            # Fields in quotes only where the whole line reads that way; else a quote is just a
            # sign.
            "create or replace temp table parsed as"
            " with matched as (select *, case"
            f"   when contains(text, '\"') and strlen(text) <= {MAX_ROW_BYTES}"
            f"   then regexp_extract_all(text, '{field}', 1) end as quoted from batch),"
            " split as (select *, case"
            "   when quoted is not null and list_sum(list_transform(quoted, lambda f: length(f)))"
            "     + len(quoted) - 1 = length(text)"
            "   then list_transform(quoted, lambda f: case when starts_with(f, '\"')"
            "     then replace(f[2:-2], '\"\"', '\"') else f end)"
            f"   else string_split(text, '{delimiter}') end as fields from matched)"
            " select file, line, raw, text, fields, case"
            f"   when text is null or regexp_matches(text, '{_CONTROL}')"
            "   then 'undecodable: not text'"
            f"   when strlen(text) > {MAX_ROW_BYTES} then 'oversized: the line is too long'"
            f"   when len(fields) < {width}"
            f"   then 'truncated line: ' || len(fields) || ' of {width} columns'"
            f"   when len(fields) > {width}"
            f"   then 'too many columns: ' || len(fields) || ' instead of {width}'"
            " end as broken from split"
        )
        fields = {
            name: (f"nullif(trim(b.fields[{index}]), '')", "VARCHAR")
            for index, name in enumerate(header, start=1)
        }
        self._insert(
            "parsed b",
            fields,
            broken="b.broken",
            payload=f"{_quote(delimiter.join(header))} || chr(10) || coalesce(b.text, b.raw)",
            place=("b.file", "b.line"),
            rows=len(lines),
        )

    def reject(self, position: str, reason: str, payload: str | None = None) -> None:
        """Take a thing that cannot be read as rows, such as a whole file: it counts as one."""
        self._read += 1
        self._con.execute(
            f"insert into {self._typed} (__seq, __problem, __payload, __position)"
            " values (?, ?, ?, ?)",
            [self._read, reason, payload, position],
        )

    def delete(self, gone: pa.Table, at: str | None = None) -> None:
        """Say what was deleted at the source, after the rows themselves were handed in.

        Args:
            gone: One or more columns of this table, by which rows are recognised.
            at: The column of `gone` that says when. A row that changed after it stays.
        """
        self._flush_pages()
        if not gone.num_rows:
            return
        by = [name for name in gone.column_names if name != at]
        self._prepare_gone()
        self._con.register("gone_batch", gone)
        match = " and ".join(f't."{name}" = g."{name}"' for name in by)
        when = self.table.cursor
        later = f' and (g."{at}" is null or t."{when}" <= g."{at}")' if at and when else ""
        keys = ", ".join(f't."{name}"' for name in self.table.key)
        self._con.execute(
            f"insert into {self._gone} select distinct {keys}"
            f" from {self._existing} t join gone_batch g on {match}{later}"
        )
        self._con.execute(
            f"update {self._typed} t set __void = true from gone_batch g"
            f" where t.__problem is null and {match}{later}"
        )
        self._con.unregister("gone_batch")

    def keep_only(self, keys: pa.Table) -> None:
        """Say which keys exist at the source: every other row of the raw table was deleted there.

        A row that was read before the keys were is let be; the next load sees whether it is still
        there.
        """
        self._prepare_gone()
        self._con.register("keys_batch", keys)
        names = self.table.key
        casts = ", ".join(
            f'try_cast("{name}" as {self._column(name).sql_type}) as "{name}"' for name in names
        )
        selected = ", ".join(f't."{name}"' for name in names)
        self._con.execute(
            f"insert into {self._gone} select {selected} from {self._existing} t"
            f" anti join (select {casts} from keys_batch) k using ({_list(names)})"
        )
        self._con.unregister("keys_batch")

    def keep_only_read(self) -> None:
        """Say that what was read is all there is: every other row was deleted at the source.

        A row that was read but cannot be loaded is still there: its earlier version stays.
        """
        self._flush_pages()
        self._prepare_gone()
        selected = ", ".join(f't."{name}"' for name in self.table.key)
        self._con.execute(
            f"insert into {self._gone} select {selected} from {self._existing} t"
            f" anti join {self._typed} r using ({_list(self.table.key)})"
        )

    def fingerprint(self, column: str) -> tuple[int, int, int]:
        """Of the keys that are loaded or were read: how many, their sum, and the sum of squares.

        A source can say the same of its own keys without sending them. If they agree, nothing was
        deleted: that saves fetching a million keys to find none missing.
        """
        self._flush_pages()
        row = self._con.execute(
            "select count(*), coalesce(sum(k), 0), coalesce(sum(k * k), 0) from ("
            f' select "{column}"::hugeint as k from {self._existing} union'
            f' select "{column}"::hugeint from {self._typed} where __problem is null)'
        ).fetchone()
        return (int(row[0]), int(row[1]), int(row[2])) if row else (0, 0, 0)

    # ---- out ------------------------------------------------------------------------------------

    def finish(self, open_quarantine: pa.Table | None = None) -> Outcome:
        """Sort out all that was handed in; then `batches` gives what is to be loaded.

        Args:
            open_quarantine: Earlier rows of this table in quarantine: quarantine_id, row_key,
            position.

        Raises:
            KlantbeeldError: A column without which no row can be loaded is gone at the source.
        """
        self._flush_pages()
        self._require_essential()
        problems = self._con.execute(
            "select __position as position, __key as row_key, __problem as reason,"
            f" __payload as payload from {self._typed} where __problem is not null order by __seq"
        ).fetch_arrow_table()
        unchanged, deduplicated, loaded = self._choose()
        deleted = self._count_gone()
        counts = TableCounts(
            rows_read=self._read,
            rows_loaded=loaded,
            rows_unchanged=unchanged,
            rows_quarantined=problems.num_rows,
            rows_deduplicated=deduplicated,
            rows_deleted=deleted,
        ).verify(f"{self.table.schema}.{self.table.name}")
        return Outcome(
            counts=counts,
            quarantined=Quarantined(self.table.name, problems),
            superseded=self._superseded(open_quarantine),
            notes=self._shape_notes(),
        )

    def batches(self) -> Iterator[pa.Table]:
        """What is to be loaded: rows that are new or changed, and keys of those that are gone."""
        parts = []
        names = [column.name for column in self.table.columns] + list(self._extra.values())
        place = [FILE, LINE] if self.table.from_files else []
        if self._has_winners:
            parts.append(
                f'select {_list(names + place)}, "{DIGEST}",'
                f' $loaded_at::timestamptz as "{LOADED_AT}",'
                f' false as "{DELETED}" from {self._winners}'
            )
        if self._has_gone:
            types = {column.name: column.sql_type for column in self.table.all_columns}
            columns = [
                f't."{name}"'
                if name in self.table.key
                else f'null::{types.get(name, "varchar")} as "{name}"'
                for name in names + place
            ]
            parts.append(
                f'select {", ".join(columns)}, null::varchar as "{DIGEST}",'
                f' $loaded_at::timestamptz as "{LOADED_AT}", true as "{DELETED}"'
                f" from (select distinct {_list(self.table.key)} from {self._gone}) t"
            )
        if not parts:
            return
        # A cursor of its own: whoever consumes the batches may use the connection in between.
        reader = (
            self._con.cursor()
            .execute(" union all by name ".join(parts), {"loaded_at": self._loaded_at})
            .fetch_record_batch(BATCH_ROWS)
        )
        for batch in reader:
            if batch.num_rows:
                yield pa.Table.from_batches([batch])

    def close(self) -> None:
        """Let go of the memory."""
        for name in (self._typed, self._gone, self._winners):
            self._con.execute(f"drop table if exists {name}")

    # ---- inside ---------------------------------------------------------------------------------

    def _insert(
        self,
        origin: str,
        raw: dict[str, tuple[str, str]],
        *,
        rows: int,
        payload: str,
        broken: str = "null::varchar",
        place: tuple[str, str] | None = None,
    ) -> None:
        """Type a batch: `raw` has SQL and type of each column of the source that is in it."""
        table = self.table
        first = self._read
        inner, typed, problems = [], [], []
        for column in table.origin_columns:
            sql, kind = raw.get(column.source_name, ("null::varchar", "VARCHAR"))
            inner.append(f'{sql} as "r_{column.name}"')
            value, wrong = _parse(column, f'"r_{column.name}"', kind, table.notation)
            typed.append(f'{value} as "{column.name}"')
            if wrong:
                problems.append(
                    (wrong, _quote(f"wrong type: {column.name} is not {_expected(column, table)}"))
                )
            if column.kind is Kind.TEXT:
                problems.append(
                    (
                        f'strlen("{column.name}") > {column.max_bytes}',
                        _quote(f"oversized: {column.name}"),
                    )
                )
            if column.allowed:
                options = ", ".join(_quote(option) for option in column.allowed)
                problems.append(
                    (
                        f'"{column.name}" not in ({options})',
                        _quote(f"wrong type: {column.name} is none of {', '.join(column.allowed)}"),
                    )
                )
        for origin_name, name in self._extra.items():
            sql, _ = raw.get(origin_name, ("null", "VARCHAR"))
            inner.append(f'cast({sql} as varchar) as "{name}"')
        derived = [f'{c.derived} as "{c.name}"' for c in table.columns if c.derived]
        for column in table.columns:
            if column.name in table.key or column.is_required:
                what = "no key" if column.name in table.key else "missing"
                test = f"coalesce(\"{column.name}\"::varchar, '') = ''"
                if column.derived is None:
                    # A value that is there but cannot be read is a wrong type, not a missing key.
                    test += f" and coalesce(trim(\"r_{column.name}\"::varchar), '') = ''"
                problems.append((test, _quote(f"{what}: {column.name} is empty")))
        timely = [c.name for c in table.columns if c.not_in_future or c.name == table.cursor]
        problems += [
            (f'"{name}" > $latest', _quote(f"wrong type: {name} lies in the future"))
            for name in timely
        ]
        checks = ", ".join(f"case when {test} then {text} end" for test, text in problems)
        any_problem = " or ".join(f"coalesce({test}, false)" for test, _ in problems) or "false"
        file, line = place or ("null::varchar", "null::bigint")
        names = [column.name for column in table.columns] + list(self._extra.values())
        key = " || '|' || ".join(f'"{name}"::varchar' for name in table.key)
        label = " || ', ' || ".join(f"'{name}=' || \"{name}\"::varchar" for name in table.key)
        position = "__file || ':' || __line" if place else f"coalesce({label}, '-')"
        self._con.execute(
            f"insert into {self._typed} by name"
            f" with source as (select {', '.join(inner)}, {broken} as __broken,"
            f"   {payload} as __whole, {file} as __file, {line} as __line,"
            f"   {first} + row_number() over () as __seq from {origin}),"
            f" typed as (select *, {', '.join(typed)} from source),"
            f" complete as (select *{''.join(', ' + d for d in derived)} from typed),"
            " checked as (select *, case when __broken is not null then __broken"
            f"   when {any_problem} then concat_ws('; ', {checks or 'null'}) end as __problem"
            "   from complete)"
            f' select {_list(names)}, __file as "{FILE}", __line as "{LINE}", __seq, __problem,'
            "   case when __problem is not null"
            f"   then left(__whole, {MAX_PAYLOAD_BYTES}) end as __payload,"
            f"   case when __broken is null then {key} end as __key,"
            f"   {position} as __position from checked",
            {"latest": self._latest} if timely else None,
        )
        self._con.unregister("batch")
        self._con.execute("drop table if exists parsed")
        self._read += rows

    def _choose(self) -> tuple[int, int, int]:
        """Make the table of winners; counts of unchanged, deduplicated and loaded rows."""
        table = self.table
        good = self._scalar(f"select count(*) from {self._typed} where __problem is null")
        if not good:
            return 0, 0, 0
        key = _list(table.key)
        newest = f'"{table.cursor}" desc nulls last, ' if table.cursor else ""
        columns = [column.name for column in table.columns] + list(self._extra.values())
        # The file and line of a row are no part of it: a file delivered twice changes nothing.
        digest = "left(sha256(to_json([{}])::varchar), 32)".format(
            ", ".join(f'"{name}"::varchar' for name in columns)
        )
        self._con.execute(
            f'create or replace table {self._winners} as select *, {digest} as "{DIGEST}"'
            f" from (select * from {self._typed} where __problem is null and __void is null"
            f" qualify row_number() over (partition by {key} order by {newest}__seq desc) = 1)"
        )
        self._has_winners = True
        unchanged = 0
        if self._compare:
            same = " and ".join(f'w."{name}" = e."{name}"' for name in table.key)
            if table.newest_wins and table.cursor:
                self._remove_winners(f'{same} and e."{table.cursor}" > w."{table.cursor}"')
            unchanged = self._remove_winners(f'{same} and e."{DIGEST}" = w."{DIGEST}"')
        loaded = self._scalar(f"select count(*) from {self._winners}")
        self._has_winners = loaded > 0
        return unchanged, good - loaded - unchanged, loaded

    def _remove_winners(self, condition: str) -> int:
        """Take rows out that the raw table makes void; how many."""
        found = self._con.execute(
            f"delete from {self._winners} w using {self._existing} e where {condition}"
        ).fetchone()
        return int(found[0]) if found else 0

    def _prepare_gone(self) -> None:
        if not self._has_gone:
            columns = ", ".join(
                f'"{name}" {self._column(name).sql_type}' for name in self.table.key
            )
            self._con.execute(f"create or replace table {self._gone} ({columns})")
            self._has_gone = True

    def _count_gone(self) -> int:
        if not self._has_gone:
            return 0
        key = _list(self.table.key)
        if self._has_winners:
            # Deleted, and back again within the same load: what was read is what counts.
            self._con.execute(
                f"delete from {self._gone} g using {self._winners} w where "
                + " and ".join(f'g."{name}" = w."{name}"' for name in self.table.key)
            )
        gone = self._scalar(f"select count(*) from (select distinct {key} from {self._gone})")
        self._has_gone = gone > 0
        return gone

    def _superseded(self, open_quarantine: pa.Table | None) -> list[str]:
        """Earlier quarantine rows whose key now loads, or whose place now says something else."""
        if open_quarantine is None or not open_quarantine.num_rows:
            return []
        key = " || '|' || ".join(f'g."{name}"::varchar' for name in self.table.key)
        self._con.register("open_rows", open_quarantine)
        found = self._con.execute(
            "select quarantine_id from open_rows o where exists"
            f" (select 1 from {self._typed} t where t.__problem is null"
            "   and (t.__key = o.row_key or t.__position = o.position"
            f'     or t."{FILE}" = o.position))'
            f" or exists (select 1 from {self._typed} t where t.__problem is not null"
            "   and t.__position = o.position and o.position <> '-'"
            "   and (t.__payload is distinct from o.payload))"
            + (
                f" or exists (select 1 from {self._gone} g where {key} = o.row_key)"
                if self._has_gone
                else ""
            )
        ).fetchall()
        self._con.unregister("open_rows")
        return [row[0] for row in found]

    def _see(self, names: Sequence[str]) -> None:
        """Note which columns the source has; with policy `evolve`, make room for new ones."""
        names = [name for name in names if name not in self.table.ignored]
        self._seen.update(names)
        if self.table.new_columns is not Policy.EVOLVE:
            return
        known = {column.source_name for column in self.table.origin_columns}
        taken = {column.name for column in self.table.all_columns}
        for name in names:
            if name in known or name in self._extra:
                continue
            ours = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip(
                "_"
            )
            if not ours or ours in taken or ours in self._extra.values() or ours[0].isdigit():
                continue
            self._con.execute(f'alter table {self._typed} add column "{ours}" varchar')
            self._extra[name] = ours

    def _essential(self) -> list[Column]:
        key = [self._column(name) for name in self.table.key]
        return [c for c in self.table.origin_columns if c.is_required or c in key]

    def _require_essential(self) -> None:
        if not self._seen or self.table.from_files:
            return
        gone = [c.source_name for c in self._essential() if c.source_name not in self._seen]
        if gone:
            raise KlantbeeldError(
                f"{self.table.name}: the source no longer has {', '.join(gone)},"
                " without which no row can be loaded",
                "If it was renamed, set `origin` in"
                f" ingestion/sources/{self.table.source}/contracts.py.",
            )

    def _shape_notes(self) -> list[str]:
        if not self._seen:
            return []
        table = self.table
        known = {column.source_name for column in table.origin_columns}
        where = f"ingestion/sources/{table.source}/contracts.py"
        notes = []
        kept_out = sorted(self._seen - known - set(self._extra))
        if kept_out:
            notes.append(
                f"{table.name}: new at the source and kept out: {', '.join(kept_out)}. To load it,"
                f' add a Column to {where}, or set new_columns.{table.name} = "evolve" in'
                f" [sources.{table.source}]."
            )
        if self._extra:
            notes.append(
                f"{table.name}: new at the source and loaded as text:"
                f" {', '.join(sorted(self._extra.values()))}. Give it a type in {where}."
            )
        vanished = sorted((known - self._seen) | self._lacking)
        if vanished and not table.is_sparse:
            notes.append(
                f"{table.name}: gone at the source and now empty in what is loaded:"
                f" {', '.join(vanished)}."
            )
        return notes

    def _column(self, name: str) -> Column:
        return next(column for column in self.table.columns if column.name == name)

    def _register(self, rows: pa.Table) -> dict[str, str]:
        self._con.register("batch", rows)
        described = self._con.execute("describe select * from batch").fetchall()
        return {row[0]: row[1] for row in described}

    def _scalar(self, sql: str) -> int:
        row = self._con.execute(sql).fetchone()
        return int(row[0]) if row else 0


def numbered(count: int, first: int = 1) -> pa.Array:
    """The numbers of lines."""
    return pa.array(np.arange(first, first + count, dtype=np.int64))


def _parse(column: Column, ref: str, kind: str, notation: Notation) -> tuple[str, str | None]:
    """SQL for a column's value, and for whether it is there but is not what it should be."""
    target = column.sql_type
    if kind != "VARCHAR":
        if column.kind is Kind.TEXT:
            return f"cast({ref} as varchar)", None
        if kind.lower() == target:
            return ref, None
        value = f"try_cast({ref} as {target})"
        if column.kind in (Kind.INTEGER, Kind.DECIMAL):
            # A cast rounds; a number that would change by it is not of this type.
            value = f"case when {value} = {ref} then {value} end"
        return value, f'{ref} is not null and "{column.name}" is null'
    if column.kind is Kind.TEXT:
        return ref, None
    return parse_text(column, f"trim({ref})", notation), (
        f"nullif(trim({ref}), '') is not null and \"{column.name}\" is null"
    )


def parse_text(column: Column, text: str, notation: Notation) -> str:
    """SQL for the value that a trimmed text stands for; null where it is not of the column's kind.

    Args:
        column: What it should be.
        text: SQL of the text.
        notation: How the source writes numbers and dates.
    """
    target = column.sql_type
    # Casts accept more than a contract should: `12.5` is a bigint to them (13), `t` a boolean.
    day = r"[12]\d{3}-\d{2}-\d{2}"
    time = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
    if column.kind is Kind.INTEGER:
        return _if_like(text, r"[+-]?\d{1,19}", f"try_cast({text} as {target})")
    if column.kind is Kind.BOOLEAN:
        return f"case lower({text}) when 'true' then true when 'false' then false end"
    if column.kind is Kind.DECIMAL:
        whole, scale = column.digits[0] - column.digits[1], column.digits[1]
        if notation is Notation.DUTCH:
            plain = f"replace(replace({text}, '.', ''), ',', '.')"
            like = rf"[+-]?(\d{{1,{whole}}}|\d{{1,3}}(\.\d{{3}})+)(,\d{{1,{scale}}})?"
            return _if_like(text, like, f"try_cast({plain} as {target})")
        like = rf"[+-]?\d{{1,{whole}}}(\.\d{{1,{scale}}}0*)?"
        return _if_like(text, like, f"try_cast({text} as {target})")
    if column.kind is Kind.DATE:
        if notation is Notation.DUTCH:
            value = f"try_strptime({text}, '%d-%m-%Y')::date"
            return _if_like(text, r"\d{1,2}-\d{1,2}-[12]\d{3}", value)
        # A system without a type for dates sends midnight.
        like = rf"{day}([T ]00:00(:00(\.0+)?)?(Z|[+]00(:?00)?)?)?"
        return _if_like(text, like, f"try_cast(left({text}, 10) as date)")
    if column.kind is Kind.LOCAL_TIME:
        if notation is Notation.DUTCH:
            # One format for each shape: DuckDB (1.5) reads past the end of a text that is shorter
            # than its format, and dies of it where the text ends with its page of memory.
            like = r"\d{1,2}-\d{1,2}-[12]\d{3} \d{1,2}:\d{2}"
            minutes = _if_like(text, like, f"try_strptime({text}, '%d-%m-%Y %H:%M')")
            seconds = _if_like(text, like + r":\d{2}", f"try_strptime({text}, '%d-%m-%Y %H:%M:%S')")
            return f"coalesce({minutes}, {seconds})"
        return _if_like(text, day + time, f"try_cast({text} as timestamp)")
    like = rf"{day}({time} ?(Z|[+-]\d{{2}}(:?\d{{2}})?)?)?"
    return _if_like(text, like, f"try_cast({text} as {target})")


def _if_like(text: str, pattern: str, value: str) -> str:
    return f"case when regexp_full_match({text}, '{pattern}') then {value} end"


def _expected(column: Column, table: Table) -> str:
    return _EXPECTED.get((column.kind, table.notation), "text")


def _json_path(name: str) -> str:
    return '$."' + name.replace('"', '\\"') + '"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""Click-stream files out of events."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from demo.files import Writer, slices
from demo.people import connect


def write_events(folder: Path, events: pa.Table, write: Writer) -> int:
    """Write events to the file of their business date; gives the number of files."""
    con = connect()
    con.register("events", events)
    drawn = con.execute(
        """
        with placed as (select *, row_number() over () as place from events)

        select
            'events-'
                || strftime(occurred_at at time zone 'Europe/Amsterdam', '%Y-%m-%d')
                || '.jsonl' as file,
            cast(to_json({
                event_id: event_id,
                type: type,
                anonymous_id: anonymous_id,
                session_id: session_id,
                shop_customer_id: shop_customer_id,
                url: url,
                sku: sku,
                referrer: referrer,
                occurred_at: strftime(occurred_at at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ')
            }) as varchar) || chr(10) as line,
        from placed
        order by file, place
        """
    ).to_arrow_table()
    con.close()
    count = 0
    for name, content in slices(drawn["file"].combine_chunks(), drawn["line"].combine_chunks()):
        write(folder / name, content, b"")
        count += 1
    return count

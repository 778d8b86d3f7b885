"""Measuring the linkage of a build against people who are known: the demo's, or one's own labels.

Here: bringing a truth file to record ids. Not here: the figures (`evaluation`). The truth is read
after the fact and never by anything that links.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from pyarrow import parquet

from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.evaluation import (
    Quality,
    Threshold,
    evaluate_clusters,
    evaluate_thresholds,
)
from klantbeeld.records import keyed_hash_sql
from klantbeeld.settings import Settings

_TABLE = "identity_truth"
_COLUMNS = ("source", "entity", "natural_key", "person_id")


def evaluate(con: duckdb.DuckDBPyConnection, settings: Settings) -> Quality | None:
    """Quality of `identity.profile_records` against the truth file; None where no truth is known.

    Raises:
        KlantbeeldError: The truth file is not usable, or nothing is linked yet.
    """
    with _truth(con, settings) as is_known:
        if not is_known:
            return None
        return evaluate_clusters(
            con,
            "(select record_id, profile_id as cluster from identity.profile_records)",
            _TABLE,
        )


def evaluate_other_thresholds(
    con: duckdb.DuckDBPyConnection, settings: Settings
) -> list[Threshold]:
    """What `identity.pairs` would be worth at other thresholds; empty where no truth is known.

    Raises:
        KlantbeeldError: The truth file is not usable, or nothing is linked yet.
    """
    join = settings.identity.join_probability
    with _truth(con, settings) as is_known:
        if not is_known:
            return []
        return evaluate_thresholds(con, "identity.pairs", _TABLE, math.log2(join / (1 - join)))


@contextmanager
def _truth(con: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[bool]:
    """The truth as a table of `record_id` and `cluster`; whether there is one.

    It is a Parquet file of source, entity, natural_key and person_id. A natural key that is an
    e-mail address stands for its keyed hash, as in record ids.
    """
    path = settings.identity.truth_file
    if path is None or not path.exists():
        yield False
        return
    key = "replace(replace(cast(natural_key as varchar), '%', '%25'), ':', '%3A')"
    hashed = keyed_hash_sql("lower(trim(natural_key))", home_key="$home_key")
    try:
        # By Arrow and not by the engine: a reader of a published version may open no file.
        con.register("identity_truth_file", parquet.read_table(path, columns=list(_COLUMNS)))
        truth = con.execute(
            f"""
            select
                source || ':' || entity || ':'
                    || case when contains(natural_key, '@') then {hashed} else {key} end
                    as record_id,
                cast(person_id as varchar) as cluster
            from identity_truth_file
            """,
            {"home_key": settings.home_key().hex()},
        ).to_arrow_table()
        con.unregister("identity_truth_file")
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise KlantbeeldError(
            f"the truth file {path} cannot be used: {str(error).splitlines()[0]}",
            f"It is a Parquet file with the columns {', '.join(_COLUMNS)}.",
        ) from None
    con.register(_TABLE, truth)
    try:
        yield True
    except duckdb.CatalogException:
        raise KlantbeeldError("nothing is linked yet", "Run `klantbeeld run`.") from None
    finally:
        con.unregister(_TABLE)

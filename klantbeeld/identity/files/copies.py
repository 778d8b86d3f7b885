"""Rows that are copies of one another, many times over: linked as one, without being compared.

Here: setting copies aside and following the row they are copies of. Not here: ordinary duplicates,
which are compared like any two records. A million identical rows are half a billion times a
thousand pairs; every blocking rule would give them up as its largest block, and they would end as a
million profiles.
"""

from typing import Final

import duckdb

from klantbeeld.identity import preparation
from klantbeeld.identity.files.standardising import LINKAGE_RECORDS

# Up to this many the pairs cost nothing and say more.
FEW_COPIES: Final = 10
# Both parts of a name, and something that namesakes do not share.
_IS_ONE_PERSON: Final = """
    last_name_std is not null and coalesce(first_name_std, initials_std) is not null
    and coalesce(
        birth_date::varchar, birth_text, email_std, phone_std, mobile_phone_std,
        deterministic_key, house_number_std || coalesce(postal_code_std, street_std || city_std)
    ) is not null
"""


def set_copies_aside(con: duckdb.DuckDBPyConnection) -> int:
    """Keep one record of each crowd of equal ones in `linkage_records`.

    Makes `same_records` (record_id, same_as): every record, and the record that is compared in its
    place, which is nearly always itself.

    Returns:
        How many records were set aside.
    """
    compared = ", ".join([*(set(preparation.COLUMNS) - {"record_id", "source"}), "birth_text"])
    con.execute(f"""
        create or replace table same_records as
        with digests as (
            select
                record_id,
                case when {_IS_ONE_PERSON} then hash({compared}) end as digest,
                case when {_IS_ONE_PERSON} then hash('second', {compared}) end as second_digest
            from {LINKAGE_RECORDS}
            left join birth_texts using (record_id)
        ),
        crowds as (
            select digest, second_digest, min(record_id) as same_as
            from digests
            where digest is not null
            group by digest, second_digest
            having count(*) > {FEW_COPIES}
        )
        select digests.record_id, coalesce(crowds.same_as, digests.record_id) as same_as
        from digests
        left join crowds using (digest, second_digest)
    """)
    row = con.execute("select count(*) from same_records where record_id != same_as").fetchone()
    copies = int(row[0]) if row else 0
    if copies:
        con.execute(
            f"delete from {LINKAGE_RECORDS} where record_id in "
            "(select record_id from same_records where record_id != same_as)"
        )
    return copies

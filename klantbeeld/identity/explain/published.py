"""What a published version and the control plane know: ids, pairs, decisions, values as written.

Here: reading, and finding the record or profile that was meant. Not here: weighing anything again
(`weighing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from klantbeeld.control import ControlPlane
from klantbeeld.control.tables import profile_id_events, profile_records
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity.decisions import (
    active_decisions,
    find_contradictions,
    read_decisions,
)
from klantbeeld.identity.explain.answers import Decision, Question, RecordFacts
from klantbeeld.identity.review import settled_by
from klantbeeld.records import typed_record_id
from klantbeeld.settings import Settings
from klantbeeld.warehouse import Version

# Weight, probability, rule and decision of a pair, as the link stage wrote them.
StoredPair = tuple[float | None, float, str, str]
_SUGGESTIONS: Final = 5
# What a person recognises a record by, in this order; `RecordFacts.values` holds what is known.
AS_WRITTEN: Final = (
    "birth date",
    "gender",
    "maiden name",
    "e-mail",
    "phone",
    "address",
    "loyalty number",
)


@dataclass(frozen=True)
class Surroundings:
    """The records and pairs around a question.

    Attributes:
        records: Record ids, in order.
        profiles: The profile of each.
        stored: The pairs among them that were weighed.
    """

    records: list[str]
    profiles: dict[str, str]
    stored: dict[tuple[str, str], StoredPair]


class PublishedIdentity:
    """Reads one published version.

    Args:
        con: The version's warehouse, read-only.
        settings: The home's settings.
        control: The control plane; it is only read.
        version: The version.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        settings: Settings,
        control: ControlPlane,
        version: Version,
    ) -> None:
        self._con = con
        self._settings = settings
        self._control = control
        self._version = version

    def find_record(self, asked: str) -> str:
        """The record id that was meant.

        Args:
            asked: A record id, or the key in it. An e-mail address stands for its keyed hash, as in
                record ids.

        Raises:
            KlantbeeldError: No record, or several, may be meant.
        """
        text = typed_record_id(asked, self._settings.home_key())
        found = self._con.execute(
            """
            select record_id from identity.profile_records
            where record_id = $asked or ends_with(record_id, ':' || ltrim($asked, ':'))
            order by record_id = $asked desc, record_id
            limit $most
            """,
            {"asked": text, "most": _SUGGESTIONS + 1},
        ).fetchall()
        if found and (found[0][0] == text or len(found) == 1):
            return str(found[0][0])
        if found:
            names = ", ".join(str(name) for (name,) in found[:_SUGGESTIONS])
            raise KlantbeeldError(f"{asked} may be several records", f"Name one of: {names}.")
        raise self._unknown_record(asked, text)

    def find_profile(self, asked: str) -> tuple[str, str, tuple[str, ...]]:
        """The profile that was meant, its status, and how it was found, in sentences.

        Args:
            asked: Any profile id ever issued, or a record id.

        Raises:
            KlantbeeldError: Neither is known.
        """
        text = asked.strip()
        row = self._con.execute(
            "select current_profile_id, status from identity.current_profile_ids "
            "where profile_id = ?",
            [text.upper()],
        ).fetchone()
        if row is not None:
            asked_id, current, status = text.upper(), row[0], str(row[1])
            if current is None:
                return asked_id, status, (f"{asked_id} is {status}: it has no records any more.",)
            if current == asked_id:
                return asked_id, status, ()
            events = [
                f"{asked_id} was {event}"
                + (f" into {other}" if other else "")
                + f" on {at:%Y-%m-%d}."
                for at, event, other in self.history(asked_id)
                if event != "created"
            ]
            return str(current), "active", (*events, f"{asked_id} is {current} today.")
        if ":" not in text:
            raise KlantbeeldError(
                f"there never was a profile {asked} in this home",
                "A profile id is P and 13 letters and digits. Give a record id (source:entity:key)"
                " to explain the profile that a record is in.",
            )
        record_id = self.find_record(text)
        profile = self._con.execute(
            "select profile_id from identity.profile_records where record_id = ?", [record_id]
        ).fetchone()
        profile_id = str(profile[0]) if profile else ""
        return profile_id, "active", (f"{record_id} is in profile {profile_id}.",)

    def _unknown_record(self, asked: str, text: str) -> KlantbeeldError:
        query = sa.select(profile_records).where(profile_records.c.record_id == text)
        with self._control.read() as connection:
            last = connection.execute(query).one_or_none()
        if last is not None:
            return KlantbeeldError(
                f"{text} is not in the published version {self._version.version_id}",
                f"It was in profile {last.profile_id} when version {last.version_id} was"
                " published; its source no longer has it, or a version was rolled back.",
            )
        kinds = self._con.execute(
            "select source || ':' || split_part(record_id, ':', 2) as kind, min(record_id) "
            "from (select *, split_part(record_id, ':', 1) as source "
            "from identity.profile_records) group by kind order by kind"
        ).fetchall()
        known = ", ".join(str(kind) for kind, _ in kinds)
        example = f" such as {kinds[0][1]}" if kinds else ""
        return KlantbeeldError(
            f"there is no record {asked} in the published version {self._version.version_id}",
            f"A record is named source:entity:key,{example}; here: {known}."
            " `marts.bridge_profile_records` lists them all. If the source has it since a short"
            " while, run `klantbeeld run` first.",
        )

    def members(self, profile_id: str) -> list[str]:
        """The records of a profile, in order."""
        rows = self._con.execute(
            "select record_id from identity.profile_records "
            "where profile_id = ? order by record_id",
            [profile_id],
        ).fetchall()
        return [str(name) for (name,) in rows]

    def history(self, profile_id: str) -> tuple[tuple[datetime, str, str | None], ...]:
        """What happened to an id: when, the event, the other id."""
        query = (
            sa.select(
                profile_id_events.c.at,
                profile_id_events.c.event,
                profile_id_events.c.other_profile_id,
            )
            .where(profile_id_events.c.profile_id == profile_id)
            .order_by(profile_id_events.c.event_id)
        )
        with self._control.read() as connection:
            rows = connection.execute(query).all()
        return tuple((row.at, row.event, row.other_profile_id) for row in rows)

    def surroundings(self, start: Sequence[str]) -> Surroundings:
        """All records that a chain of accepted or refused pairs leads to, and their fellows."""
        own = self._con
        known = set(start)
        fresh = set(start)
        while fresh:
            own.register("asked_records", pa.table({"record_id": sorted(fresh)}))
            reached = own.execute("""
                with ends as (
                    select record_id_l as here, record_id_r as there from identity.pairs
                    where decision <> 'below_threshold'
                    union all
                    select record_id_r, record_id_l from identity.pairs
                    where decision <> 'below_threshold'
                ),
                fellows as (
                    select fellows.record_id
                    from identity.profile_records as mine
                    inner join identity.profile_records as fellows using (profile_id)
                    where mine.record_id in (select record_id from asked_records)
                )
                select there from ends where here in (select record_id from asked_records)
                union select record_id from fellows
            """).fetchall()
            own.unregister("asked_records")
            fresh = {str(name) for (name,) in reached} - known
            known |= fresh
        records = sorted(known)
        own.register("asked_records", pa.table({"record_id": records}))
        profiles = dict(
            own.execute(
                "select record_id, profile_id from identity.profile_records "
                "where record_id in (select record_id from asked_records)"
            ).fetchall()
        )
        stored = {
            (str(left), str(right)): (weight, float(probability), str(rule), str(decision))
            for left, right, weight, probability, rule, decision in own.execute("""
                select
                    least(record_id_l, record_id_r),
                    greatest(record_id_l, record_id_r),
                    match_weight, match_probability, match_key, decision
                from identity.pairs
                where record_id_l in (select record_id from asked_records)
                    and record_id_r in (select record_id from asked_records)
            """).fetchall()
        }
        own.unregister("asked_records")
        return Surroundings(records, profiles, stored)

    def decisions(
        self, records: Sequence[str], wanted: Sequence[str] | None = None
    ) -> tuple[Decision, ...]:
        """Steward decisions that are not revoked.

        Args:
            records: The records they may concern.
            wanted: Two records; of the decisions on pairs only the one on these two is wanted.
        """
        concerned = set(records)
        found = [
            decision
            for decision in read_decisions(self._control)
            if decision.record_id_l in concerned or decision.record_id_r in concerned
        ]
        if wanted is not None:
            both = set(wanted)
            found = [
                decision
                for decision in found
                if decision.record_id_r is None
                or {decision.record_id_l, decision.record_id_r} == both
            ]
        if not found:
            return ()
        contradicted = {
            decision_id
            for contradiction in find_contradictions(active_decisions(self._control))
            for decision_id in contradiction.decision_ids
        }
        return tuple(
            Decision(
                decision.record_id_l,
                decision.record_id_r or "",
                decision.verdict,
                decision.decided_by,
                decision.decided_at,
                decision.why,
                "contradicted"
                if decision.decision_id in contradicted
                else "applied"
                if decision.decided_at <= self._version.created_at
                else "next_run",
            )
            for decision in found
        )

    def questions(self, profiles: Sequence[str]) -> tuple[Question, ...]:
        """What waits for a person about all of some profiles, and was not decided since."""
        try:
            rows = self._con.execute(
                "select review_id, kind, record_ids, profile_ids from identity.review_queue "
                "where list_has_all(profile_ids, ?) order by review_id",
                [list(profiles)],
            ).fetchall()
        except duckdb.CatalogException:
            # A version of a release that asked nobody.
            return ()
        is_settled = settled_by(active_decisions(self._control)) if rows else None
        return tuple(
            Question(str(review_id), str(kind), tuple(records), tuple(concerned))
            for review_id, kind, records, concerned in rows
            if is_settled is not None and not is_settled(records)
        )

    def as_written(
        self,
        records: Sequence[str],
        profiles: Mapping[str, str],
        set_aside: Mapping[str, Sequence[str]],
    ) -> dict[str, RecordFacts]:
        """What a person recognises records by, as their sources have it.

        Args:
            records: Record ids.
            profiles: The profile of each.
            set_aside: What was not used for matching, per record, in sentences.
        """
        self._con.register("asked_records", pa.table({"record_id": list(records)}))
        written = self._con.execute(_AS_WRITTEN_SQL).to_arrow_table().to_pylist()
        self._con.unregister("asked_records")
        return {
            str(row["record_id"]): RecordFacts(
                record_id=str(row["record_id"]),
                source=str(row["source"]),
                entity=str(row["entity"]),
                profile_id=profiles[str(row["record_id"])],
                name=str(row["name"] or "(no name)"),
                values={name: str(row[name]) for name in AS_WRITTEN if row[name]},
                set_aside=(
                    *(sentence for name, sentence in _UNUSABLE.items() if row[name]),
                    *set_aside.get(str(row["record_id"]), ()),
                ),
            )
            for row in written
        }


# What a record has that harmonising made nothing of.
_UNUSABLE: Final = {
    "is_birth_date_unusable": "Its birth date stands for an unknown one, or cannot be right, and "
    "was not used.",
    "is_email_unusable": "Its e-mail address is not a valid one, or nobody's, and was not used.",
    "is_phone_unusable": "Its phone number is not a valid one, or nobody's, and was not used.",
}
_AS_WRITTEN_SQL: Final = """
    select
        int_linkage_records.record_id,
        int_linkage_records.source,
        coalesce(int_linkage_records.entity, '') as entity,
        coalesce(
            persons.full_name,
            nullif(
                concat_ws(
                    ' ', coalesce(persons.first_name, persons.initials), persons.infix,
                    persons.last_name
                ),
                ''
            ),
            int_linkage_records.full_name_std
        ) as name,
        persons.maiden_name as "maiden name",
        strftime(persons.birth_date, '%Y-%m-%d') as "birth date",
        persons.gender,
        persons.email as "e-mail",
        nullif(
            concat_ws(', ', persons.mobile_phone, nullif(persons.phone, persons.mobile_phone)), ''
        ) as phone,
        nullif(
            concat_ws(
                ', ',
                nullif(
                    concat_ws(
                        ' ', persons.street, persons.house_number, persons.house_number_suffix
                    ),
                    ''
                ),
                nullif(concat_ws(' ', persons.postal_code, persons.city), '')
            ),
            ''
        ) as address,
        persons.loyalty_number as "loyalty number",
        persons.birth_date is not null and int_linkage_records.birth_date is null
            as is_birth_date_unusable,
        persons.email is not null and int_linkage_records.email_std is null as is_email_unusable,
        coalesce(persons.phone, persons.mobile_phone) is not null
            and int_linkage_records.phone_std is null
            and int_linkage_records.mobile_phone_std is null as is_phone_unusable
    from intermediate.int_linkage_records
    left join intermediate.int_persons__unioned as persons using (record_id)
    where int_linkage_records.record_id in (select record_id from asked_records)
    order by int_linkage_records.record_id
"""

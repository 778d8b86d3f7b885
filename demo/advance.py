"""A day in the life of the world: drawn first, written down, then applied to every system.

Here: `live_a_day` draws everything that happens on the next business date from the state, the seed
and the date, and keeps it in `<demo.dir>/next/`; `finish` applies that to the systems, each through
its own store, and then moves state, truth and clock. Applying is idempotent (upserts by key, whole
files, deletes of ids), so a day that was interrupted is simply applied again.
Not here: how people shop and read (`demo.history`), how a record is written down (`demo.records`).

Flow: state/ + the shop's open orders + the newsletter's subscribers -> next/ -> systems -> state/
"""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from demo import history, state
from demo.crm import store as crm_store
from demo.files import drop
from demo.newsletter import store as newsletter_store
from demo.people import (
    Ints,
    Offsets,
    connect,
    day_number,
    draw_addresses,
    draw_companies,
    draw_people,
)
from demo.pos.files import write_members, write_receipts
from demo.shop import server as shop_server
from demo.shop import store as shop_store
from demo.state import Folder, State
from demo.systems import Membership, draw_membership, draw_records
from demo.tables import end_of_day, microseconds, without_person
from demo.web.files import write_events
from klantbeeld.failpoints import failpoint

#: What happens on a day, per person in the world; at least once each.
NEW_PERSONS: Final = 0.0012
NEW_RECORDS: Final = 0.0010
MOVES: Final = 0.0006
NEW_MOBILES: Final = 0.0006
NEW_EMAILS: Final = 0.0004
NEW_NAMES: Final = 0.0003
WITHDRAWALS: Final = 0.0005
DELETIONS: Final = 0.0002
#: Shares of a person's records that hear of a move or a new number.
TOLD_CRM, TOLD_SHOP, TOLD_TILL = 0.65, 0.8, 0.45

_SHOP_ORDERS: Final = pa.schema(
    [
        ("order_id", pa.int64()),
        ("ordered_at", pa.timestamp("us", "UTC")),
        ("status", pa.string()),
    ]
)
_SHOP_LINES: Final = pa.schema(
    [
        ("order_line_id", pa.int64()),
        ("order_id", pa.int64()),
        ("quantity", pa.int32()),
        ("unit_price", pa.decimal128(12, 2)),
        ("discount_amount", pa.decimal128(12, 2)),
        ("ordered_at", pa.timestamp("us", "UTC")),
    ]
)
_SHOP_ADDRESSES: Final = pa.schema([("address_id", pa.int64()), ("customer_id", pa.int64())])
#: A moment as CSV that Arrow reads as UTC.
_UTC: Final = """to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_MOMENT: Final = pa.timestamp("us", "UTC")


@dataclass
class Day:
    """Everything that happens on one date; tables by what is done with them."""

    date: dt.date
    tables: dict[str, pa.Table] = field(default_factory=dict)

    def add(self, name: str, table: pa.Table) -> None:
        """Keep a table, unless nothing is in it."""
        if table.num_rows:
            self.tables[name] = table


def live_a_day(folder: Folder, seed: int) -> str:
    """Draw the next business date and apply it; gives a line that says what happened."""
    past = State.read(folder.state_file)
    date = past.day + dt.timedelta(days=1)
    day = Day(date)
    people = parquet.read_table(folder.people)
    members = parquet.read_table(folder.members)
    truth = parquet.read_table(folder.truth)
    rng = np.random.default_rng([seed, 2, date.toordinal()])
    drawn = _Drawing(folder, rng, day, past, people, members, truth)
    drawn.draw()
    _write_down(folder, day, drawn)
    failpoint("demo.advance.drawn")
    finish(folder)
    count = {name: table.num_rows for name, table in day.tables.items()}
    return (
        f"{date}: {drawn.new_persons} new people, {count.get('shop.insert.orders', 0)} orders, "
        f"{count.get('pos.receipt_lines', 0)} till lines, {count.get('newsletter.events', 0)} mail "
        f"events, {count.get('web.events', 0)} clicks, {drawn.changes} changed and "
        f"{drawn.deletions} deleted records"
    )


def finish(folder: Folder) -> bool:
    """Apply the day that is written down, if there is one; may be repeated at any point."""
    if not folder.next.exists():
        return False
    date = State.read(folder.next / "state.json").day
    tables = {
        path.stem: parquet.read_table(path) for path in sorted(folder.next.glob("*.*.parquet"))
    }
    _apply_shop(folder, tables)
    failpoint("demo.advance.shop")
    _apply_crm(folder, tables, date)
    failpoint("demo.advance.crm")
    _apply_newsletter(folder, tables)
    for name, write in (("pos.receipt_lines", write_receipts), ("pos.members", write_members)):
        if name in tables:
            write(folder.pos, tables[name], date, drop)
    if "web.events" in tables:
        write_events(folder.web, tables["web.events"], drop)
    failpoint("demo.advance.applied")
    for target in (folder.people, folder.members, folder.truth):
        # Copied, not moved: a repetition must find them.
        temporary = target.with_name(f".{target.name}.part")
        shutil.copyfile(folder.next / target.name, temporary)
        temporary.chmod(0o600)
        temporary.replace(target)
    State.read(folder.next / "state.json").write(folder.state_file)
    state.write_clock(folder, date)
    failpoint("demo.advance.clock")
    # Renamed first, so that a half removed day is not applied again.
    gone = folder.next.with_name("next.done")
    shutil.rmtree(gone, ignore_errors=True)
    folder.next.rename(gone)
    shutil.rmtree(gone)
    return True


def _write_down(folder: Folder, day: Day, drawn: _Drawing) -> None:
    making = folder.next.with_name("next.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    for name, table in day.tables.items():
        state.write_parquet(making / f"{name}.parquet", table)
    state.write_parquet(making / folder.people.name, drawn.people)
    state.write_parquet(making / folder.members.name, drawn.members)
    state.write_parquet(making / folder.truth.name, drawn.truth)
    State(day.date, drawn.counters).write(making / "state.json")
    making.rename(folder.next)


# --------------------------------------------------------------------------------------------
# Applying
# --------------------------------------------------------------------------------------------


def _part(tables: dict[str, pa.Table], prefix: str) -> dict[str, pa.Table]:
    return {
        name.removeprefix(prefix): table
        for name, table in tables.items()
        if name.startswith(prefix)
    }


def _apply_shop(folder: Folder, tables: dict[str, pa.Table]) -> None:
    with shop_store.connect(shop_server.socket_folder(folder.shop)) as connection:
        new = _part(tables, "shop.insert.")
        for name in shop_store.TABLES:
            if name in new:
                shop_store.upsert(connection, name, new[name])
        for name, table in _part(tables, "shop.update.").items():
            target, key = name.split("-")[:2]
            shop_store.update(connection, target, table, key)
        if "shop.delete.customers" in tables:
            ids = tables["shop.delete.customers"]["customer_id"].to_pylist()
            shop_store.delete_customers(connection, ids)


def _apply_crm(folder: Folder, tables: dict[str, pa.Table], date: dt.date) -> None:
    moment = end_of_day(date) - dt.timedelta(hours=6)
    new = _part(tables, "crm.insert.")
    for name in ("accounts", "contacts", "leads"):
        if name in new:
            crm_store.upsert(folder.crm, name, new[name], moment)
    for name, table in _part(tables, "crm.update.").items():
        crm_store.upsert(folder.crm, name.split("-")[0], table, moment)
    for name, table in _part(tables, "crm.delete.").items():
        crm_store.delete(folder.crm, name, table["id"].to_pylist(), moment)


def _apply_newsletter(folder: Folder, tables: dict[str, pa.Table]) -> None:
    with newsletter_store.changes(folder.newsletter) as connection:
        for name in ("subscribers", "opt_ins", "events"):
            if f"newsletter.{name}" in tables:
                newsletter_store.upsert(connection, name, tables[f"newsletter.{name}"])
        if "newsletter.unsubscribed" in tables:
            newsletter_store.unsubscribe(connection, tables["newsletter.unsubscribed"])
        if "newsletter.deletions" in tables:
            newsletter_store.delete_subscribers(connection, tables["newsletter.deletions"])


# --------------------------------------------------------------------------------------------
# Drawing
# --------------------------------------------------------------------------------------------


class _Drawing:
    """One day being drawn: starts from the state of yesterday, ends with that of today."""

    def __init__(
        self,
        folder: Folder,
        rng: np.random.Generator,
        day: Day,
        past: State,
        people: pa.Table,
        members: pa.Table,
        truth: pa.Table,
    ) -> None:
        self.folder = folder
        self.rng = rng
        self.day = day
        self.counters = past.counters
        self.people = people
        self.members = members
        self.truth = truth
        self.number = day_number(day.date)
        self.as_of = microseconds(end_of_day(day.date))
        self.persons = people.num_rows
        self.new_persons = 0
        self.changes = 0
        self.deletions = 0
        #: Records that something has happened to today: one thing a day is enough.
        self.touched: set[tuple[str, str]] = set()

    def draw(self) -> None:
        """Draw it all; the order is part of what makes a day repeatable."""
        known = self._accounts()
        new = self._new_people_and_records()
        self._moves()
        self._new_numbers_and_names()
        self._withdrawals()
        self._deletions()
        self._orders(known, new)
        self._newsletter_events()

    def _count(self, rate: float) -> int:
        return max(1, int(self.rng.poisson(rate * self.persons)))

    def _moment(self, count: int) -> pa.Array:
        """Moments of the day, in office hours."""
        seconds = self.rng.integers(8 * 3600, 18 * 3600, count)
        return history.timestamps(history.to_utc(np.full(count, self.number), seconds))

    def _keys(self, source: str, entity: str) -> tuple[pa.ChunkedArray, Ints]:
        wanted = self.truth.filter(
            pc.and_(pc.equal(self.truth["source"], source), pc.equal(self.truth["entity"], entity))
        )
        return wanted["natural_key"], wanted["person_id"].to_numpy()

    def _accounts(self) -> dict[str, pa.Table]:
        """Those who were customers, members or subscribers yesterday."""
        tables = {}
        for source, entity, key in (
            ("shop", "customer", "customer_id"),
            ("pos", "member", "kaartnummer"),
        ):
            keys, person = self._keys(source, entity)
            table = pa.table(
                {
                    key: keys.cast(pa.int64()) if source == "shop" else keys,
                    "person_id": person,
                    "created_at": pa.array(np.zeros(person.size, np.int64)).cast(_MOMENT),
                    "aanmelddatum": pa.array(np.zeros(person.size, np.int32)).cast(pa.date32()),
                }
            )
            tables[source] = history.habits_of(table, self.people)
        return tables

    # -- people ---------------------------------------------------------------------------------

    def _new_people_and_records(self) -> dict[str, pa.Table]:
        """People nobody knew, and people who become known once more; in every system."""
        rng, values = self.rng, self.counters.values
        count = self._count(NEW_PERSONS)
        offsets = Offsets(
            person=int(self.people["person_id"][-1].as_py()),
            household=int(pc.max(self.people["household_id"]).as_py()),
            company=values["companies"],
            mail_mark=f"{self.day.date:%y%m%d}",
        )
        companies = draw_companies(rng, int(rng.random() < 0.2), offsets)
        values["companies"] = offsets.company + companies.num_rows
        fresh = draw_people(rng, count, offsets, companies, self.day.date)
        membership = draw_membership(rng, fresh)
        again = np.sort(rng.choice(self.persons, self._count(NEW_RECORDS), replace=False))
        again = again[~self.people["is_child"].to_numpy(zero_copy_only=False)[again]]
        rows = np.concatenate([self.persons + np.arange(count), again])
        everybody = pa.concat_tables([self.people, fresh])
        order = np.argsort(rows, kind="stable")
        place = np.empty(rows.size, dtype=np.int64)
        place[order] = np.arange(rows.size)
        where = rng.integers(0, 5, again.size)
        has_mail = np.asarray(pc.is_valid(self.people["email"]))[again]
        # Without an address nobody can have an account or a subscription.
        where = np.where(~has_mail & np.isin(where, (1, 3)), 2, where)

        def joined(first: Ints, kind: int) -> Ints:
            return np.concatenate([place[first], place[count + np.flatnonzero(where == kind)]])

        tables = draw_records(
            rng,
            everybody.take(pa.array(rows[order])),
            companies,
            Membership(
                contacts=joined(membership.contacts, 0),
                business_contacts=place[membership.business_contacts],
                leads=joined(membership.leads, 4),
                customers=joined(membership.customers, 1),
                members=joined(membership.members, 2),
                subscribers=joined(membership.subscribers, 3),
            ),
            self.counters,
            self.as_of,
            self.day.date,
            is_fresh=True,
        )
        self._drop_known_subscribers(tables)
        self.people = everybody
        self.new_persons = count
        self.truth = pa.concat_tables([self.truth, tables["truth"]])
        self.members = pa.concat_tables([self.members, tables["pos.members"]])
        day = self.day
        for name in ("accounts", "contacts", "leads"):
            day.add(f"crm.insert.{name}", without_person(name, tables[f"crm.{name}"]))
        for name in ("customers", "addresses"):
            day.add(f"shop.insert.{name}", without_person(name, tables[f"shop.{name}"]))
        day.add("pos.members", tables["pos.members"])
        for name in ("subscribers", "opt_ins"):
            full = f"newsletter.{name}"
            day.add(full, without_person(full, tables[full]))
        return tables

    def _drop_known_subscribers(self, tables: dict[str, pa.Table]) -> None:
        """An address that is subscribed already is not subscribed again."""
        known, _ = self._keys("newsletter", "subscriber")
        known = pc.utf8_lower(known)

        def is_new(emails: pa.ChunkedArray) -> pa.ChunkedArray:
            return pc.invert(pc.is_in(pc.utf8_lower(emails), value_set=known.combine_chunks()))

        for name in ("newsletter.subscribers", "newsletter.opt_ins"):
            tables[name] = tables[name].filter(is_new(tables[name]["email"]))
        truth = tables["truth"]
        stays = pc.or_(pc.not_equal(truth["source"], "newsletter"), is_new(truth["natural_key"]))
        tables["truth"] = truth.filter(stays)

    def _records_of(
        self, person: Ints, source: str, entity: str, share: float
    ) -> tuple[pa.Array, Ints]:
        """Keys of those persons' records that are told, with each one's place in `person`."""
        keys, owner = self._keys(source, entity)
        order = np.argsort(person)
        at = np.minimum(np.searchsorted(person[order], owner), person.size - 1)
        place = order[at]
        hit = np.flatnonzero((person[place] == owner) & (self.rng.random(owner.size) < share))
        chosen = (
            keys.combine_chunks().take(pa.array(hit)) if len(keys) else pa.array([], pa.string())
        )
        free = np.array([(source, key) not in self.touched for key in chosen.to_pylist()], bool)
        self.touched.update((source, key) for key in chosen.to_pylist())
        return chosen.filter(pa.array(free)), place[hit][free]

    def _moves(self) -> None:
        """Households that move; some of their records are told."""
        rng = self.rng
        heads = rng.choice(self.persons, self._count(MOVES), replace=False)
        households = np.unique(self.people["household_id"].to_numpy()[heads])
        moving = np.isin(self.people["household_id"].to_numpy(), households)
        rows = np.flatnonzero(moving)
        home = np.searchsorted(households, self.people["household_id"].to_numpy()[rows])
        new = draw_addresses(rng, households.size)
        fields = ("street", "house_number", "house_number_suffix", "postal_code", "city")
        at = pa.array(home)
        address = {name: new[name].take(at) for name in fields}
        changes: dict[str, pa.Array] = dict(address)
        changes |= {
            f"former_{name}": self.people[name].combine_chunks().take(pa.array(rows))
            for name in fields
        }
        changes["moved_on"] = history.dates(np.full(rows.size, self.number))
        self.people = _replace(self.people, rows, changes)
        person = self.people["person_id"].to_numpy()[rows]

        keys, place = self._records_of(person, "crm", "contact", TOLD_CRM)
        told = {name: values.take(pa.array(place)) for name, values in address.items()}
        self._crm_update(
            "contacts-address",
            keys,
            address1_line1=_line(told),
            address1_postalcode=told["postal_code"],
            address1_city=told["city"],
        )
        keys, place = self._records_of(person, "shop", "customer", TOLD_SHOP)
        told = {name: values.take(pa.array(place)) for name, values in address.items()}
        moments = self._moment(len(keys))
        customer = keys.cast(pa.int64())
        self.day.add(
            "shop.update.addresses-customer_id",
            pa.table({"customer_id": customer, **told, "updated_at": moments}),
        )
        self.day.add(
            "shop.update.customers-customer_id-moved",
            pa.table({"customer_id": customer, "updated_at": moments}),
        )
        self.changes += len(keys)
        keys, place = self._records_of(person, "pos", "member", TOLD_TILL)
        told = {name: values.take(pa.array(place)) for name, values in address.items()}
        self._member_update(
            keys,
            straat=told["street"],
            huisnummer=told["house_number"],
            toevoeging=told["house_number_suffix"],
            postcode=told["postal_code"],
            plaats=told["city"],
        )

    def _new_numbers_and_names(self) -> None:
        """New mobile numbers, e-mail addresses and surnames."""
        rng = self.rng
        adult = np.flatnonzero(
            ~self.people["is_child"].to_numpy(zero_copy_only=False)[: self.persons]
        )
        for what, rate in (("mobile", NEW_MOBILES), ("email", NEW_EMAILS), ("surname", NEW_NAMES)):
            rows = np.sort(rng.choice(adult, min(self._count(rate), adult.size), replace=False))
            person = self.people["person_id"].to_numpy()[rows]
            con = connect()
            con.register("chosen", self.people.take(pa.array(rows)))
            number = rng.integers(0, 10_000_000, rows.size)
            spouse = rng.integers(0, self.persons, rows.size)
            con.register(
                "extra",
                pa.table(
                    {
                        "number": number,
                        "spouse_infix": self.people["own_infix"]
                        .combine_chunks()
                        .take(pa.array(spouse)),
                        "spouse_surname": self.people["own_surname"]
                        .combine_chunks()
                        .take(pa.array(spouse)),
                    }
                ),
            )
            new = (
                con.execute(
                    f"""
                select
                    printf('069%07d', number) as mobile,
                    regexp_replace(lower(strip_accents(surname)), '[^a-z]', '', 'g')
                        || '.{self.number}.' || person_id || '@snelmail.example' as email,
                    spouse_infix as infix,
                    spouse_surname || '-' || concat_ws(' ', own_infix, own_surname) as surname,
                    concat_ws(' ', own_infix, own_surname) as maiden_name,
                from chosen positional join extra
                """
                )
                .to_arrow_table()
                .combine_chunks()
            )
            con.close()
            columns = {name: new[name].combine_chunks() for name in new.column_names}
            changed: dict[str, pa.Array] = {what: columns[what]}
            if what == "surname":
                changed |= {
                    "infix": columns["infix"],
                    "has_changed_name": pa.repeat(True, rows.size),
                    "name_changed_on": history.dates(np.full(rows.size, self.number)),
                }
            self.people = _replace(self.people, rows, changed)
            self._tell(what, person, columns)

    def _tell(self, what: str, person: Ints, new: dict[str, pa.Array]) -> None:
        keys, place = self._records_of(person, "crm", "contact", TOLD_CRM)
        at = pa.array(place)
        crm = {
            "mobile": {"mobilephone": new["mobile"].take(at)},
            "email": {"emailaddress1": new["email"].take(at)},
            "surname": {
                "middlename": new["infix"].take(at),
                "lastname": new["surname"].take(at),
                "cdp_maidenname": new["maiden_name"].take(at),
            },
        }
        self._crm_update(f"contacts-{what}", keys, **crm[what])
        keys, place = self._records_of(person, "shop", "customer", TOLD_SHOP)
        at = pa.array(place)
        last_name = pc.binary_join_element_wise(
            new["infix"].take(at), new["surname"].take(at), " ", null_handling="skip"
        )
        shop = {
            "mobile": {"phone": new["mobile"].take(at)},
            "email": {"email": new["email"].take(at)},
            "surname": {"last_name": last_name},
        }
        self.day.add(
            f"shop.update.customers-customer_id-{what}",
            pa.table(
                {
                    "customer_id": keys.cast(pa.int64()),
                    **shop[what],
                    "updated_at": self._moment(len(keys)),
                }
            ),
        )
        self.changes += len(keys)
        keys, place = self._records_of(person, "pos", "member", TOLD_TILL)
        at = pa.array(place)
        pos = {
            "mobile": {"telefoon": new["mobile"].take(at)},
            "email": {"email": new["email"].take(at)},
            "surname": {
                "tussenvoegsel": new["infix"].take(at),
                "achternaam": new["surname"].take(at),
            },
        }
        self._member_update(keys, **pos[what])

    def _crm_update(self, name: str, keys: pa.Array, **columns: pa.Array) -> None:
        self.changes += len(keys)
        moments = self._moment(len(keys))
        self.day.add(
            f"crm.update.{name}", pa.table({"contactid": keys, **columns, "modifiedon": moments})
        )

    def _member_update(self, keys: pa.Array, **columns: pa.Array) -> None:
        """A till writes a member's whole line again."""
        if not len(keys):
            return
        position = pc.index_in(keys, value_set=self.members["kaartnummer"].combine_chunks())
        rows = position.to_numpy()
        minute = self.number * 86_400 + self.rng.integers(9 * 60, 18 * 60, len(keys)) * 60
        changes = dict(columns)
        changes["gewijzigd"] = pa.array(minute * 1_000_000).cast(
            self.members.schema.field("gewijzigd").type
        )
        self.members = _replace(self.members, rows, changes)
        self.changes += len(keys)
        already = self.day.tables.get("pos.members")
        lines = self.members.take(pa.array(rows))
        self.day.add(
            "pos.members", lines if already is None else pa.concat_tables([already, lines])
        )

    # -- withdrawals and deletions --------------------------------------------------------------

    def _choose(self, source: str, entity: str, rate: float) -> pa.Array:
        """Keys of records to which nothing else has happened today."""
        keys, _ = self._keys(source, entity)
        if not len(keys):
            return pa.array([], pa.string())
        count = min(self._count(rate), len(keys))
        chosen = keys.combine_chunks().take(
            pa.array(np.sort(self.rng.choice(len(keys), count, replace=False)))
        )
        free = [key for key in chosen.to_pylist() if (source, key) not in self.touched]
        self.touched.update((source, key) for key in free)
        return pa.array(free, pa.string())

    def _withdrawals(self) -> None:
        """People who no longer want mail, told to one system and not to the others."""
        contacts = self._choose("crm", "contact", WITHDRAWALS)
        self._crm_update(
            "contacts-withdrawal",
            contacts,
            donotemail=pa.repeat(True, len(contacts)),
            cdp_consentdate=history.dates(np.full(len(contacts), self.number)),
        )
        customers = self._choose("shop", "customer", WITHDRAWALS)
        self.changes += len(customers)
        self.day.add(
            "shop.update.customers-customer_id-withdrawal",
            pa.table(
                {
                    "customer_id": customers.cast(pa.int64()),
                    "newsletter_opt_in": pa.repeat(False, len(customers)),
                    "updated_at": self._moment(len(customers)),
                }
            ),
        )
        cards = self._choose("pos", "member", WITHDRAWALS / 2)
        self._member_update(cards, mailing=pa.repeat("N", len(cards)))
        emails = self._choose("newsletter", "subscriber", WITHDRAWALS)
        last = self.counters.take("opt_ins", len(emails) * 2)
        moments = self._moment(len(emails))
        self.changes += len(emails)
        self.day.add(
            "newsletter.unsubscribed",
            pa.table(
                {
                    "email": emails,
                    "opt_in_id": last + 1 + 2 * np.arange(len(emails)),
                    "updated_at": moments,
                }
            ),
        )

    def _deletions(self) -> None:
        """Records that are gone tomorrow, and with them their truth."""
        gone: list[tuple[str, str, pa.Array]] = []
        for entity, table in (("contact", "contacts"), ("lead", "leads")):
            keys = self._choose("crm", entity, DELETIONS)
            gone.append(("crm", entity, keys))
            self.day.add(f"crm.delete.{table}", pa.table({"id": keys}))
        keys = self._choose("newsletter", "subscriber", DELETIONS)
        gone.append(("newsletter", "subscriber", keys))
        self.day.add(
            "newsletter.deletions",
            pa.table({"email": keys, "deleted_at": self._moment(len(keys))}),
        )
        keys = self._without_orders(self._choose("shop", "customer", DELETIONS * 4))
        gone.append(("shop", "customer", keys))
        self.day.add("shop.delete.customers", pa.table({"customer_id": keys.cast(pa.int64())}))
        for source, entity, keys in gone:
            self.deletions += len(keys)
            match = pc.and_(
                pc.and_(
                    pc.equal(self.truth["source"], source), pc.equal(self.truth["entity"], entity)
                ),
                pc.is_in(self.truth["natural_key"], value_set=keys),
            )
            self.truth = self.truth.filter(pc.invert(match))

    def _without_orders(self, keys: pa.Array) -> pa.Array:
        """Only a customer who never ordered may be deleted from the shop."""
        with shop_store.connect(shop_server.socket_folder(self.folder.shop)) as connection:
            ordered = connection.execute(
                "select distinct customer_id::text from orders where customer_id = any(%s)",
                [[int(key) for key in keys.to_pylist()]],
            ).fetchall()
        with_orders = {row[0] for row in ordered}
        return pa.array([key for key in keys.to_pylist() if key not in with_orders], pa.string())

    # -- what people do -------------------------------------------------------------------------

    def _orders(self, known: dict[str, pa.Table], new: dict[str, pa.Table]) -> None:
        """Orders, their progress, returns, till receipts and clicks."""
        rng, date = self.rng, self.day.date
        customers = known["shop"]
        arrived = history.habits_of(new["shop.customers"], self.people)
        shared = [name for name in customers.column_names if name in arrived.column_names]
        customers = pa.concat_tables([customers.select(shared), arrived.select(shared)])
        gone = self.day.tables.get("shop.delete.customers")
        if gone is not None:
            deleted = gone["customer_id"].combine_chunks()
            is_deleted = pc.is_in(customers["customer_id"], value_set=deleted)
            customers = customers.filter(pc.invert(is_deleted))
        since = dt.datetime.combine(date - dt.timedelta(days=40), dt.time(), dt.UTC).isoformat()
        with shop_store.connect(shop_server.socket_folder(self.folder.shop)) as connection:
            addresses = shop_store.fetch(
                connection,
                "select address_id, customer_id from addresses where is_default"
                " order by address_id",
                _SHOP_ADDRESSES,
            )
            open_orders = shop_store.fetch(
                connection,
                f"select order_id, {_UTC.format('ordered_at')} as ordered_at, status from orders"
                " where status in ('placed', 'paid', 'shipped') order by order_id",
                _SHOP_ORDERS,
            )
            lines = shop_store.fetch(
                connection,
                "select order_line_id, order_id, quantity, unit_price, discount_amount,"
                f" {_UTC.format('ordered_at')} as ordered_at from order_lines"
                f" inner join orders using (order_id) where ordered_at >= '{since}'"
                " order by order_line_id",
                _SHOP_LINES,
            )
        new_addresses = new["shop.addresses"]
        new_addresses = new_addresses.filter(new_addresses["is_default"])
        addresses = pa.concat_tables([addresses, new_addresses.select(_SHOP_ADDRESSES.names)])
        drawn = history.draw_orders(
            rng, customers, addresses, self.counters, date, date, self.as_of
        )
        self.day.add("shop.insert.orders", drawn["shop.orders"])
        self.day.add("shop.insert.order_lines", drawn["shop.order_lines"])
        if open_orders.num_rows:
            status, updated = history.order_status(
                open_orders["order_id"].to_numpy(),
                open_orders["ordered_at"].to_numpy().astype("datetime64[us]").astype(np.int64),
                self.as_of,
            )
            moved = pa.table(
                {
                    "order_id": open_orders["order_id"],
                    "status": status,
                    # Seen today, whatever the hour it follows from: a cursor must not miss it.
                    "updated_at": history.timestamps(
                        np.maximum(updated, self.as_of - 43_200_000_000)
                    ),
                }
            ).filter(pc.not_equal(status, open_orders["status"]))
            self.day.add("shop.update.orders-order_id", moved)
        returns = history.draw_returns(
            lines.select(["order_id", "ordered_at"])
            .group_by("order_id")
            .aggregate([("ordered_at", "min")])
            .rename_columns(["order_id", "ordered_at"]),
            lines.drop_columns(["ordered_at"]),
            self.counters,
            microseconds(end_of_day(date - dt.timedelta(days=1))),
            self.as_of,
        )
        self.day.add("shop.insert.returns", returns)

        members = history.habits_of(new["pos.members"], self.people)
        shared = [name for name in known["pos"].column_names if name in members.column_names]
        yesterday = known["pos"].select(shared)
        members = pa.concat_tables([yesterday, members.select(shared).cast(yesterday.schema)])
        self.day.add(
            "pos.receipt_lines", history.draw_receipts(rng, members, self.counters, date, date)
        )
        self.day.add(
            "web.events",
            history.draw_web_events(rng, customers, self.counters, date, date, self.as_of),
        )

    def _newsletter_events(self) -> None:
        """Mailings that go out today, and older ones that are still opened."""
        with closing(sqlite3.connect(self.folder.newsletter)) as connection:
            rows = connection.execute(
                """
                select
                    email, status, created_at, updated_at,
                    email in (select email from opt_ins where list_id = 2 and status = 'opted_in')
                        as wants_offers,
                    email in (select email from opt_ins where list_id = 2 and status = 'opted_out')
                        as regrets_offers
                from subscribers
                order by email
                """
            ).fetchall()
        keys, person = self._keys("newsletter", "subscriber")
        owner = pa.table({"email": keys, "person_id": person})
        names = ("email", "status", "created_at", "updated_at", "wants_offers", "regrets_offers")
        columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
        if not columns:
            return
        table = pa.table(
            {
                name: pa.array(values, pa.bool_() if name.endswith("offers") else None)
                if not name.endswith("offers")
                else pa.array([bool(value) for value in values])
                for name, values in columns.items()
            }
        )
        for name in ("created_at", "updated_at"):
            place = table.column_names.index(name)
            parsed = pc.strptime(table[name], "%Y-%m-%dT%H:%M:%SZ", "us").cast(_MOMENT)
            table = table.set_column(place, name, parsed)
        # In SQLite an unsubscription of today is not yet; the truth says who is left.
        table = table.join(owner, "email", join_type="inner").sort_by("email").combine_chunks()
        events = history.draw_mail_events(
            self.rng,
            history.habits_of(table, self.people),
            self.counters,
            self.day.date - dt.timedelta(days=6),
            self.day.date,
            self.day.date,
            self.as_of,
        )
        gone = self.day.tables.get("newsletter.unsubscribed")
        if gone is not None:
            last = self.counters.take("mail_events", gone.num_rows)
            count = gone.num_rows
            left = pa.table(
                {
                    "event_id": [f"ev{last + 1 + i:010d}" for i in range(count)],
                    "email": gone["email"],
                    "type": pa.repeat("unsubscribe", count),
                    "campaign_id": pa.nulls(count, pa.string()),
                    "campaign_name": pa.nulls(count, pa.string()),
                    "list_id": pa.repeat(1, count).cast(events.schema.field("list_id").type),
                    "url": pa.nulls(count, pa.string()),
                    "occurred_at": gone["updated_at"],
                }
            )
            events = pa.concat_tables([events, left.cast(events.schema)])
        self.day.add("newsletter.events", events)


def _replace(table: pa.Table, rows: Ints, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with new values in some rows of some columns."""
    index = np.full(table.num_rows, -1, dtype=np.int64)
    index[rows] = np.arange(rows.size)
    is_new = pa.array(index >= 0)
    take = pa.array(np.maximum(index, 0))
    for name, values in columns.items():
        place = table.column_names.index(name)
        old = table[name].combine_chunks()
        new = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if not len(new):
            continue
        merged = pc.if_else(is_new, new.cast(old.type).take(take), old)
        table = table.set_column(place, table.schema.field(place), merged)
    return table


def _line(address: dict[str, pa.Array]) -> pa.Array:
    """Street, number and suffix on one line."""
    return pc.binary_join_element_wise(
        address["street"],
        address["house_number"].cast(pa.string()),
        address["house_number_suffix"],
        " ",
        null_handling="skip",
    )

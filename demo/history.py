"""What people do: orders, till receipts, returns, mail they open and pages they look at.

Here: drawing events over a span of days from the habits of `demo.people`. The same functions give
eighteen months of history and, one day at a time, the world's future. NumPy throughout; one row of
work per event, none per person.
Not here: where the events are stored.

Flow: accounts (customers, cards, subscribers with their person's habits), days -> event tables.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from demo import names
from demo.people import EPOCH, Bools, Floats, Ints, connect, day_number
from demo.records import Counters, rows_of

TIME_ZONE: Final = ZoneInfo("Europe/Amsterdam")
WEB_DAYS: Final = 60
#: Orders that never arrive, and articles that come back, in percent.
CANCELLED_PERCENT: Final = 3
RETURNED_PERCENT: Final = 7
SHOP_URL: Final = "https://winkel.vosenlinde.example"
DAY_US: Final = 86_400_000_000
#: Days of the month on which the two mailings go out.
NEWS_DAY, OFFERS_DAY = 26, 12


@dataclass(frozen=True)
class Catalogue:
    """Products with their prices and how often they sell in the shop and at the till."""

    categories: pa.Table
    products: pa.Table
    sku: pa.Array
    name: pa.Array
    cents: Ints
    shop_odds: Floats
    till_odds: Floats
    breakfast_odds: Floats
    #: Articles from the first category, those that make a breakfast.
    breakfast: Bools


@functools.cache
def catalogue() -> Catalogue:
    """The assortment; the same in every world."""
    parents = list(dict.fromkeys(parent for _, parent, _ in names.CATALOGUE))
    listed = dt.datetime(2024, 6, 3, 8, 0, tzinfo=dt.UTC)
    category_rows = [(i + 1, parent, None) for i, parent in enumerate(parents)] + [
        (len(parents) + 1 + i, name, parents.index(parent) + 1)
        for i, (name, parent, _) in enumerate(names.CATALOGUE)
    ]
    products = [
        (len(parents) + 1 + i, *article)
        for i, (_, _, articles) in enumerate(names.CATALOGUE)
        for article in articles
    ]
    cents = np.array([article[2] for article in products], dtype=np.int64)
    sku = [f"VL{category:02d}{i + 1:03d}" for i, (category, *_) in enumerate(products)]
    count = len(products)

    def odds(place: int) -> Floats:
        weights = np.array([float(article[place]) for article in products])
        result: Floats = np.cumsum(weights) / weights.sum()
        return result

    breakfast = np.array([category == len(parents) + 1 for category, *_ in products])
    till = np.array([float(article[4]) for article in products])
    return Catalogue(
        categories=pa.table(
            {
                "category_id": pa.array([row[0] for row in category_rows], pa.int64()),
                "name": pa.array([row[1] for row in category_rows]),
                "parent_category_id": pa.array([row[2] for row in category_rows], pa.int64()),
                "updated_at": pa.array([listed] * len(category_rows), pa.timestamp("us", "UTC")),
            }
        ),
        products=pa.table(
            {
                "product_id": pa.array(np.arange(count) + 1),
                "sku": pa.array(sku),
                "name": pa.array([article[1] for article in products]),
                "category_id": pa.array([article[0] for article in products], pa.int64()),
                "price": money(cents),
                "currency": pa.repeat("EUR", count),
                "is_active": pa.repeat(True, count),
                "updated_at": pa.array([listed] * count, pa.timestamp("us", "UTC")),
            }
        ),
        sku=pa.array(sku),
        name=pa.array([article[1] for article in products]),
        cents=cents,
        shop_odds=odds(3),
        till_odds=odds(4),
        breakfast_odds=np.cumsum(till * breakfast) / (till * breakfast).sum(),
        breakfast=breakfast,
    )


def money(cents: Ints) -> pa.Array:
    """Cents as decimal(12, 2), without going through floating point."""
    wide = pa.array(cents).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2))
    hundredth = pa.scalar(100, pa.decimal128(3, 0))
    return pc.cast(pc.divide(wide, hundredth), pa.decimal128(12, 2), safe=False)


@functools.cache
def _offsets_us() -> Ints:
    """Per day since 1970 (to 2040) how far local time is ahead of UTC at noon, in microseconds."""
    return np.array(
        [
            int(
                (
                    dt.datetime.combine(
                        EPOCH + dt.timedelta(days=i), dt.time(12), TIME_ZONE
                    ).utcoffset()
                    or dt.timedelta()
                ).total_seconds()
                * 1_000_000
            )
            for i in range(25_600)
        ],
        dtype=np.int64,
    )


def to_utc(day: Ints, local_second: Ints) -> Ints:
    """Microseconds since 1970 (UTC) of a local second of the day."""
    return day * DAY_US + local_second * 1_000_000 - _offsets_us()[day]


def timestamps(values: Ints) -> pa.Array:
    """Microseconds since 1970 as UTC timestamps."""
    return pa.array(values).cast(pa.timestamp("us", "UTC"))


def dates(values: Ints) -> pa.Array:
    """Day numbers as dates."""
    return pa.array(values.astype(np.int32)).cast(pa.date32())


def _pick(rng: np.random.Generator, odds: Floats, count: int) -> Ints:
    return np.minimum(np.searchsorted(odds, rng.random(count), side="right"), odds.size - 1)


def _column(table: pa.Table, name: str) -> Ints:
    values: Ints = table[name].to_numpy()
    return values


def _days(table: pa.Table, name: str, missing: int) -> Ints:
    values: Ints = (
        table[name].combine_chunks().cast(pa.int32()).fill_null(missing).to_numpy().astype(np.int64)
    )
    return values


def _visits(
    rng: np.random.Generator, per_year: Floats, first: Ints, last: Ints, begin: int, end: int
) -> tuple[Ints, Ints]:
    """Visits of everybody between two days: the place of the visitor, and the day."""
    start, stop = np.maximum(first, begin), np.minimum(last, end)
    span = np.maximum(stop - start + 1, 0)
    visits = rng.poisson(per_year * span / 365.0)
    who = np.repeat(np.arange(per_year.size), visits)
    day = start[who] + (rng.random(who.size) * span[who]).astype(np.int64)
    return who, day


def habits_of(records: pa.Table, people: pa.Table) -> pa.Table:
    """Records of some people with the habits of the person beside each."""
    place = rows_of(people, records["person_id"].to_numpy())
    rows = people.select(
        ["shop_rate", "till_rate", "lapsed_on", "usual_hour", "store", "breakfast", "mail_interest"]
    ).take(pa.array(place))
    for name in rows.column_names:
        if name in records.column_names:
            continue
        records = records.append_column(name, rows[name])
    return records


def draw_orders(
    rng: np.random.Generator,
    customers: pa.Table,
    addresses: pa.Table,
    counters: Counters,
    begin: dt.date,
    end: dt.date,
    as_of: int,
) -> dict[str, pa.Table]:
    """Orders of the web shop with their lines between two days (returns: `draw_returns`)."""
    first_day, last_day = day_number(begin), day_number(end)
    created = _column(customers, "created_at").astype("datetime64[us]").astype(np.int64)
    lapsed = _days(customers, "lapsed_on", last_day)
    who, day = _visits(
        rng, customers["shop_rate"].to_numpy(), created // DAY_US, lapsed, first_day, last_day
    )
    hour = np.clip(rng.normal(19.2, 2.6, who.size), 6.5, 23.4)
    moment = to_utc(day, (hour * 3600).astype(np.int64))
    moment = np.maximum(moment, created[who] + 60_000_000)
    keep = moment <= as_of
    who, moment = who[keep], moment[keep]
    order = np.argsort(moment, kind="stable")
    who, moment = who[order], moment[order]
    order_id = counters.take("orders", who.size) + 1 + np.arange(who.size)

    goods = catalogue()
    lines = 1 + rng.poisson(1.1, who.size)
    of_order = np.repeat(np.arange(who.size), lines)
    line_id = counters.take("order_lines", of_order.size) + 1 + np.arange(of_order.size)
    product = _pick(rng, goods.shop_odds, of_order.size)
    quantity = 1 + (rng.random(of_order.size) < 0.22) + (rng.random(of_order.size) < 0.05)
    price = goods.cents[product]
    discount = np.where(rng.random(of_order.size) < 0.1, price * quantity // 10, 0)
    total = np.zeros(who.size, dtype=np.int64)
    np.add.at(total, of_order, price * quantity - discount)

    # Who has no address at all gets a parcel without one.
    owner, address_id = addresses["customer_id"].to_numpy(), addresses["address_id"].to_numpy()
    last_customer = max(
        int(owner.max(initial=0)), int(customers["customer_id"].to_numpy().max(initial=0))
    )
    address_of = np.zeros(last_customer + 1, dtype=np.int64)
    address_of[owner] = address_id
    customer_id = customers["customer_id"].to_numpy()[who]
    shipping = address_of[customer_id]
    status, updated = order_status(order_id, moment, as_of)
    updated_at = timestamps(updated)
    return {
        "shop.orders": pa.table(
            {
                "order_id": order_id,
                "customer_id": customer_id,
                "ordered_at": timestamps(moment),
                "status": status,
                "total_amount": money(total),
                "currency": pa.repeat("EUR", who.size),
                "shipping_address_id": pa.array(shipping, mask=shipping == 0),
                "updated_at": updated_at,
            }
        ),
        "shop.order_lines": pa.table(
            {
                "order_line_id": line_id,
                "order_id": order_id[of_order],
                "product_id": product + 1,
                "quantity": quantity.astype(np.int32),
                "unit_price": money(price),
                "discount_amount": money(discount),
                "updated_at": timestamps(moment[of_order]),
            }
        ),
    }


def order_status(order_id: Ints, ordered: Ints, as_of: int) -> tuple[pa.Array, Ints]:
    """The status an order has by now, and since when: it follows from its age and number."""
    age = (as_of - ordered) // DAY_US
    cancelled = (order_id * 7919) % 100 < CANCELLED_PERCENT
    step = np.select([age < 1, age < 2, age < 4], [0, 1, 2], 3)
    step = np.where(cancelled & (step > 0), 4, step)
    since = np.array([0, DAY_US, 2 * DAY_US, 4 * DAY_US, DAY_US])[step]
    labels = pa.array(["placed", "paid", "shipped", "delivered", "cancelled"])
    return labels.take(pa.array(step)), np.minimum(ordered + since, as_of)


def draw_returns(
    orders: pa.Table, lines: pa.Table, counters: Counters, after: int, until: int
) -> pa.Table:
    """Articles sent back after one moment and up to another; follows from the line's number."""
    con = connect()
    con.register("orders", orders)
    con.register("lines", lines)
    returns = con.execute(
        """
        with due as (
            select
                order_line_id,
                ordered_at + to_days(cast(5 + order_line_id % 12 as integer)) as returned_at,
                cast(if(order_line_id % 3 = 0, 1, quantity) as integer) as quantity,
                substr('DWSO', cast(1 + (order_line_id // 7) % 4 as integer), 1) as reason_code,
                cast((quantity * unit_price - discount_amount) / quantity as decimal(12, 2))
                    as paid_each,
            from lines
            inner join orders using (order_id)
            where (order_line_id * 3571) % 100 < ? and (order_id * 7919) % 100 >= ?
        )

        select
            order_line_id,
            returned_at,
            quantity,
            reason_code,
            cast(paid_each * quantity as decimal(12, 2)) as refund_amount,
            returned_at as updated_at,
        from due
        where epoch_us(returned_at) > ? and epoch_us(returned_at) <= ?
        order by returned_at, order_line_id
        """,
        [RETURNED_PERCENT, CANCELLED_PERCENT, after, until],
    ).to_arrow_table()
    con.close()
    last = counters.take("returns", returns.num_rows)
    return returns.add_column(0, "return_id", pa.array(last + 1 + np.arange(returns.num_rows)))


def draw_receipts(
    rng: np.random.Generator, members: pa.Table, counters: Counters, begin: dt.date, end: dt.date
) -> pa.Table:
    """Till receipts, with and without a customer card, between two days; one row per line."""
    first_day, last_day = day_number(begin), day_number(end)
    goods = catalogue()
    joined = members["aanmelddatum"].combine_chunks().cast(pa.int32()).to_numpy().astype(np.int64)
    lapsed = _days(members, "lapsed_on", last_day)
    habit = members["breakfast"].to_numpy(zero_copy_only=False)
    who, day = _visits(rng, members["till_rate"].to_numpy(), joined, lapsed, first_day, last_day)
    forgot = rng.random(who.size) < 0.12
    at_breakfast = habit[who] & (rng.random(who.size) < 0.82)
    usual = members["usual_hour"].to_numpy()[who].astype(np.float64)
    hour = np.where(
        at_breakfast, rng.normal(usual + 0.4, 0.5), rng.normal(np.maximum(usual, 11.5), 2.0)
    )
    hour = np.where(at_breakfast, np.clip(hour, 7.02, 9.95), np.clip(hour, 7.05, 20.9))
    home = members["store"].to_numpy()[who].astype(np.int64)
    away = rng.random(who.size) < 0.12
    store = np.where(away, rng.integers(0, len(names.STORES), who.size), home)

    # Passers-by without a card, of whom more have breakfast.
    strangers = rng.poisson(max(0.25 * who.size, 0.5 * (last_day - first_day + 1)))
    stranger_breakfast = rng.random(strangers) < 0.3
    stranger_hour = np.where(
        stranger_breakfast,
        rng.uniform(7.0, 10.0, strangers),
        np.clip(rng.normal(14.5, 3.0, strangers), 7.1, 20.9),
    )
    store = np.concatenate([store, rng.integers(0, len(names.STORES), strangers)])
    day = np.concatenate([day, rng.integers(first_day, last_day + 1, strangers)])
    minute = (np.concatenate([hour, stranger_hour]) * 60).astype(np.int64)
    breakfast = np.concatenate([at_breakfast, stranger_breakfast])
    card = np.concatenate([np.where(forgot, -1, who), np.full(strangers, -1)])
    order = np.lexsort((minute, day, store))
    store, day, minute = store[order], day[order], minute[order]
    breakfast, card = breakfast[order], card[order]
    count = store.size

    receipt = np.zeros(count, dtype=np.int64)
    for place, (code, _) in enumerate(names.STORES):
        mine = store == place
        size = int(mine.sum())
        receipt[mine] = counters.take(f"receipts_{code}", size) + 1 + np.arange(size)
    returned = rng.random(count) < 0.018
    pays = _pick(rng, np.array([0.82, 0.93, 1.0]), count)
    lines = 1 + np.where(returned, 0, rng.poisson(np.where(breakfast, 0.7, 1.5)))
    of_receipt = np.repeat(np.arange(count), lines)
    number = np.arange(of_receipt.size) - np.repeat(np.cumsum(lines) - lines, lines) + 1
    morning = breakfast[of_receipt] & (rng.random(of_receipt.size) < 0.93)
    product = np.where(
        morning,
        _pick(rng, goods.breakfast_odds, of_receipt.size),
        _pick(rng, goods.till_odds, of_receipt.size),
    )
    sign = np.where(returned, -1, 1)[of_receipt]
    quantity = 1 + (rng.random(of_receipt.size) < 0.25)
    price = goods.cents[product]
    discount = np.where(
        (rng.random(of_receipt.size) < 0.07) & (sign > 0), price * quantity * 15 // 100, 0
    )
    code = pa.array([entry[0] for entry in names.STORES])
    minute_of = minute[of_receipt]
    minutes = pa.array([f"{m // 60:02d}:{m % 60:02d}" for m in range(24 * 60)])
    card_of = card[of_receipt]
    return pa.table(
        {
            "bonnummer": receipt[of_receipt],
            "regel": number.astype(np.int32),
            "filiaal": code.take(pa.array(store[of_receipt])),
            "kassa": ((receipt % 3) + 1)[of_receipt].astype(np.int32),
            "datum": dates(day[of_receipt]),
            "tijd": minutes.take(pa.array(minute_of)),
            "klantkaart": members["kaartnummer"]
            .combine_chunks()
            .take(pa.array(np.where(card_of < 0, 0, card_of), mask=card_of < 0))
            if members.num_rows
            else pa.nulls(of_receipt.size, pa.string()),
            "artikel": goods.sku.take(pa.array(product)),
            "omschrijving": goods.name.take(pa.array(product)),
            "aantal": (quantity * sign).astype(np.int32),
            "prijs": money(price),
            "korting": money(discount),
            "bedrag": money(price * quantity * sign - discount),
            "betaalwijze": pa.array(["PIN", "CONTANT", "CREDITCARD"]).take(
                pa.array(pays[of_receipt])
            ),
            "soort": pa.array(["RETOUR", "VERKOOP"]).take(pa.array((sign > 0).astype(np.int8))),
        }
    )


def mailing_days(begin: dt.date, end: dt.date) -> list[tuple[dt.date, int]]:
    """Days on which a mailing goes out, with the list it goes to."""
    days = [begin + dt.timedelta(days=i) for i in range((end - begin).days + 1)]
    return [
        (day, 1 if day.day == NEWS_DAY else 2) for day in days if day.day in (NEWS_DAY, OFFERS_DAY)
    ]


def campaign(day: dt.date, list_id: int) -> tuple[str, str]:
    """Id and name of the mailing of a day."""
    title = names.CAMPAIGNS[(day.year * 12 + day.month) % len(names.CAMPAIGNS)]
    label = "Aanbiedingen" if list_id == 2 else title
    return f"c{day:%Y%m%d}", f"{label} {day:%Y-%m}"


def draw_mail_events(
    rng: np.random.Generator,
    subscribers: pa.Table,
    counters: Counters,
    sent_from: dt.date,
    begin: dt.date,
    end: dt.date,
    as_of: int,
) -> pa.Table:
    """What happened to the mailings between two days; one row per event.

    Args:
        rng: The random stream.
        subscribers: Subscribers with `mail_interest`, `status`, `wants_offers`, dates.
        counters: Numbers given out so far.
        sent_from: The first day of mailings that may still be opened.
        begin: The first day whose events are wanted.
        end: The last one.
        as_of: The latest moment that exists.
    """
    created = _column(subscribers, "created_at").astype("datetime64[us]").astype(np.int64)
    updated = _column(subscribers, "updated_at").astype("datetime64[us]").astype(np.int64)
    status = np.asarray(subscribers["status"].to_pylist(), dtype=object)
    active = status == "active"
    offers = subscribers["wants_offers"].to_numpy(zero_copy_only=False) & ~subscribers[
        "regrets_offers"
    ].to_numpy(zero_copy_only=False)
    interest = subscribers["mail_interest"].to_numpy()
    goods = catalogue()
    who_parts: list[Ints] = []
    at_parts: list[Ints] = []
    type_parts: list[Ints] = []
    mailing_parts: list[Ints] = []
    mailings = mailing_days(sent_from, end)
    for number, (day, list_id) in enumerate(mailings):
        sent_at = int(to_utc(np.array([day_number(day)]), np.array([36_000]))[0])
        reached = np.flatnonzero(
            (created < sent_at) & (active | (updated > sent_at)) & (offers | (list_id == 1))
        )
        seconds = (np.arange(reached.size) % 1800) * 1_000_000
        bounced = (status[reached] == "bounced") & (rng.random(reached.size) < 0.4)
        opened = ~bounced & (rng.random(reached.size) < 0.08 + 0.72 * interest[reached])
        delay = (rng.exponential(1.1, reached.size) * DAY_US).astype(np.int64) + 60_000_000
        open_at = sent_at + seconds + delay
        clicked = opened & (rng.random(reached.size) < 0.05 + 0.35 * interest[reached])
        click_at = open_at + rng.integers(5, 300, reached.size) * 1_000_000
        for kind, mask, moment in (
            (0, np.ones(reached.size, dtype=bool), sent_at + seconds),
            (1, opened, open_at),
            (2, clicked, click_at),
            (3, bounced, sent_at + seconds + 5_000_000),
        ):
            who_parts.append(reached[mask])
            at_parts.append(moment[mask])
            type_parts.append(np.full(int(mask.sum()), kind))
            mailing_parts.append(np.full(int(mask.sum()), number))
    if begin == sent_from:
        gone = np.flatnonzero(status == "unsubscribed")
        who_parts.append(gone)
        at_parts.append(updated[gone])
        type_parts.append(np.full(gone.size, 4))
        mailing_parts.append(np.zeros(gone.size, dtype=np.int64))
    nothing = np.zeros(0, dtype=np.int64)
    who, happened = np.concatenate([nothing, *who_parts]), np.concatenate([nothing, *at_parts])
    what, mailing = (
        np.concatenate([nothing, *type_parts]),
        np.concatenate([nothing, *mailing_parts]),
    )
    from_us = int(to_utc(np.array([day_number(begin)]), np.array([0]))[0])
    wanted = (happened >= from_us) & (happened <= as_of)
    who, happened, what, mailing = who[wanted], happened[wanted], what[wanted], mailing[wanted]
    order = np.lexsort((who, what, happened))
    who, happened, what, mailing = who[order], happened[order], what[order], mailing[order]
    event = counters.take("mail_events", who.size) + 1 + np.arange(who.size)
    product = _pick(rng, goods.shop_odds, who.size)
    con = connect()
    con.register(
        "drawn",
        pa.table(
            {
                "number": event,
                "email": subscribers["email"].combine_chunks().take(pa.array(who)),
                "kind": what,
                "campaign_id": pa.array([campaign(*m)[0] for m in mailings], pa.string()).take(
                    pa.array(mailing)
                ),
                "campaign_name": pa.array([campaign(*m)[1] for m in mailings], pa.string()).take(
                    pa.array(mailing)
                ),
                "list_id": pa.array([m[1] for m in mailings], pa.int64()).take(pa.array(mailing)),
                "sku": goods.sku.take(pa.array(product)),
                "occurred_at": timestamps(happened),
            }
        ),
    )
    events = con.execute(
        f"""
        select
            printf('ev%010d', number) as event_id,
            email,
            ['sent', 'open', 'click', 'bounce', 'unsubscribe'][1 + kind] as type,
            if(kind = 4, null, campaign_id) as campaign_id,
            if(kind = 4, null, campaign_name) as campaign_name,
            if(kind = 4, 1, list_id) as list_id,
            if(kind = 2, '{SHOP_URL}/artikel/' || sku || '?utm_campaign=' || campaign_id, null)
                as url,
            occurred_at,
        from drawn
        order by number
        """
    ).to_arrow_table()
    con.close()
    return events


def draw_web_events(
    rng: np.random.Generator,
    customers: pa.Table,
    counters: Counters,
    begin: dt.date,
    end: dt.date,
    as_of: int,
) -> pa.Table:
    """Click stream between two days: known customers, who sometimes log in, and passers-by."""
    first_day, last_day = day_number(begin), day_number(end)
    goods = catalogue()
    created = _column(customers, "created_at").astype("datetime64[us]").astype(np.int64)
    lapsed = _days(customers, "lapsed_on", last_day)
    who, day = _visits(
        rng,
        customers["shop_rate"].to_numpy() * 3.2 + 0.8,
        created // DAY_US,
        lapsed,
        first_day,
        last_day,
    )
    strangers = int(rng.poisson(0.5 * who.size + 1))
    device = rng.integers(0, 10, who.size) // 7
    visitor = np.concatenate(
        [
            customers["customer_id"].to_numpy()[who] * 4 + device if who.size else who,
            (counters.take("visitors", strangers) + 1 + np.arange(strangers)) * 4 + 3,
        ]
    ).astype(np.int64)
    customer = np.concatenate(
        [
            customers["customer_id"].to_numpy()[who] if who.size else who,
            np.zeros(strangers, np.int64),
        ]
    )
    day = np.concatenate([day, rng.integers(first_day, last_day + 1, strangers)])
    second = (np.clip(rng.normal(18.0, 3.4, day.size), 0.2, 23.2) * 3600).astype(np.int64)
    start = to_utc(day, second)
    logs_in = (customer > 0) & (rng.random(day.size) < 0.38)
    keep = start <= as_of - 3_600_000_000
    visitor, customer, start, logs_in = visitor[keep], customer[keep], start[keep], logs_in[keep]
    order = np.argsort(start, kind="stable")
    visitor, customer, start, logs_in = (
        visitor[order],
        customer[order],
        start[order],
        logs_in[order],
    )
    count = start.size
    session = counters.take("sessions", count) + 1 + np.arange(count)
    views = 1 + rng.poisson(2.0, count)
    carts = rng.random(count) < 0.28
    removes = carts & (rng.random(count) < 0.2)
    events = views + logs_in + carts + removes
    of = np.repeat(np.arange(count), events)
    place = np.arange(of.size) - np.repeat(np.cumsum(events) - events, events)
    log_in = (place == 1) & logs_in[of]
    after = events[of] - 1 - place
    remove = (after == 0) & removes[of] & (place > 0)
    cart = (after == np.where(removes[of], 1, 0)) & carts[of] & (place > 0) & ~log_in
    kind = np.select([log_in, remove, cart], [3, 2, 1], 0)
    moment = start[of] + place * 41_000_000 + rng.integers(0, 20_000, of.size) * 1000
    product = _pick(rng, goods.shop_odds, count)[of]
    product = np.where(kind == 0, _pick(rng, goods.shop_odds, of.size), product)
    last = counters.take("web_events", of.size)
    con = connect()
    con.register(
        "drawn",
        pa.table(
            {
                "number": last + 1 + np.arange(of.size),
                "kind": kind,
                "visitor": visitor[of],
                "session": session[of],
                "customer": pa.array(customer[of], mask=~log_in),
                "sku": goods.sku.take(pa.array(product)),
                "place": place,
                "from_where": rng.integers(0, 6, count)[of],
                "occurred_at": timestamps(moment),
            }
        ),
    )
    table = con.execute(
        f"""
        select
            printf('w%011d', number) as event_id,
            ['page_view', 'add_to_cart', 'remove_from_cart', 'log_in'][1 + kind] as type,
            left(md5('visitor' || visitor), 20) as anonymous_id,
            printf('s%010d', session) as session_id,
            customer as shop_customer_id,
            case
                when kind = 3 then '{SHOP_URL}/inloggen'
                when kind > 0 then '{SHOP_URL}/winkelmand'
                when place = 0 and from_where < 2 then '{SHOP_URL}/'
                else '{SHOP_URL}/artikel/' || sku
            end as url,
            case
                when kind = 3 or (kind = 0 and place = 0 and from_where < 2) then null
                else sku
            end as sku,
            case
                when place > 0 then null
                when from_where in (0, 2) then 'https://zoek.example/'
                when from_where = 3 then 'https://sociaal.example/'
                when from_where = 5 then 'https://nieuwsbrief.vosenlinde.example/'
            end as referrer,
            occurred_at,
        from drawn
        order by occurred_at, number
        """
    ).to_arrow_table()
    con.close()
    return table


def mailing_lists() -> pa.Table:
    """The newsletter tool's three lists."""
    made = dt.datetime(2024, 1, 8, 9, 0, tzinfo=dt.UTC)
    return pa.table(
        {
            "list_id": pa.array([1, 2, 3], pa.int64()),
            "name": pa.array(["Nieuwsbrief", "Aanbiedingen", "Serviceberichten"]),
            "purpose": pa.array(["commercial", "commercial", "transactional"]),
            "updated_at": pa.array([made] * 3, pa.timestamp("us", "UTC")),
        }
    )

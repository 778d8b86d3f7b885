"""Companies: which records are one company, by its numbers and its name.

Here: the keys that bring records together, what speaks against it, and the tables of companies in
schema `identity`. Not here: what a name is without its noise words (harmonise), the golden company
(publish).

Flow: intermediate.int_linkage_companies -> keys -> companies -> company ids ->
identity.company_records, company_reviews, company_id_changes, current_company_ids, company_report.

No probabilities: a company has a number in the trade register, and a name that a clerk copies. A
key is a number, or the name together with a place or a contact point. Records that share a key are
one company, unless their numbers say otherwise: two numbers of the trade register are two
companies, also at one address, and so are two VAT numbers of one country where the register number
of either is unknown. Branches share their register number and are one company. Companies of one
group may share a VAT number, and are not one.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from klantbeeld.control import ControlPlane
from klantbeeld.errors import KlantbeeldError
from klantbeeld.identity import preparation
from klantbeeld.identity.clustering import connected_components
from klantbeeld.identity.entities import ADDRESS, DIGEST, give_ids, read_kept, replace_tables
from klantbeeld.identity.id_spaces import COMPANIES
from klantbeeld.identity.profile_ids import identity_state
from klantbeeld.settings import Settings

Ints = NDArray[np.int64]

INPUT_TABLE: Final = "intermediate.int_linkage_companies"
# Raised when the way of linking changes, so that kept results are not taken for today's.
METHOD: Final = 1
# A number under this many names is no company's own: a placeholder, or that of an accountant.
NUMBER_USES: Final = 8
NUMBER_NAMES: Final = 5

COLUMNS: Final = (
    "record_id",
    "name_std",
    "kvk_number_std",
    "vat_number_std",
    "email_std",
    "phone_std",
    "street_std",
    "house_number_std",
    "house_number_suffix_std",
    "postal_code_std",
    "city_std",
    "country_code",
)

#: What brings records together, the strongest first: each a name and an expression.
KEYS: Final[Mapping[str, str]] = {
    "SAME_KVK_NUMBER": "kvk_number",
    "SAME_VAT_NUMBER": "vat_number",
    "SAME_NAME_AND_EMAIL": "name || '|' || email",
    "SAME_NAME_AND_PHONE": "name || '|' || phone",
    "SAME_NAME_AND_ADDRESS": "name || '|' || address",
    "SAME_NAME_AND_POSTAL_CODE": "name || '|' || postal_code",
}
_KVK: Final = 0
_COMPARED: Final = (
    "record_id", "name", "kvk_number", "vat_number", "email", "phone", "address", "postal_code"
)  # fmt: skip


@dataclass(frozen=True)
class CompanyReport:
    """What linking companies did; counts only.

    Attributes:
        status: `linked`, or `unchanged` when the tables of the last time were kept.
        records: Records linked.
        companies: Companies they are.
        linked_records: Records that share their company with another.
        reviews: Keys that did not bring their records together, for a person to look at.
        created_ids: New company ids.
        retired_ids: Ids that were merged, or of which no record is left.
        moved_members: Records known before that changed company.
        seconds: How long it took.
    """

    status: str
    records: int
    companies: int
    linked_records: int
    reviews: int
    created_ids: int
    retired_ids: int
    moved_members: int
    seconds: float = 0.0


@dataclass
class _Cluster:
    """Records that are one company so far, with the numbers known of it."""

    members: list[int]
    kvk: set[str] = field(default_factory=set)
    vat: set[str] = field(default_factory=set)

    @property
    def is_numbered(self) -> bool:
        return bool(self.kvk or self.vat)

    def contradicts(self, other: "_Cluster") -> bool:
        """Whether the two are known to be two companies."""
        if self.kvk and other.kvk:
            return self.kvk.isdisjoint(other.kvk)
        if self.vat and other.vat and self.vat.isdisjoint(other.vat):
            return bool({vat[:2] for vat in self.vat} & {vat[:2] for vat in other.vat})
        return False


def link_companies(
    con: duckdb.DuckDBPyConnection, settings: Settings, control: ControlPlane, run_id: str
) -> CompanyReport:
    """Link the company records of the build and give every record its company id.

    Args:
        con: The open build; tables of schema `identity` are written, nothing else.
        settings: The home's settings.
        control: The control plane; it is only read.
        run_id: The run, for the report.

    Returns:
        What was done.

    Raises:
        KlantbeeldError: The input is missing or incomplete, or a record id is not unique.
    """
    started = time.monotonic()
    with preparation.beside(con) as own:
        make_companies(own, _read_input(con))
        digest = _digest(own)
        kept = read_kept(con, COMPANIES, digest, identity_state(control, COMPANIES))
        if kept is not None:
            return _report_of(kept, "unchanged", 0.0)
        labels = cluster_companies(own)
        records = own.execute("select record_id from companies order by id").to_arrow_table()
        ids, based_on = give_ids(
            own, COMPANIES, records.column(0), labels, control, settings.home_key()
        )
        figures = _figures(own, labels)
        report = CompanyReport(
            status="linked",
            **figures,
            created_ids=ids.created + ids.split + ids.revived,
            retired_ids=ids.merged + ids.retired,
            moved_members=ids.moved_records,
            seconds=round(time.monotonic() - started, 2),
        )
        plain = {name: value for name, value in asdict(report).items() if name != "status"}
        replace_tables(
            con,
            own,
            COMPANIES,
            {"company_records": _COMPANY_RECORDS, "company_reviews": _NAMED_REVIEWS},
            {"run_id": run_id, **plain},
            digest=digest,
            based_on=based_on,
        )
    return report


def make_companies(own: duckdb.DuckDBPyConnection, records: pa.Table) -> None:
    """Make the table `companies`: what is compared, numbered in the order of record ids.

    Args:
        own: An engine of one's own.
        records: The columns of `COLUMNS`.
    """
    own.register("given", records)
    own.execute(_COMPANIES)
    own.unregister("given")


def cluster_companies(own: duckdb.DuckDBPyConnection) -> Ints:
    """Put records of companies together.

    Also makes the tables `company_keys` (rule, value, id) and `company_reviews` (rule, value,
    records, companies, reason).

    Args:
        own: An engine that holds `companies`.

    Returns:
        Per record, the smallest record number of its company.
    """
    own.execute(_KEYS)
    own.execute(_REVIEWS, [NUMBER_USES, NUMBER_NAMES])
    own.execute("""
        delete from company_keys
        where (rule, value) in (select (rule, value) from company_reviews)
    """)
    count = _count(own, "companies")
    left, right = _pair(
        own,
        "select min(id) over (partition by rule, value), id from company_keys",
    )
    component = connected_components(count, left, right)
    own.register("components", pa.table({"id": np.arange(count), "component": component}))
    own.execute("""
        create or replace temp table contradicted as
        with numbers as (
            select components.component, company_keys.rule, company_keys.value
            from company_keys inner join components on components.id = company_keys.id
            where company_keys.rule in (0, 1)
        )
        select component from numbers group by component
        having count(distinct value) filter (rule = 0) > 1
            or count(distinct value) filter (rule = 1) > 1
    """)
    labels = component.copy()
    keys = own.execute("""
        select components.component, company_keys.rule, company_keys.value, company_keys.id
        from company_keys
        inner join components on components.id = company_keys.id
        where components.component in (select component from contradicted)
        order by components.component, company_keys.id, company_keys.rule
    """).to_arrow_table()
    own.unregister("components")
    reviews = _settle(labels, zip(*(column.to_pylist() for column in keys.columns), strict=True))
    if reviews:
        own.register("found", pa.Table.from_pylist(reviews))
        own.execute("insert into company_reviews select * from found")
        own.unregister("found")
    return labels


def _settle(labels: Ints, keys: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Take apart, in place, the few components in which numbers contradict one another.

    Keys are taken strongest first. One whose companies contradict one another is no evidence for
    any of them; only the records without a number, which nothing tells apart, go together by it.

    Args:
        labels: Per record its component.
        keys: component, rule, value, id of the records of those components.

    Returns:
        The keys that did not bring their records together.
    """
    members: defaultdict[tuple[int, int, str], list[int]] = defaultdict(list)
    cluster_of: dict[int, _Cluster] = {}
    for component, rule, value, record in keys:
        members[component, rule, value].append(record)
        cluster = cluster_of.setdefault(record, _Cluster([record]))
        if rule <= 1:
            (cluster.kvk if rule == _KVK else cluster.vat).add(value)
    reviews = []
    in_order = sorted(members.items(), key=lambda item: (item[0][0], item[0][1], min(item[1])))
    for (_, rule, value), records in in_order:
        clusters = list({id(c): c for c in (cluster_of[record] for record in records)}.values())
        numbered = [cluster for cluster in clusters if cluster.is_numbered]
        if any(a.contradicts(b) for a, b in combinations(numbered, 2)):
            reviews.append(
                {
                    "rule": rule,
                    "value": value,
                    "records": len(records),
                    "companies": len(clusters),
                    "reason": "different numbers",
                }
            )
            clusters = [cluster for cluster in clusters if not cluster.is_numbered]
        for cluster in clusters[1:]:
            kept = clusters[0]
            kept.members += cluster.members
            kept.kvk |= cluster.kvk
            kept.vat |= cluster.vat
            for record in cluster.members:
                cluster_of[record] = kept
    for record, cluster in cluster_of.items():
        labels[record] = min(cluster.members)
    return reviews


def _read_input(con: duckdb.DuckDBPyConnection) -> pa.Table:
    columns = ", ".join(f"cast({name} as varchar) as {name}" for name in COLUMNS)
    try:
        return con.execute(f"select {columns} from {INPUT_TABLE}").to_arrow_table()
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise KlantbeeldError(
            f"companies cannot be read from {INPUT_TABLE}: {str(error).splitlines()[0]}",
            "Run the harmonise stage first: klantbeeld run.",
        ) from None


def _digest(own: duckdb.DuckDBPyConnection) -> str:
    row = own.execute(f"""
        select {DIGEST}, count(*) - count(distinct record_id) from (
            select record_id, hash({", ".join(_COMPARED)})::hugeint as digest from companies
        )
    """).fetchone()
    digest, doubled = row or ("", 0)
    if doubled:
        raise KlantbeeldError(
            f"{doubled} records of companies have no record id of their own",
            f"Every row of {INPUT_TABLE} needs a unique, non-null record_id.",
        )
    return f"{METHOD}:{digest}"


def _figures(own: duckdb.DuckDBPyConnection, labels: Ints) -> dict[str, int]:
    sizes = np.bincount(labels, minlength=len(labels)) if len(labels) else labels
    return {
        "records": len(labels),
        "companies": int(np.count_nonzero(sizes)),
        "linked_records": int(sizes[sizes > 1].sum()),
        "reviews": _count(own, "company_reviews"),
    }


def _report_of(row: Mapping[str, Any], status: str, seconds: float) -> CompanyReport:
    names = set(CompanyReport.__dataclass_fields__) - {"status", "seconds"}
    return CompanyReport(status=status, seconds=seconds, **{name: row[name] for name in names})


def _pair(own: duckdb.DuckDBPyConnection, sql: str) -> tuple[Ints, Ints]:
    table = own.execute(sql).to_arrow_table()
    left, right = (np.asarray(column.to_numpy(), dtype=np.int64) for column in table.columns)
    return left, right


def _count(own: duckdb.DuckDBPyConnection, table: str) -> int:
    row = own.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0


_COMPANIES: Final = f"""
    create or replace table companies as
    select
        row_number() over (order by record_id) - 1 as id,
        record_id,
        nullif(name_std, '') as name,
        -- A number that somebody typed to get past a required field: 00000000, 12345678.
        case
            when length(kvk_number_std) = 8
                and replace(kvk_number_std, left(kvk_number_std, 1), '') <> ''
                and kvk_number_std not in ('12345678', '01234567', '87654321')
            then kvk_number_std
        end as kvk_number,
        case
            when replace(substr(vat_number_std, 3, 9), substr(vat_number_std, 3, 1), '') <> ''
                and substr(vat_number_std, 3, 9) <> '123456789'
            then vat_number_std
        end as vat_number,
        nullif(email_std, '') as email,
        nullif(phone_std, '') as phone,
        {ADDRESS} as address,
        country_code || '|' || postal_code_std as postal_code
    from given
    order by record_id
"""

_KEYS: Final = "create or replace table company_keys as " + " union all ".join(
    f"select {rank}::bigint as rule, {expression} as value, id from companies "
    f"where {expression} is not null"
    for rank, expression in enumerate(KEYS.values())
)

_REVIEWS: Final = """
    create or replace table company_reviews as
    select
        company_keys.rule,
        company_keys.value,
        count(*)::bigint as records,
        count(distinct companies.name)::bigint as companies,
        'shared by many names' as reason
    from company_keys
    inner join companies on companies.id = company_keys.id
    where company_keys.rule in (0, 1)
    group by company_keys.rule, company_keys.value
    having count(*) >= ? and count(distinct companies.name) >= ?
"""

_RULE_NAMES: Final = (
    "(values " + ", ".join(f"({rank}, '{name}')" for rank, name in enumerate(KEYS)) + ")"
)

_NAMED_REVIEWS: Final = f"""
    select rules.name as match_key, value, records, companies, reason
    from company_reviews
    inner join {_RULE_NAMES} as rules(rule, name) on rules.rule = company_reviews.rule
    order by company_reviews.rule, value
"""

# The strongest key that a record shares with another one of its company.
_COMPANY_RECORDS: Final = f"""
    with shared as (
        select company_keys.id, company_keys.rule
        from company_keys
        inner join companies on companies.id = company_keys.id
        inner join assigned_records on assigned_records.record_id = companies.record_id
        qualify count(*) over (
            partition by company_keys.rule, company_keys.value, assigned_records.profile_id
        ) > 1
    ),
    strongest as (select id, min(rule) as rule from shared group by id)
    select
        companies.record_id,
        assigned_records.profile_id as company_id,
        count(*) over (partition by assigned_records.profile_id) as cluster_size,
        rules.name as match_key
    from companies
    inner join assigned_records on assigned_records.record_id = companies.record_id
    left join strongest on strongest.id = companies.id
    left join {_RULE_NAMES} as rules(rule, name) on rules.rule = strongest.rule
    order by companies.record_id
"""

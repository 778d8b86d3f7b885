"""The data sets that linkage is measured on: invented ones, and labelled files of one's own.

Here: each set by name, in one shape, with what the linkage stage would be given. Not here: drawing
people (`populations`), linking.

Labelled public sets are read from a folder (`--data`) and are skipped where it lacks them:
`historical_50k/historical_50k.parquet` and `fake_1000/fake_1000.parquet` (both published with
Splink), `febrl/dataset1.csv` to `dataset4b.csv` (Febrl), `RLdata10000.tsv` with
`identity.RLdata10000.tsv` (the R package RecordLinkage).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.countries import BRITAIN, DENMARK, GERMANY, NETHERLANDS, Country
from benchmarks.populations import Noise, linkage_records, registry, retail

_NAME: Final = "nullif(trim(regexp_replace(strip_accents(lower({})), '[^a-z ]', '', 'g')), '')"


@dataclass(frozen=True)
class Dataset:
    """One labelled data set.

    Attributes:
        name: Its name.
        records: `record_id`, `person_id` and the standardised values both systems get; a date that
            the calendar does not know is `birth_text`.
        is_british: Whether its postal codes are British.
    """

    name: str
    records: pa.Table
    is_british: bool = False

    def truth(self) -> pa.Table:
        """`record_id` and `cluster`, the person."""
        return self.records.select(["record_id", "person_id"]).rename_columns(
            ["record_id", "cluster"]
        )

    def linkage_records(self) -> pa.Table:
        """As `intermediate.int_linkage_records` has them; what a set lacks is null."""
        return linkage_records(self.records)

    def birth_texts(self) -> pa.Table:
        """`record_id` and `birth_text` of birth dates that are not of the calendar."""
        if "birth_text" not in self.records.column_names:
            return (
                self.records.slice(0, 0)
                .select(["record_id", "person_id"])
                .rename_columns(["record_id", "birth_text"])
            )
        texts = self.records.select(["record_id", "birth_text"])
        return texts.filter(pc.is_valid(texts["birth_text"]))

    def plain_records(self) -> pa.Table:
        """With texts for dates, and one column of phone numbers, as plain Splink takes them."""
        have = set(self.records.column_names)
        with duckdb.connect() as con:
            con.register("records", self.records)
            con.execute("create table plain as from records")
            if "mobile" in have:
                con.execute("update plain set phone = coalesce(mobile, phone)")
            if "birth_text" in have:
                con.execute("alter table plain alter birth_date type varchar")
                con.execute("update plain set birth_date = coalesce(birth_date, birth_text)")
            return con.execute("from plain").to_arrow_table()


def _retail(
    records: int,
    noise: Noise | None = None,
    without: str = "",
    country: Country = NETHERLANDS,
) -> Callable[..., Dataset]:
    def make(name: str, _: Path | None, size: int | None) -> Dataset:
        table = retail(round((size or records) / 2.213), 7, noise, country)
        return Dataset(name, table.drop_columns(without.split()), country is BRITAIN)

    return make


def _registry(name: str, _: Path | None, size: int | None) -> Dataset:
    return Dataset(name, registry((size or 10_000) // 2, 7))


def _file(path: str, query: str, *, is_british: bool = False) -> Callable[..., Dataset | None]:
    def read(name: str, folder: Path | None, _: int | None) -> Dataset | None:
        file = folder / path if folder else None
        if file is None or not list(file.parent.glob(file.name)):
            return None
        with duckdb.connect() as con:
            table = con.execute(query.replace("FILE", f"'{file}'")).to_arrow_table()
        return Dataset(name, table, is_british)

    return read


_HISTORICAL: Final = f"""
    select
        unique_id as record_id, cluster as person_id,
        {_NAME.format("first_name")} as first_name,
        {_NAME.format("surname")} as surname,
        try_cast(dob as date) as birth_date,
        case when try_cast(dob as date) is null then dob end as birth_text,
        upper(replace(postcode_fake, ' ', '')) as postal_code,
        lower(birth_place) as city,
        case when gender in ('male', 'female') then gender end as gender,
        occupation
    from FILE
"""
_FAKE: Final = f"""
    select
        unique_id as record_id, cluster as person_id,
        {_NAME.format("first_name")} as first_name,
        {_NAME.format("surname")} as surname,
        try_cast(dob as date) as birth_date,
        case when try_cast(dob as date) is null then dob end as birth_text,
        lower(email) as email, lower(city) as city
    from FILE
"""
_FEBRL: Final = f"""
    select
        rec_id as record_id, regexp_extract(rec_id, 'rec-(\\d+)-', 1) as person_id,
        {_NAME.format("given_name")} as first_name,
        {_NAME.format("surname")} as surname,
        try_strptime(date_of_birth, '%Y%m%d')::date as birth_date,
        nullif(address_1, '') as street, nullif(street_number, '') as house_number,
        nullif(postcode, '') as postal_code, nullif(suburb, '') as city
    from (
        select columns(c -> true)::varchar
        from read_csv(FILE, all_varchar = true, header = true, normalize_names = true)
    )
"""
_GERMAN: Final = f"""
    with names as (
        select row_number() over () as number, * from read_csv(FILE, all_varchar = true, sep = '\t')
    ),
    people as (
        select row_number() over () as number, * from read_csv(LABELS, all_varchar = true)
    )
    select
        cast(number as varchar) as record_id, people[1] as person_id,
        {_NAME.format("fname_c1")} as first_name,
        {_NAME.format("lname_c1")} as surname,
        try_cast(concat_ws('-', "by", bm, bd) as date) as birth_date
    from names inner join people using (number)
"""


def _german(name: str, folder: Path | None, size: int | None) -> Dataset | None:
    labels = f"'{folder}/identity.RLdata10000.tsv'"
    query = _GERMAN.replace("LABELS", labels).replace("people[1]", 'people."identity.RLdata10000"')
    return _file("RLdata10000.tsv", query)(name, folder, size)


_NO_REACH: Final = (
    "email phone mobile street house_number postal_code city initials maiden_name gender"
)
DATASETS: Final[dict[str, Callable[[str, Path | None, int | None], Dataset | None]]] = {
    "retail": _retail(100_000),
    "retail_doubled_errors": _retail(100_000, Noise(scale=2.0)),
    "retail_without_contacts": _retail(20_000, without="email phone mobile"),
    "retail_without_birth_dates": _retail(20_000, without="birth_date"),
    "retail_names_and_addresses": _retail(
        20_000, without="email phone mobile birth_date initials maiden_name gender"
    ),
    "retail_names_and_birth_dates": _retail(20_000, Noise(no_birth_date=0.1), without=_NO_REACH),
    "retail_german": _retail(20_000, country=GERMANY),
    "retail_danish": _retail(20_000, country=DENMARK),
    "retail_british": _retail(20_000, country=BRITAIN),
    "registry": _registry,
    "historical_50k": _file("historical_50k/historical_50k.parquet", _HISTORICAL, is_british=True),
    "fake_1000": _file("fake_1000/fake_1000.parquet", _FAKE),
    "febrl_3": _file("febrl/dataset3.csv", _FEBRL),
    "febrl_4": _file("febrl/dataset4?.csv", _FEBRL),
    "german_10000": _german,
}


def load(name: str, folder: Path | None = None, size: int | None = None) -> Dataset | None:
    """A data set by name; None where it is a file that the folder lacks.

    Args:
        name: One of `DATASETS`.
        folder: Where the labelled files are.
        size: Records to draw, for invented sets.
    """
    return DATASETS[name](name, folder, size)

"""Linking people's own files: reading whatever they hold, knowing its columns, rows out as in."""

import csv
import io
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from klantbeeld.cli import main
from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity.files import FileLinkReport, FileLinkRequest, link_files
from klantbeeld.identity.files.columns import parse_map, recognise
from klantbeeld.identity.files.dates import read_dates
from klantbeeld.identity.files.reading import InputFile, read_files

PEOPLE = """\
klantnr;Voornaam;Achternaam;Geboortedatum;E-mailadres;Adres;Opmerking
17;Jan;van der Berg;11-2-1980;jan@post.example;Kerkstraat 12, 1234 AB Utrecht;a
4;Els;Visser;30-7-1982;els@post.example;Dorpsweg 3, 5678 CD Ergens;"b;c"
9;J.;Berg, van der;11-02-1980;jan@post.example;Kerkstr. 12, 1234AB Utrecht;
12;Jan;Berg;;JAN@post.example;;d
"""


def _file(folder: Path, content: str | bytes, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _read(*paths: Path) -> tuple[duckdb.DuckDBPyConnection, list[InputFile]]:
    con = duckdb.connect()
    return con, read_files(con, list(paths), lambda _share: None)


def _rows(con: duckdb.DuckDBPyConnection, file: InputFile) -> list[tuple[Any, ...]]:
    return con.execute(
        f"select * exclude (row_number) from {file.table} order by row_number"
    ).fetchall()


def _link(folder: Path, *inputs: Path, **options: Any) -> tuple[FileLinkReport, list[Any]]:
    out = folder / "linked.parquet"
    report = link_files(FileLinkRequest(inputs=inputs, out=out, threads=1, **options))
    return report, parquet.read_table(out).to_pylist()


ENCODED = "voornaam;achternaam\nAndré;Müller\nZoë;Bakker\n"


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (ENCODED.encode(), "UTF-8"),
        (ENCODED.encode("utf-8-sig"), "UTF-8"),
        (ENCODED.encode("latin-1"), "Windows-1252"),
        (ENCODED.encode("utf-16"), "UTF-16"),
        (ENCODED.encode("utf-16-le"), "UTF-16"),
        (ENCODED.encode("utf-16-be"), "UTF-16"),
        (ENCODED.replace("\n", "\r").encode(), "UTF-8"),
        (("sep=;\n\n" + ENCODED).encode(), "UTF-8"),
        (ENCODED.replace(";", "\t").encode(), "tabs"),
        (ENCODED.replace(";", "|").encode(), "vertical bars"),
        (ENCODED.replace("ndr", "nd\0r").encode(), "NUL"),
    ],
)
def test_any_encoding_and_delimiter(tmp_path: Path, content: bytes, label: str) -> None:
    con, (file,) = _read(_file(tmp_path, content))
    assert file.columns == ("voornaam", "achternaam")
    assert label in " ".join(file.remarks)
    assert _rows(con, file) == [("André", "Müller"), ("Zoë", "Bakker")]


@pytest.mark.parametrize("title", ["Klanten, maart 2024\n\n", "Klanten;;\n;;\n", "naam\n"])
def test_lines_above_the_header_are_passed_over(tmp_path: Path, title: str) -> None:
    content = title + "naam;plaats;geslacht\nEls;Goes;v\nJan;;\nAnn;Assen;v\n"
    con, (file,) = _read(_file(tmp_path, content))
    assert file.columns == ("naam", "plaats", "geslacht")
    assert _rows(con, file)[1:] == [("Jan", None, None), ("Ann", "Assen", "v")]
    # Commas in the names of a file of one column make no table.
    _, (file,) = _read(_file(tmp_path, "naam\nJan\nBos, Els, mw\nPiet\nVos, Jan, dr\n"))
    assert file.columns == ("naam",)


def test_a_bad_byte_in_good_text_is_damage_and_not_another_encoding(tmp_path: Path) -> None:
    content = ENCODED.encode() + b"Jos\xe9;" + "Vermeër\n".encode()
    con, (file,) = _read(_file(tmp_path, content))
    assert _rows(con, file)[2] == ("Jos\ufffd", "Vermeër")
    assert any("1 character" in remark for remark in file.remarks)


CELLS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12).map(str.strip)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=20),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_what_is_written_as_csv_is_read_cell_for_cell(
    tmp_path: Path, rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    rows = [('Jan, de "oude";\n|', "\t", "Bos"), *rows]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("first_name", "last_name", "note"), *rows])
    con, (file,) = _read(_file(tmp_path, text.getvalue()))
    assert _rows(con, file) == [tuple(cell or None for cell in row) for row in rows]
    assert file.rejected == 0


def test_a_row_that_does_not_fit_is_set_aside_with_its_line(tmp_path: Path) -> None:
    content = 'naam,email\n"Jan\nBos",a@x.example\nPiet\nEls,b@x.example,extra\nEls,c@x.example,,\n'
    con, (file,) = _read(_file(tmp_path, content))
    assert (file.rows, file.rejected) == (2, 2)
    assert con.execute("select line, reason from rejected_rows order by line").fetchall() == [
        (4, "1 cells, the header has 2"),
        (5, "3 cells, the header has 2"),
    ]


def test_columns_of_one_name_and_of_none_are_kept_apart(tmp_path: Path) -> None:
    _, (file,) = _read(_file(tmp_path, "email,Email,,naam\na,b,c,d\n"))
    assert file.columns == ("email", "Email_2", "column_3", "naam")


def test_a_comma_in_a_file_of_one_column_separates_nothing(tmp_path: Path) -> None:
    con, (file,) = _read(_file(tmp_path, "naam\nBos, Jan\nJan Bos\n"))
    assert _rows(con, file) == [("Bos, Jan",), ("Jan Bos",)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b" \n\n", "holds no text"),
        ("a.csv", b"PK\x03\x04....", "spreadsheet"),
        ("a.csv", random.Random(1).randbytes(4000), "not a text file"),
        ("a.parquet", b"a,b\n1,2\n", "not a Parquet file"),
        ("a.parquet", b"PAR1" + b"x" * 40 + b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"Jan,jan@post.example\n", "its first line holds values"),
        ("a.csv", b'naam,email\nJan,"a\nPiet,b\n', "opened on line 2"),
    ],
)
def test_what_is_no_table_is_refused_in_words(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(KlantbeeldError, match=message) as caught:
        _read(_file(tmp_path, content, name))
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("given_name,surname,date_of_birth", "first_name last_name birth_date"),
        ("Voornaam,Tussenvoegsel,Achternaam,GSM", "first_name infix last_name mobile_phone"),
        ("Vorname,Nachname,PLZ,Ort", "first_name last_name postal_code city"),
        ("voornaam,naam", "first_name last_name"),
        ("naam,woonplaats", "full_name city"),
        ("CustomerEmail,customer_phone1", "email phone"),
        ("name,address", "full_name address_line"),
        ("name,address,house_number", "full_name street house_number"),
        ("Naam,Straat en huisnummer,Postcode", "full_name address_line postal_code"),
        ("Name,Straße und Hausnummer,PLZ", "full_name address_line postal_code"),
        ("E-mail Address,Straße,Hausnummer", "email street house_number"),
        ("email,company_name,birth_place,email_opt_in", "email city"),
        ("surname_clean,dob_std,postcode_fake,birth_city", "last_name birth_date postal_code city"),
        ("Nom;Prénom;Né(e) le;Courriel;Ville", "last_name first_name birth_date email city"),
        ("nombre;apellido1;apellido2;correo", "first_name last_name maiden_name email"),
        ("nombre;correo_electronico", "full_name email"),
        ("Imię;Nazwisko;Kod pocztowy;Miejscowość", "first_name last_name postal_code city"),
        ("Ad;Soyad;Doğum tarihi;E-posta", "first_name last_name birth_date email"),
        ("guest_name,email_parent,phone_2,parent_name", "full_name email phone"),
        (
            "first_name,midl_name,res_street_address,res_city_desc",
            "first_name middle_name address_line city",
        ),
        ("name,birth_year,birth_month,birthday", "full_name birth_date birth_month birth_day"),
        (
            "first_nm,phone_nbr,postal_cd,AddrCity,sex_code",
            "first_name phone postal_code city gender",
        ),
        ("Name,Address 1 - City,Address 1 - Postal Code", "full_name city postal_code"),
        ("lname_c1,by,bm,bd", "last_name birth_date birth_month birth_day"),
        ("naam,DOB_DAY,DOB_MON,DOB_YEAR", "full_name birth_day birth_month birth_date"),
        ("Contactpersoon,Factuuradres,Factuurpostcode", "full_name address_line postal_code"),
        ("name,birthday,address_1,address_2", "full_name birth_date address_line"),
    ],
)
def test_columns_are_known_by_their_names(tmp_path: Path, header: str, fields: str) -> None:
    _, files = _read(_file(tmp_path, header + "\n"))
    (columns,) = recognise(files, {})
    assert set(columns.fields) == set(fields.split())


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["voornaam=a"], {}, "voornaam is not a field"),
        (["first_name"], {}, "expected FIELD=COLUMN"),
        (["first_name=nobody"], {}, "no file has a column nobody"),
        ([], {"truth_column": "nobody"}, "--truth nobody"),
        ([], {"id_column": "nobody"}, "--id nobody"),
        (["full_name=", "email="], {}, "no column of its 3"),
    ],
)
def test_columns_that_are_not_there_are_refused(
    tmp_path: Path, given: list[str], options: dict[str, str], message: str
) -> None:
    _, files = _read(_file(tmp_path, "naam,email,rest\n"))
    with pytest.raises(KlantbeeldError, match=message) as caught:
        recognise(files, parse_map(given), **options)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("texts", "dates", "said"),
    [
        (["1980-02-11", "1980/2/3 00:00"], ["1980-02-11", "1980-02-03"], "year-month-day"),
        (["25-12-1980", "3-4-1980", "12/13/1980"], ["1980-12-25", "1980-04-03", "1980-12-13"],
         "day-month-year"),
        (["12/25/1980", "03/04/1980"], ["1980-12-25", "1980-03-04"], "month-day-year"),
        (["03/04/1980"], ["1980-04-03"], "nothing shows"),
        (["19800211", "19801225"], ["1980-02-11", "1980-12-25"], "yyyymmdd"),
        (["11021980", "31121975"], ["1980-02-11", "1975-12-31"], "ddmmyyyy"),
        (["12 mrt 1980", "March 5th, 1980", "5 Okt. 1980"],
         ["1980-03-12", "1980-03-05", "1980-10-05"], ""),
        (["1-2-80", "1-2-30"], ["1980-02-01", "1930-02-01"], "day first"),
        (["29264", "29573.0"], ["1980-02-13", "1980-12-18"], "spreadsheet"),
        (["1 juillet 1980", "5 juin 1981", "3 août 1982", "1 de enero de 1983"],
         ["1980-07-01", "1981-06-05", "1982-08-03", "1983-01-01"], ""),
        (["1985", "1986.0"], ["1985-xx-85", "1986-xx-86"], "years"),
        (["1862-81-01", "31-02-1980"], ["1862-81-01", "1980-02-31"], "no date of the calendar"),
        (["gisteren"], [None], "not compared"),
    ],
)  # fmt: skip
def test_dates_are_read_as_their_column_writes_them(
    texts: list[str], dates: list[str | None], said: str
) -> None:
    with duckdb.connect() as con:
        con.register("given", pa.table({"born": texts}))
        remarks = read_dates(con, "given", "born", "read", 2026)
        read = dict(
            con.execute("select given, coalesce(born::varchar, written) from read").fetchall()
        )
    assert [read[text] for text in texts] == dates
    assert said in "; ".join(remarks)


def test_rows_come_out_as_they_went_in_with_their_profile(tmp_path: Path) -> None:
    other = pa.table({"fullName": ["Smit, Piet", None], "mobile": ["0612345678", None]})
    parquet.write_table(other, tmp_path / "other.parquet")
    report, rows = _link(tmp_path, _file(tmp_path, PEOPLE), tmp_path / "other.parquet")
    assert report.columns[0].fields.keys() == {
        "first_name", "last_name", "birth_date", "email", "address_line"
    }  # fmt: skip
    assert [row["klantnr"] for row in rows] == ["17", "4", "9", "12", None, None]
    assert [row["Opmerking"] for row in rows] == ["a", "b;c", None, "d", None, None]
    assert rows[4]["fullName"] == "Smit, Piet"
    assert [row["record_id"] for row in rows] == [
        "people:person:17", "people:person:4", "people:person:9", "people:person:12",
        "other:row:1", "other:row:2",
    ]  # fmt: skip
    assert [row["profile_id"] for row in rows][:4] == ["P1", "P2", "P1", "P1"]
    assert rows[0]["match_probability"] > 0.5
    assert rows[1]["match_probability"] is None
    assert (report.rows, report.country) == (6, "NL")


def test_a_crowd_of_equal_rows_is_one_profile_and_not_a_crowd_of_pairs(tmp_path: Path) -> None:
    crowd = "Jan;Bakker;1980;jan@post.example\n" * 20_000
    content = "voornaam;achternaam;geboortejaar;email\nEls;Vos;1970;\n" + crowd
    report, rows = _link(tmp_path, _file(tmp_path, content), pairs=tmp_path / "pairs.csv")
    assert (report.rows, report.profiles, report.copies, report.pairs) == (20_001, 2, 19_999, 0)
    assert {row["profile_id"] for row in rows[1:]} == {"P2"}
    assert {row["match_probability"] for row in rows} == {None, 1.0}
    assert len((tmp_path / "pairs.csv").read_text().splitlines()) == 20_000


def test_a_date_in_three_columns_and_numbers_as_their_country_dials_them(tmp_path: Path) -> None:
    rows = [
        "Ayşe;Yılmaz;1980;2;3;+90 532 123 4567;x",
        "A.;Yilmaz;1980;2;3.0;;x",
        "Ayse;Yilmaz;;;;0532 123 45 67;x",
        "Mehmet;Kaya;1981;7;9;+905321112233;y",
    ]
    header = "Ad;Soyad;birth_year;birth_month;birth_day;Telefon;who"
    file = _file(tmp_path, "\n".join([header, *rows]))
    report, _ = _link(tmp_path, file, truth_column="who")
    assert report.country == "TR"
    assert report.quality is not None
    assert report.quality.pair_f1 == 1


def test_e_mail_addresses_are_known_by_their_values(tmp_path: Path) -> None:
    rows = [f"Els Bos{n};els{n}@post.example;winkel@shop.example" for n in range(6)]
    content = "naam;veld_7;verkoper\n" + "\n".join(rows)
    report, _ = _link(tmp_path, _file(tmp_path, content))
    assert report.columns[0].fields == {"full_name": (0,), "email": (1,)}


def test_a_postal_code_and_its_place_in_one_column(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "Naam;Adres;Postcode/plaats;wie\n"
        "Jan Bos;Kerkstraat 12;1234 AB Goes;a\n"
        "J. Bos;Kerkstr. 12;1234AB GOES;a\n"
        "Els Vos;Dorpsweg 3;1999 XY Assen;b\n",
    )
    report, _ = _link(tmp_path, file, truth_column="wie")
    assert report.country == "NL"
    assert report.quality is not None
    assert report.quality.pair_f1 == 1


def test_a_personal_number_is_a_key_of_those_who_agree_on_more(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "given_name,surname,date_of_birth,soc_sec_id,postcode,who\n"
        "clara,smith,19800203,5543-1122,2001,a\n"
        "joan,smyth,19800203,55431122,7000,a\n"
        "peter,jones,19550607,55431122,3000,b\n"
        "mary,white,19900807,1111111,3000,c\n"
        "otto,green,19700101,1111111,4000,d\n",
    )
    report, _ = _link(tmp_path, file, truth_column="who")
    assert report.quality is not None
    assert report.quality.pair_f1 == 1
    assert any("hardly anything else: 1" in remark for remark in report.remarks)


def test_it_is_said_that_no_column_holds_a_name(tmp_path: Path) -> None:
    report, _ = _link(tmp_path, _file(tmp_path, "email;qualquer\na@b.example;Jan\n"))
    assert any("known to hold a name" in warning for warning in report.warnings)


def test_two_rows_are_not_everybody(tmp_path: Path) -> None:
    person = "Jan,Bakker,1980-02-11\n"
    report, _ = _link(tmp_path, _file(tmp_path, f"voornaam,achternaam,geboortedatum\n{person * 2}"))
    assert report.profiles == 1


def test_cells_of_megabytes_and_rows_of_nothing(tmp_path: Path) -> None:
    big = "z" * 3_000_000
    content = f"voornaam,achternaam,nota\nJan,Bakker,{big}\n{big},Bakker,\n,,\n"
    report, rows = _link(tmp_path, _file(tmp_path, content))
    assert [len(row["nota"] or "") for row in rows] == [3_000_000, 0, 0]
    assert report.profiles == 3
    assert any("longer than" in remark for remark in report.remarks)


@pytest.mark.parametrize(
    ("columns", "told"), [("Naam;Geslacht", True), ("Naam;Geboortedatum", False)]
)
def test_it_is_said_that_the_name_is_all_there_is(tmp_path: Path, columns: str, told: bool) -> None:
    file = _file(tmp_path, f"{columns}\nJan de Vries;\nJan de Vries;\nEls Bakker;\n")
    report, _ = _link(tmp_path, file)
    assert any("name is the only evidence" in warning for warning in report.warnings) == told


def test_ids_found_by_name_must_tell_rows_apart(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,naam\n1,Jan Bos\n2,Els Vos\n1,Piet Smit\n")
    report, rows = _link(tmp_path, path)
    assert [row["record_id"] for row in rows] == ["people:row:1", "people:row:2", "people:row:3"]
    assert any("people.csv rows 1 and 3" in remark for remark in report.remarks)
    with pytest.raises(KlantbeeldError, match="rows 1 and 3"):
        _link(tmp_path, path, id_column="id")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["link", *arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = PEOPLE.splitlines()
    truth = ["wie", "jan", "els", "jan", "jan"]
    content = "\n".join(f"{line};{who}" for line, who in zip(lines, truth, strict=True))
    _file(tmp_path, content + "\n13;Piet\n")
    code, out, err = _run(
        capsys, "people.csv", "--out", "linked.csv", "--truth", "wie", "--report", "charts",
        "--pairs", "pairs.parquet",
    )  # fmt: skip
    assert code == ExitCode.ATTENTION
    assert "birth_date           Geboortedatum" in err
    assert "not compared         Opmerking" in err
    assert "F1 1.0000 of pairs" in out
    assert "linked.rejected.csv" in out
    assert (tmp_path / "linked.rejected.csv").read_text().splitlines()[1].startswith("people.csv,6")
    assert len((tmp_path / "linked.csv").read_text().splitlines()) == 5
    assert {path.name for path in (tmp_path / "charts").iterdir()} >= {"match_weights.html"}
    # It needs no home, and makes none.
    assert not (tmp_path / ".klantbeeld").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv", "--out", "o.csv"], "missing.csv does not exist"),
        ([".", "--out", "o.csv"], "is not a file"),
        (["people.csv", "--out", "people.csv"], "is also an input"),
        (["people.csv", "--out", "o.xlsx"], "ending"),
        (["people.csv", "--out", "o.csv", "--pairs", "o.csv"], "are one file"),
        (["people.csv", "people.csv", "--out", "o.csv"], "given twice"),
        (["people.csv", "--out", "people.csv/o.csv"], "cannot be written"),
        (["people.csv", "--out", "new/o.csv"], "the folder new does not exist"),
        (["people.csv", "--out", "o.csv", "--model", "no.json"], "no.json does not exist"),
        (["people.csv", "--out", "o.csv", "--model", "people.csv"], "not a linkage model"),
        (["people.csv", "--out", "o.csv", "--country", "Holland"], "expected a country"),
        (["people.csv", "--out", "o.csv", "--country", "XX"], "XX: expected a country's ISO code"),
        (["people.csv", "--out", "o.csv", "--train"], "too few to train"),
    ],
)
def test_wrong_usage_is_told_in_words(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _file(tmp_path, PEOPLE)
    code, out, err = _run(capsys, *arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert message in err
    assert (tmp_path / "people.csv").read_text() == PEOPLE


def test_records_of_one_kind_of_evidence_are_linked_by_it(tmp_path: Path) -> None:
    rng = random.Random(5)
    words = ["".join(rng.choices("aeioubdklmnrst", k=9)) for _ in range(300)]
    emails = [f"{word}@post.example" for word in words for _ in range(2)]
    path = _file(tmp_path, "email\n" + "\n".join(emails))
    report, rows = _link(tmp_path, path)
    assert report.rows >= 500, "so many that the model would be fitted to them"
    assert report.profiles == len(words)
    assert all(
        a["profile_id"] == b["profile_id"] for a, b in zip(rows[::2], rows[1::2], strict=True)
    )


def test_two_mailboxes_made_of_one_name_say_no_more_than_the_name(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "voornaam,achternaam,email\n"
        "Jan,de Vries,jan.devries@post.example\n"
        "Jan,de Vries,jan.devries@web.example\n"
        "Els,Bos,zonnetje@post.example\n"
        "Els,Bos,zonnetje@web.example\n",
    )
    _, rows = _link(tmp_path, path, pairs=tmp_path / "pairs.parquet")
    weights = {
        (pair["record_id_l"], pair["record_id_r"]): pair["match_weight"]
        for pair in parquet.read_table(tmp_path / "pairs.parquet").to_pylist()
    }
    jan, els = (weights[rows[n]["record_id"], rows[n + 1]["record_id"]] for n in (0, 2))
    assert els > jan + 2

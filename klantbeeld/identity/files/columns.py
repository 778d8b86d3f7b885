"""What each column of a file holds: known names in a dozen languages, and `--map`.

Here: names. Not here: what is made of the values (`standardising`).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from klantbeeld.errors import ExitCode, KlantbeeldError
from klantbeeld.identity.files.reading import InputFile

# Field -> the names it goes by, without case, accents and separators.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "first_name": (
        "fn", "forename1", "given", "firstname", "givenname", "givennames", "firstnames",
        "forename", "forenames", "fname", "first", "namefirst", "firstnm", "voornaam", "voornamen",
        "roepnaam", "vorname", "vornamen", "rufname", "prenom", "prenoms", "nombres",
        "nombredepila", "imie", "imiona", "fornavn", "fornamn", "tilltalsnamn",
    ),
    "middle_name": (
        "additionalname", "forename2", "middlename", "middlenames", "middleinitial",
        "middleinitials", "middle", "midlname", "mname", "mi", "secondname", "tweedenaam",
        "zweitername", "deuxiemeprenom", "segundonombre", "mellemnavn", "mellomnavn", "mellannamn",
    ),
    "initials": ("initials", "initial", "initialen", "voorletters", "voorletter", "initialien"),
    "infix": (
        "tussenv", "infix", "surnameprefix", "nameprefix", "tussenvoegsel", "tussenvoegsels",
        "voorvoegsel", "voorvoegsels", "namensvorsatz",
    ),
    "last_name": (
        "ln", "lastname", "surname", "familyname", "lname", "last", "namelast", "lastnm",
        "surnames", "achternaam", "familienaam", "geslachtsnaam", "nachname", "familienname",
        "zuname", "nomdefamille", "nomfamille", "apellido", "apellidos", "primerapellido",
        "apellidopaterno", "cognome", "sobrenome", "apelido", "nazwisko", "soyad", "soyadi",
        "soyisim", "efternavn", "etternavn", "efternamn",
    ),
    "maiden_name": (
        "maiden", "maidenname", "birthname", "surnameatbirth", "nee", "meisjesnaam", "geboortenaam",
        "geburtsname", "madchenname", "maedchenname", "nomdenaissance", "nomdejeunefille",
        "apellido2", "segundoapellido", "apellidomaterno", "secondlastname", "secondsurname",
        "nazwiskopanienskie", "nazwiskorodowe",
    ),
    "full_name": (
        "contactpersoon", "fullname", "name", "personname", "displayname", "fullnm",
        "firstandlastname", "firstlastname", "naam", "volledigenaam", "naamvolledig",
        "voorenachternaam", "klantnaam", "gastnaam", "contactnaam", "relatienaam", "persoonsnaam",
        "vollstandigername", "vollername", "gesamtname", "kundenname", "gastname", "vorundnachname",
        "namevorname", "nom", "nomcomplet", "nomprenom", "nometprenom", "prenomnom", "nombre",
        "nombrecompleto", "nombreyapellido", "nombreyapellidos", "nome", "nomecompleto",
        "nomecognome", "nomeecognome", "imieinazwisko", "imienazwisko", "ad", "adi", "isim",
        "adsoyad", "adisoyadi", "navn", "namn", "fuldenavn",
    ),
    "gender": (
        "gender", "sex", "mv", "mf", "geslacht", "geschlecht", "sexe", "sexo", "sesso", "genere",
        "genero", "plec", "cinsiyet", "kon", "kjonn", "salutation", "aanhef", "anrede", "civilite",
    ),
    "birth_date": (
        "dobyear", "birthyr", "fechadenac", "datenais", "birthdate", "dateofbirth", "dob",
        "birthday", "born", "birth", "birthdt", "birthyear", "yearofbirth", "yob", "geboortedatum",
        "gebdatum", "geboren", "geboortejaar", "verjaardag", "geburtsdatum", "geburtstag",
        "geburtsjahr", "gebdat", "datedenaissance", "datenaissance", "naissance", "neele", "nele",
        "fechadenacimiento", "fechanacimiento", "fechanac", "nacimiento", "datadinascita",
        "datanascita", "datadenascimento", "datanascimento", "dataurodzenia", "dataur",
        "dogumtarihi", "dogumgunu", "fodselsdato", "fodselsdag", "fodselsdatum", "fodelsedatum",
    ),
    "birth_month": (
        "dobmonth", "dobmon", "birthmonth", "monthofbirth", "geboortemaand", "geburtsmonat",
        "moisdenaissance", "mesdenacimiento",
    ),
    "birth_day": (
        "dobday", "dayofbirth", "birthdayofmonth", "geboortedag", "jourdenaissance",
        "diadenacimiento",
    ),
    "email": (
        "email", "emailaddress", "emailid", "mail", "mailaddress", "emailadres", "mailadres",
        "epost", "emailadresse", "mailadresse", "courriel", "adressemail", "adresseemail",
        "adresseelectronique", "correo", "correoelectronico", "direcciondecorreo", "indirizzoemail",
        "postaelettronica", "adresemail", "eposta", "epostadresi", "epostadresse", "epostadress",
    ),
    "phone": (
        "ph", "phno", "tfno", "phone", "phonenumber", "phoneno", "phonenum", "telephone",
        "telephonenumber", "tel", "telno", "landline", "homephone", "homephonenumber",
        "contactnumber", "telefoon", "telefoonnummer", "telnr", "telefoonnr", "vastnummer",
        "telvast", "telefoonvast", "telefon", "telefonnummer", "telefonnr", "festnetz",
        "numerodetelephone", "telfixe", "telefono", "numerodetelefono", "telefone", "numertelefonu",
        "nrtelefonu", "telefonnumarasi", "tlf", "tlfnr",
    ),
    "mobile_phone": (
        "handynr", "mobile", "mobilephone", "mobilenumber", "mobileno", "mobilephonenumber", "cell",
        "cellphone", "cellnumber", "cellphonenumber", "gsm", "gsmnummer", "gsmnr", "mobnr", "mob",
        "telmobiel", "telefoonmobiel", "mobiel", "mobielnummer", "mobieltelefoonnummer", "mobielnr",
        "mobieletelefoon", "06nummer", "handy", "handynummer", "mobil", "mobilnummer", "mobilnr",
        "mobiltelefon", "mobiltelefonnummer", "portable", "telephoneportable", "telephonemobile",
        "telportable", "telmobile", "movil", "telefonomovil", "cellulare", "telefonocellulare",
        "celular", "telemovel", "komorka", "telefonkomorkowy", "ceptelefonu",
    ),
    "address_line": (
        "strnr", "addressline", "fulladdress", "streetaddress", "addresslines", "adresregel",
        "volledigadres", "straatenhuisnummer", "straathuisnummer", "straatennummer",
        "straatenhuisnr", "streetandnumber", "streetandhousenumber", "anschrift",
        "strasseundhausnummer", "strassehausnummer", "strasseundnummer", "strasseundhausnr",
        "adressecomplete", "direccioncompleta",
    ),
    "street": (
        "addr", "street", "streetname", "address", "straat", "straatnaam", "adres", "strasse",
        "strassenname", "str", "adresse", "rue", "nomderue", "direccion", "domicilio", "calle",
        "indirizzo", "endereco", "morada", "rua", "ulica", "vej", "vejnavn", "gata", "gatuadress",
        "sokak",
    ),
    "house_number": (
        "housenumber", "houseno", "housenr", "housenum", "streetnumber", "streetno", "huisnummer",
        "huisnr", "hausnummer", "hausnr", "numerodevoie", "numerorue", "numerocivico", "nrdomu",
        "numerdomu", "husnummer", "husnr",
    ),
    "house_number_suffix": (
        "toev", "toevaanhuisnr", "huisnrtoev", "housenumbersuffix", "housenumberaddition",
        "housesuffix", "toevoeging", "huisnummertoevoeging", "huisnrtoevoeging", "huisletter",
        "hausnummerzusatz",
    ),
    "postal_code": (
        "pc", "cap", "zippostal", "postalcode", "postcode", "postcod", "zip", "zipcode",
        "zippostalcode", "pcode", "plz", "postleitzahl", "codepostal", "cp", "codigopostal",
        "kodpocztowy", "postakodu", "postnummer", "postnr", "cep",
    ),
    "place_line": (
        "postcodeplaats", "postcodewoonplaats", "pcplaats", "pcwoonplaats", "plzort", "plzwohnort",
        "postleitzahlort", "zipcity", "postcodecity", "postcodetown", "postalcodecity",
        "codepostalville", "cpville",
    ),
    "city": (
        "city", "cityname", "town", "townname", "place", "suburb", "municipality", "locality",
        "residence", "plaats", "plaatsnaam", "woonplaats", "stad", "gemeente", "ort", "wohnort",
        "stadt", "ville", "commune", "localite", "ciudad", "localidad", "poblacion", "municipio",
        "citta", "comune", "cidade", "miasto", "miejscowosc", "sehir", "poststed", "postort",
    ),
    "country": (
        "countryregion", "country", "countrycode", "land", "landcode", "landescode", "countryname",
        "pays", "pais", "paese", "kraj", "ulke",
    ),
    # Not those that the law keeps for other ends, such as the Dutch BSN (article 46 UAVG) and the
    # French NIR: who may use one says so.
    "personal_number": (
        "mrn", "ncid", "voterregnumber", "voterregnum", "voterid", "sosvoterid", "ssn",
        "socialsecuritynumber", "socialsecurityno", "socsecid", "socialsecurityid", "nino",
        "nationalinsurancenumber", "nationalid", "nationalidnumber", "nhsnumber", "passportnumber",
        "passportno", "personalnumber", "paspoortnummer", "dni", "nif", "codicefiscale", "pesel",
        "cpf", "tckimlikno",
    ),
    "loyalty_number": (
        "loyaltynumber", "loyaltyno", "loyaltycard", "loyaltycardnumber", "loyaltyid",
        "klantenkaart", "klantenkaartnummer", "kundenkarte", "kundenkartennummer",
    ),
}  # fmt: skip
ID_NAMES: Final = (
    "recordid", "uniqueid", "id", "recid", "rowid", "customerid", "customernumber", "customerno",
    "clientid", "contactid", "memberid", "membernumber", "userid", "klantid", "klantnummer",
    "klantnr", "relatienummer", "debiteurnummer", "lidnummer", "kundennummer", "kundenid",
)  # fmt: skip
# What says whose value it is, not what it is.
_OWNERS: Final = (
    "customer", "client", "contact", "person", "personal", "member", "user", "primary", "main",
    "home", "billing", "private", "guest", "patient", "student", "pupil", "child", "employee",
    "voter", "applicant", "participant", "respondent", "passenger", "subscriber", "donor", "owner",
    "buyer", "shipping", "delivery", "mailing", "res", "residential", "legal", "cust", "klant",
    "persoon", "contactpersoon", "relatie", "lid", "prive", "gast", "leerling", "medewerker",
    "deelnemer", "abonnee", "thuis", "kunde", "kunden", "privat",
)  # fmt: skip
# Whose telephone or mailbox may be given for somebody, but not name or birth date.
_KEEPERS: Final = frozenset(
    {"parent", "parents", "guardian", "ouder", "ouders", "verzorger", "eltern"}
)
_REACHED_BY: Final = frozenset({"email", "phone", "mobile_phone"})
# What was done to a value, or how it is written; not what it is.
_FORMS: Final = (
    "clean", "cleaned", "current", "fake", "norm", "normalised", "normalized", "orig", "original",
    "raw", "standardised", "standardized", "std", "text", "txt", "value", "huidig", "origineel",
    "c1", "c2", "desc", "code", "volledig", "dd", "ddmmyyyy", "jjjj", "mm", "yy", "yyyy",
    "yyyymmdd",
)  # fmt: skip
# How names of columns are shortened.
_SHORT: Final = {
    "addr": "address", "cd": "code", "ctry": "country", "dt": "date", "nbr": "number",
    "nm": "name", "num": "number", "yr": "year", "mon": "month",
}  # fmt: skip
# Whose address, in one word with what it is.
_OF_ADDRESS: Final = re.compile(r"^(?:factuur|bezorg|aflever|bezoek|woon)")
_WHOSE: Final = _KEEPERS.union(_OWNERS)
_NOT_WHAT: Final = _WHOSE.union(_FORMS)
# Where somebody was born is no residence, but like it a place that two records of one person share.
_BIRTH_PLACES: Final = (
    "birthplace", "placeofbirth", "birthcity", "cityofbirth", "geboorteplaats", "geburtsort",
    "lieudenaissance", "lugardenacimiento",
)  # fmt: skip
_FIELD_OF: Final = {name: field for field, names in FIELDS.items() for name in names}
# By these alone can two records be brought together.
_TELLING: Final = {"first_name", "last_name", "full_name", "email", "phone", "mobile_phone"}
_UNUSABLE: Final = ("BLOB", "STRUCT", "MAP", "UNION", "BIT", "GEOMETRY", "VARIANT")


@dataclass(frozen=True)
class Columns:
    """What the columns of one file are taken for.

    Attributes:
        fields: Field -> numbers of its columns; the first that has a value counts.
        id_column: The number of the column that names a row, None where rows are numbered.
        source_column: The number of the column that names a row's source.
        truth_column: The number of the column that tells who is who.
    """

    fields: Mapping[str, tuple[int, ...]]
    id_column: int | None
    source_column: int | None
    truth_column: int | None


def parse_map(given: Sequence[str]) -> dict[str, list[str]]:
    """Read `FIELD=COLUMN` arguments; `FIELD=` leaves a field out.

    Raises:
        KlantbeeldError: One is not of that form, or names an unknown field.
    """
    mapped: dict[str, list[str]] = {}
    for text in given:
        field, equals, column = (part.strip() for part in text.partition("="))
        if not equals:
            raise KlantbeeldError(
                f"--map {text}: expected FIELD=COLUMN",
                "For example --map first_name=given_name.",
                ExitCode.USAGE,
            )
        if field not in FIELDS:
            swapped = f" Did you mean --map {column}={field}?" if column in FIELDS else ""
            raise KlantbeeldError(
                f"--map {text}: {field} is not a field",
                f"The fields are {', '.join(FIELDS)}.{swapped}",
                ExitCode.USAGE,
            )
        mapped.setdefault(field, [])
        if column:
            mapped[field].append(column)
    return mapped


def recognise(
    files: Sequence[InputFile],
    mapped: Mapping[str, Sequence[str]],
    id_column: str | None = None,
    source_column: str | None = None,
    truth_column: str | None = None,
    holds_emails: Callable[[InputFile, int], bool] | None = None,
) -> list[Columns]:
    """What the columns of each file are taken for.

    Args:
        files: The files.
        mapped: Field -> columns, as `parse_map` gives it; nothing is guessed for these fields.
        id_column: The column that names a row; None to look for a common one.
        source_column: The column that names a row's source.
        truth_column: The column that tells who is who; never compared.
        holds_emails: Whether a column holds e-mail addresses by its values, for files where no
            name of a column says so.

    Raises:
        KlantbeeldError: A named column is in no file, or a file has nothing to compare.
    """
    asked = [(f"--map {field}={name}", name) for field, names in mapped.items() for name in names]
    asked += [
        (f"{option} {name}", name)
        for option, name in (
            ("--id", id_column), ("--source", source_column), ("--truth", truth_column)
        )
        if name is not None
    ]  # fmt: skip
    for option, name in asked:
        if all(_find(file, name) is None for file in files):
            raise KlantbeeldError(
                f"{option}: no file has a column {name}",
                _columns_of(files),
                ExitCode.USAGE,
            )
    found = []
    for file in files:
        truth = _find(file, truth_column)
        source = _find(file, source_column)
        own_id = _find(file, id_column)
        if id_column is not None and own_id is None:
            raise KlantbeeldError(
                f"--id {id_column}: {file.path} has no such column",
                "Give files that all have it, or leave --id out.",
                ExitCode.USAGE,
            )
        taken = {number for number in (truth, source, own_id) if number is not None}
        fields = _fields(file, mapped, taken)
        if holds_emails is not None and "email" not in {*fields, *mapped}:
            used = {number for numbers in fields.values() for number in numbers} | taken
            found_emails = next(
                (
                    number
                    for number, kind in enumerate(file.types)
                    if number not in used and kind == "VARCHAR" and holds_emails(file, number)
                ),
                None,
            )
            if found_emails is not None:
                fields["email"] = (found_emails,)
        if id_column is None:
            used = {number for numbers in fields.values() for number in numbers} | taken
            own_id = _known_id(file, used)
        if not _TELLING & fields.keys():
            raise KlantbeeldError(
                f"{file.path}: no column of its {len(file.columns)} is known to hold a name, "
                "an e-mail address or a telephone number",
                "Say which ones do, such as --map last_name=COLUMN; "
                f"the fields are {', '.join(FIELDS)}.",
                ExitCode.USAGE,
            )
        found.append(Columns(fields, own_id, source, truth))
    return found


def is_german(file: InputFile, columns: Columns) -> bool:
    """Whether the names of the columns are German, which tells the country of a postal code."""
    names = {_plain(file.columns[n]) for numbers in columns.fields.values() for n in numbers}
    return bool(names & {"vorname", "nachname", "plz", "postleitzahl", "ort", "strasse"})


def _fields(
    file: InputFile, mapped: Mapping[str, Sequence[str]], taken: set[int]
) -> dict[str, tuple[int, ...]]:
    fields: dict[str, list[int]] = {}
    for field, names in mapped.items():
        for name in names:
            number = _find(file, name)
            if number is None:
                continue
            if _is_unusable(file.types[number]):
                raise KlantbeeldError(
                    f"--map {field}={name}: {file.path} holds {file.types[number]} there, not text",
                    "Write it as text, a number or a date.",
                    ExitCode.USAGE,
                )
            fields.setdefault(field, []).append(number)
            taken.add(number)
    for number, (column, kind) in enumerate(zip(file.columns, file.types, strict=True)):
        known = None if number in taken or _is_unusable(kind) else _field_of(column)
        if known is not None and known not in mapped:
            fields.setdefault(known, []).append(number)
    named = [_plain(column) for column in file.columns]
    if "birth_date" not in {*fields, *mapped} and {"by", "bm", "bd"} <= set(named):
        fields |= {
            field: [named.index(name)]
            for field, name in (("birth_date", "by"), ("birth_month", "bm"), ("birth_day", "bd"))
        }
    if "city" not in {*fields, *mapped}:
        births = [
            number
            for number, (column, kind) in enumerate(zip(file.columns, file.types, strict=True))
            if number not in taken and not _is_unusable(kind) and _plain(column) in _BIRTH_PLACES
        ]
        if births:
            fields["city"] = births
    for other, field, shared in (
        # "voornaam" and "naam": then the name is the surname. "nombre" and "apellidos": then it is
        # the first name.
        ("first_name", "last_name", _NAME),
        ("last_name", "first_name", _GIVEN_NAME),
        # "birth year", "birth month" and "birthday": then that is the day.
        ("birth_month", "birth_day", _BIRTHDAY),
    ):
        if other in fields and field not in {*fields, *mapped}:
            _part_shared(file, fields, field, shared)
    if "street" in fields and "house_number" not in fields and "street" not in mapped:
        # A street without a number beside it has the number in it.
        fields.setdefault("address_line", []).extend(fields.pop("street"))
    return {field: tuple(fields[field]) for field in FIELDS if field in fields}


_NAME: Final = frozenset({"name", "naam", "nom", "navn", "namn"})
_GIVEN_NAME: Final = frozenset({"nombre", "nome", "ad", "adi", "isim"})
_BIRTHDAY: Final = frozenset({"birthday", "geburtstag", "verjaardag"})


def _part_shared(
    file: InputFile, fields: dict[str, list[int]], field: str, shared: frozenset[str]
) -> None:
    """Take the columns of a name that several fields go by for the field that is still missing."""
    for other, numbers in list(fields.items()):
        named = [number for number in numbers if _plain(file.columns[number]) in shared]
        if named:
            fields[field] = named
            fields[other] = [number for number in numbers if number not in named]
            if not fields[other]:
                del fields[other]


def _field_of(column: str) -> str | None:
    words = _words(column)
    spelt_out = [_SHORT.get(word, word) for word in words]
    return _field_of_words(words) or (_field_of_words(spelt_out) if spelt_out != words else None)


def _field_of_words(words: list[str]) -> str | None:
    for start in range(len(words)):
        if start and words[start - 1] not in _WHOSE and not _is_place(words[:start]):
            return None
        for end in range(len(words), start, -1):
            if end < len(words) and words[end] not in _NOT_WHAT:
                break
            field = _field_of_name("".join(words[start:end]))
            if field is not None and (field in _REACHED_BY or _KEEPERS.isdisjoint(words)):
                return field
    return None


def _field_of_name(plain: str) -> str | None:
    bare = _OF_ADDRESS.sub("", plain)
    for name in (plain, plain.removesuffix("1"), plain.rstrip("23"), bare):
        field = _FIELD_OF.get(name)
        # A second number is as good as the first; a second address line is none.
        if field and (plain[-1] not in "23" or field in _REACHED_BY or plain in _FIELD_OF):
            return field
    return None


def _is_place(words: list[str]) -> bool:
    """Whether these words say that what follows is a part of an address: "Address 1 - City"."""
    return [word for word in words if word not in {*_WHOSE, "1"}] in (["address"], ["addr"])


def _known_id(file: InputFile, used: set[int]) -> int | None:
    named = {
        _plain(name): number
        for number, name in reversed(list(enumerate(file.columns)))
        if number not in used and not _is_unusable(file.types[number])
    }
    return next((named[name] for name in ID_NAMES if name in named), None)


def _find(file: InputFile, name: str | None) -> int | None:
    """The number of a column by its name; in another case where only that fits."""
    if name is None:
        return None
    if name in file.columns:
        return file.columns.index(name)
    lowered = [column.lower() for column in file.columns]
    return lowered.index(name.lower()) if name.lower() in lowered else None


def _columns_of(files: Sequence[InputFile]) -> str:
    listed = "; ".join(f"{file.path.name}: {', '.join(file.columns[:40])}" for file in files[:5])
    return f"The columns are {listed}."


def _is_unusable(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(_UNUSABLE)


# Letters that do not come apart into a plain one and an accent.
_LETTERS: Final = str.maketrans(
    {"\u00df": "ss", "\u0131": "i", "\u0142": "l", "\u00f8": "o", "\u0111": "d", "\u00d8": "O"}
)


def _words(name: str) -> list[str]:
    """Lower-case words without accents: "E-mailAdres" is e, mail, adres."""
    decomposed = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", plain)
    return re.sub(r"[^a-z0-9]+", " ", parted.lower()).split()


def _plain(name: str) -> str:
    return "".join(_words(name))

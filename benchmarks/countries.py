"""What people of other countries are called, and how their addresses are written.

Here: common given names and surnames, nicknames, the form of postal codes and numbers, as
`populations` draws from. Rarer names are invented. Not here: any randomness.
"""

# ruff: noqa: SIM905 - a list of words is easier to read and to extend as a text

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from demo import names


@dataclass(frozen=True)
class Country:
    """Names and addresses of one country.

    Attributes:
        male: Given names, the frequent first.
        female: The same.
        nicknames: Given name -> how its bearers are called.
        surnames: The common ones, the frequent first.
        concentration: How much more frequent the first names of a list are than the next; with 1.1
            half of all people share thirty surnames, as in Denmark.
        is_coarse: Whether a postal code is digits and stands for a district, not for a street.
        mobile: How mobile numbers begin.
        landline: How the others do.
    """

    male: tuple[str, ...]
    female: tuple[str, ...]
    nicknames: Mapping[str, tuple[str, ...]]
    surnames: tuple[str, ...]
    concentration: float = 0.75
    is_coarse: bool = False
    mobile: str = "+316"
    landline: str = "+3110"


def _pairs(text: str) -> dict[str, tuple[str, ...]]:
    entries = (entry.split() for entry in text.split(","))
    return {name: tuple(forms) for name, *forms in entries}


NETHERLANDS: Final = Country(
    male=tuple(names.MALE_NAMES),
    female=tuple(names.FEMALE_NAMES),
    nicknames=names.NICKNAMES,
    surnames=tuple(entry.split("|")[1] for entry in names.SURNAMES),
)

GERMANY: Final = Country(
    male=tuple(
        "Peter Michael Thomas Andreas Wolfgang Klaus Jürgen Stefan Christian Uwe Werner Frank "
        "Markus Sebastian Alexander Jan Lukas Leon Paul Jonas Maximilian Felix Johannes Heinz Karl "
        "Bernd Dieter Manfred Ralf Sven Tobias Florian Matthias Daniel Martin Philipp Dirk".split()
    ),
    female=tuple(
        "Ursula Maria Petra Monika Sabine Andrea Susanne Claudia Karin Renate Helga Brigitte "
        "Ingrid Birgit Angelika Heike Stefanie Julia Anna Katharina Christine Elisabeth Lea Lena "
        "Emma Mia Hannah Sophie Laura Sarah Nicole Martina Gabriele Gisela Silke Anja Tanja".split()
    ),
    nicknames=_pairs(
        "Johannes Hans Jo,Wolfgang Wolf,Maximilian Max,Alexander Alex Sascha,Michael Micha Michi,"
        "Elisabeth Lisa Elli,Katharina Kathi Katja,Susanne Susi,Christine Tina,Stefanie Steffi,"
        "Gabriele Gabi,Andreas Andi,Thomas Tom Tommy,Sebastian Basti,Tobias Tobi,Angelika Geli"
    ),
    surnames=tuple(
        "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch "
        "Bauer Richter Klein Wolf Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann "
        "Hartmann Lange Schmitt Werner Krause Meier Lehmann Schmid Schulze Maier Köhler Herrmann "
        "König Walter Mayer Huber Kaiser".split()
    ),
    is_coarse=True,
    mobile="+4917",
    landline="+4930",
)

DENMARK: Final = Country(
    male=tuple(
        "Peter Jens Lars Michael Henrik Thomas Søren Jan Christian Martin Niels Anders Morten "
        "Jesper Mads Rasmus Hans Per Ole Jørgen Erik Kim Bent Svend Karsten Torben Flemming "
        "Frederik Emil William Noah Oscar Magnus Viktor".split()
    ),
    female=tuple(
        "Anne Mette Kirsten Hanne Anna Helle Susanne Lene Maria Marianne Inge Karen Lone Bente "
        "Camilla Pia Louise Charlotte Jette Tina Emma Ida Sofie Freja Karla Inger Birthe Gitte "
        "Ellen Katrine Cecilie Christina".split()
    ),
    nicknames=_pairs(
        "Christian Chris,Michael Mikkel,Frederik Frede,Rasmus Ras,Katrine Trine,Christina Tina "
        "Stina,Charlotte Lotte,Marianne Janne,Kirsten Kisser"
    ),
    surnames=tuple(
        "Nielsen Jensen Hansen Andersen Pedersen Christensen Larsen Sørensen Rasmussen Jørgensen "
        "Petersen Madsen Kristensen Olsen Thomsen Christiansen Poulsen Johansen Møller Mortensen "
        "Knudsen Jakobsen Mikkelsen Frederiksen Laursen Lund Schmidt Eriksen Holm Clausen".split()
    ),
    concentration=1.1,
    is_coarse=True,
    mobile="+452",
    landline="+4533",
)

BRITAIN: Final = Country(
    male=tuple(
        "James John Robert Michael David William Richard Thomas Christopher Daniel Paul Mark "
        "Andrew Steven Edward Brian George Kevin Peter Anthony Matthew Oliver Jack Harry Charlie "
        "Jacob Joshua Samuel Benjamin Joseph Alexander Simon Ian Stuart Graham Keith".split()
    ),
    female=tuple(
        "Mary Patricia Jennifer Elizabeth Linda Barbara Susan Margaret Jessica Sarah Karen Nancy "
        "Emily Olivia Amelia Isla Ava Jane Helen Catherine Rebecca Victoria Alexandra Emma Laura "
        "Claire Nicola Alison Deborah Jacqueline Dorothy Christine".split()
    ),
    nicknames=_pairs(
        "James Jim Jamie,Robert Bob Rob,Michael Mike Mick,David Dave,William Bill Will,Richard "
        "Rick Dick,Thomas Tom,Christopher Chris,Daniel Dan,Andrew Andy,Edward Ted Ed,Anthony Tony,"
        "Samuel Sam,Benjamin Ben,Joseph Joe,Alexander Alex,Patricia Pat Trish,Jennifer Jenny,"
        "Elizabeth Liz Beth,Margaret Maggie Peggy,Catherine Kate Cathy,Rebecca Becky,Victoria "
        "Vicky,Deborah Debbie,Jacqueline Jackie"
    ),
    surnames=tuple(
        "Smith Jones Williams Taylor Brown Davies Evans Wilson Thomas Johnson Roberts Robinson "
        "Thompson Wright Walker White Edwards Hughes Green Hall Lewis Harris Clarke Patel Jackson "
        "Wood Turner Martin Cooper Hill Ward Morris Moore Clark Lee King Baker Harrison".split()
    ),
    mobile="+447",
    landline="+4420",
)

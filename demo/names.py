"""The words the demo world is made of: names, streets, towns, companies and articles.

Here: plain lists, written for this project. Common Dutch given names and surnames, put together at
random, so that nobody in the world is anybody; towns are real so that an area code fits a town, but
the subscriber numbers and mobile numbers are of ranges that are not handed out, and every mail
domain ends in the reserved `.example`.
Not here: any randomness (`demo.people`).
"""

# ruff: noqa: SIM905 - a list of words is easier to read and to extend as a text

from __future__ import annotations

from typing import Final

MALE_NAMES: Final = (
    "Johannes Cornelis Willem Hendrik Petrus Gerardus Jacobus Adrianus Antonius "
    "Theodorus Wilhelmus "
    "Franciscus Martinus Lambertus Nicolaas Leendert Matthijs Frederik Alexander Christiaan Daniël "
    "Robert Richard Michael Dennis Marcel René Ronald Erik Peter Paul Mark Sander Jeroen Bart Bas "
    "Thomas Tim Tom Rick Kevin Jesse Daan Sem Lucas Levi Finn Noah Milan Bram Luuk "
    "Mees Thijs Stijn "
    "Lars Ruben Niels Jasper Joost Maarten Wouter Rutger Sjoerd Tjeerd Wiebe Geert "
    "Arend Evert Roelof "
    "Mohamed Ahmed Youssef Mustafa Emre Murat Piotr Rajesh Minh Samuel Benjamin Gijs "
    "Koen Floris Teun "
    "Vincent Hugo Olivier Casper Boris Jurre Dirk Aart Sietse Jelle Rens Guus Harm Lennart André"
).split()

FEMALE_NAMES: Final = (
    "Maria Johanna Cornelia Wilhelmina Elisabeth Anna Hendrika Catharina Petronella Margaretha "
    "Adriana Jacoba Geertruida Theodora Antonia Helena Alida Christina Francisca Magdalena Monique "
    "Linda Esther Sandra Ingrid Marjolein Annemarie Karin Petra Saskia Miranda Chantal Patricia "
    "Wendy Kim Lisa Laura Sanne Anouk Femke Iris Roos Eva Emma Julia Sophie Zoë Tess Lotte Fleur "
    "Noor Saar Evi Mila Nora Yara Lieke Fenna Isa Maud Floor Jasmijn Danique Naomi Chloé Amber "
    "Fatima Aïsha Samira Elif Ayşe Agnieszka Priya Linh Judith Hanneke Marleen Ellen Astrid Irene "
    "Gerda Wiesje Tineke Froukje Sietske Baukje Renée Michèle Nienke Eline Merel "
    "Britt Anne Bo Mirjam"
).split()

# What people who are called A in the register of births are called by everybody else.
NICKNAMES: Final[dict[str, tuple[str, ...]]] = {
    "Johannes": ("Jan", "Johan", "Hans", "Joop"),
    "Cornelis": ("Kees", "Cor", "Niels"),
    "Willem": ("Wim", "Pim"),
    "Hendrik": ("Henk", "Rik", "Hein"),
    "Petrus": ("Piet", "Peter"),
    "Gerardus": ("Gerard", "Gerrit", "Ger"),
    "Jacobus": ("Jaap", "Koos", "Sjaak"),
    "Adrianus": ("Ad", "Arie", "Adriaan"),
    "Antonius": ("Ton", "Toon", "Anton"),
    "Theodorus": ("Theo", "Dorus"),
    "Wilhelmus": ("Wim", "Willem"),
    "Franciscus": ("Frans", "Frank"),
    "Martinus": ("Martin", "Tinus"),
    "Lambertus": ("Bert", "Bertus"),
    "Nicolaas": ("Nico", "Klaas"),
    "Leendert": ("Leen",),
    "Matthijs": ("Thijs", "Matt"),
    "Frederik": ("Fred", "Freek"),
    "Alexander": ("Alex", "Sander", "Lex"),
    "Christiaan": ("Chris",),
    "Daniël": ("Daan", "Dani"),
    "Robert": ("Rob", "Bob"),
    "Richard": ("Ries",),
    "Michael": ("Mike", "Michel"),
    "Mohamed": ("Mo",),
    "Samuel": ("Sam",),
    "Benjamin": ("Ben",),
    "Maria": ("Marie", "Ria", "Mieke", "Marijke"),
    "Johanna": ("Hanna", "Joke", "Anneke"),
    "Cornelia": ("Corrie", "Nel"),
    "Wilhelmina": ("Willy", "Mina", "Wil"),
    "Elisabeth": ("Els", "Lies", "Betty", "Liesbeth"),
    "Anna": ("Ans", "Anneke", "Annie"),
    "Hendrika": ("Riek", "Hennie"),
    "Catharina": ("Toos", "Trijntje", "Karin"),
    "Petronella": ("Nel", "Petra"),
    "Margaretha": ("Greet", "Margriet", "Gré"),
    "Adriana": ("Jana", "Adrie"),
    "Jacoba": ("Coba", "Cobie"),
    "Geertruida": ("Truus", "Geertje", "Trudy"),
    "Theodora": ("Thea", "Dora"),
    "Antonia": ("Toos", "Tonny"),
    "Helena": ("Leny", "Heleen"),
    "Alida": ("Alie",),
    "Christina": ("Stien", "Tineke"),
    "Francisca": ("Cisca", "Fransje"),
    "Magdalena": ("Magda", "Leen"),
    "Annemarie": ("Anne",),
}

# "infix|surname"; the earlier, the more common.
SURNAMES: Final = (
    "de|Jong;|Jansen;de|Vries;van den|Berg;van|Dijk;|Bakker;|Janssen;|Visser;|Smit;|Meijer;de|Boer;"
    "|Mulder;de|Groot;|Bos;|Vos;|Peters;|Hendriks;van|Leeuwen;|Dekker;|Brouwer;de|Wit;|Dijkstra;"
    "|Smits;de|Graaf;van der|Meer;van der|Linden;|Kok;|Jacobs;de|Haan;|Vermeulen;van den|Heuvel;"
    "van der|Veen;van den|Broek;de|Bruijn;de|Bruin;van der|Heijden;|Schouten;van|Beek;|Willems;"
    "van|Vliet;van de|Ven;|Hoekstra;|Maas;|Verhoeven;|Koster;van|Dam;van der|Wal;|Prins;|Blom;"
    "|Huisman;|Peeters;de|Jonge;|Kuipers;van|Veen;|Kuiper;|Veenstra;|Kramer;van den|Brink;|Post;"
    "van|Wijk;|Postma;|Martens;|Scholten;van|Dongen;|Bosch;|Kuijpers;|Gerritsen;|Timmermans;|Groen;"
    "|Koning;|Molenaar;|Verbeek;|Evers;|Wolters;|Hermans;|Driessen;|Sanders;|Jonker;van|Doorn;"
    "van|Loon;|Veldman;|Schipper;|Maassen;|Kroon;|Zijlstra;|Bouwman;van|Es;de|Lange;|Roos;|Wiersma;"
    "|Jonkman;|Hofman;|Bosman;van der|Horst;|Hoogland;ter|Horst;ten|Have;te|Velde;"
    "|Aalbers;|Terpstra;"
    "|Boersma;|Bouma;|Brandsma;|Dijkman;|Eijkelboom;|Faber;|Geerts;|Gerrits;|Goossens;|Haverkamp;"
    "|Heijmans;|Hoeksema;|Jager;de|Jager;|Kamphuis;|Klaassen;|Kloosterman;|Koopman;"
    "|Kooistra;|Lammers;"
    "|Leenders;|Lubbers;|Manders;|Mertens;|Nijhuis;|Noordhoek;|Oosterhuis;|Otten;|Pauw;|Pieters;"
    "|Poelman;|Reinders;|Rietveld;|Roelofs;|Rutten;|Schaap;|Schreuder;|Simons;|Slot;"
    "|Snijders;|Spijker;"
    "|Stam;|Tuinstra;|Uitdenbogaard;|Veldhuis;|Verdonk;|Verhagen;|Verkerk;|Vink;|Wagenaar;|Westra;"
    "|Wessels;|Wouters;|Zandstra;|Zwart;de|Zwart;den|Hartog;den|Ouden;van 't|Hof;van der|Ploeg;"
    "van der|Velde;van der|Laan;van der|Sluis;van der|Zee;van|Rijn;van|Houten;"
    "van|Rooijen;van|Ommen;"
    "|El Amrani;|Bouali;|Yılmaz;|Demir;|Kaya;|Öztürk;|Nguyen;|Tran;|Singh;|Kowalska;|Nowak;|Wójcik;"
    "|Benali;|Haddad;|Soekhoe;|Tjin;|Pinas;|Wijaya;|Müller;|Schmitz;|Dubois;|Lefèvre;|Rossi;|García"
).split(";")

# Less common surnames are put together from these two: some 4,500 of them.
SURNAME_STARTS: Final = (
    "Ooster Wester Noorder Zuider Broek Veen Hei Bos Kerk Molen Berken Eiken Elzen "
    "Linden Hazel Water "
    "Grave Konings Monniken Schapen Ossen Vogel Kraaien Valken Zwanen Reigers Steen Klei Zand Rot "
    "Dijk Polder Meer Lange Korte Groote Kleine Nieuwen Ouden Hooge Lage Diepen Brede Rozen Doorn "
    "Appel Peren Noten Korenwal Haver Rogge Gersten Hoppen Wijn Bier"
).split()
SURNAME_ENDS: Final = (
    "berg veld kamp horst huis huizen dijk brug stra beek dam hof laar loo oord woud wijk poort "
    "steeg weide akker ma meijer man bosch maat goor burg kerk daal rade donk voort vliet zicht "
    "steijn kooi mans ink water eind hoek bergen stein sma boom werf heuvel dorp sloot pad vaart"
).split()
SURNAME_INFIXES: Final = ("", "", "", "van", "van", "van der", "van den", "van de", "te", "ten")

STREET_STARTS: Final = (
    "Kerk Molen Dorps School Stations Juliana Wilhelmina Beatrix Emma Prins Hendrik Oranje Nassau "
    "Eiken Beuken Linden Kastanje Berken Wilgen Esdoorn Populieren Merel Lijster Vinken Zwaluw "
    "Spreeuwen Koekoek Rozen Tulpen Narcis Lelie Anjer Dahlia Violen Rembrandt Vermeer Hals Steen "
    "Mondriaan Mozart Bach Vivaldi Chopin Haydn Tasman Barentsz Evertsen Haven Gracht Markt Plein "
    "Bakkers Smeden Wevers Kuipers Touwslagers Zonne Maan Sterren Noorder Zuider Ooster Wester "
    "Dijk Polder Water Brug Sluis Tuin Bos Heide Duin Zee Akker Weide Klaver Tarwe Haver Boekweit "
    "Vlas Koren Appel Peren Kersen Pruimen Noten Burgemeester Raadhuis Kloosters Abdij Burcht"
).split()
STREET_ENDS: Final = (
    "straat straat straat laan laan weg weg dreef hof plein kade pad singel steeg "
    "gracht erf plantsoen"
).split()

# town, area code, first and last four digits of its postcodes; weights fall off gently.
TOWNS: Final = (
    ("Amsterdam", "020", 1011, 1109),
    ("Rotterdam", "010", 3011, 3089),
    ("'s-Gravenhage", "070", 2491, 2597),
    ("Utrecht", "030", 3511, 3585),
    ("Eindhoven", "040", 5611, 5658),
    ("Groningen", "050", 9711, 9747),
    ("Tilburg", "013", 5011, 5049),
    ("Almere", "036", 1311, 1363),
    ("Breda", "076", 4811, 4839),
    ("Nijmegen", "024", 6511, 6546),
    ("Apeldoorn", "055", 7311, 7339),
    ("Haarlem", "023", 2011, 2037),
    ("Arnhem", "026", 6811, 6846),
    ("Enschede", "053", 7511, 7548),
    ("Amersfoort", "033", 3811, 3829),
    ("Zwolle", "038", 8011, 8043),
    ("'s-Hertogenbosch", "073", 5211, 5237),
    ("Leiden", "071", 2311, 2334),
    ("Dordrecht", "078", 3311, 3329),
    ("Maastricht", "043", 6211, 6229),
    ("Zutphen", "0575", 7201, 7207),
    ("Deventer", "0570", 7411, 7437),
    ("Delft", "015", 2611, 2629),
    ("Leeuwarden", "058", 8911, 8941),
    ("Alkmaar", "072", 1811, 1827),
    ("Hilversum", "035", 1211, 1223),
    ("Gouda", "0182", 2801, 2809),
    ("Assen", "0592", 9401, 9408),
    ("Middelburg", "0118", 4331, 4341),
    ("Doetinchem", "0314", 7001, 7009),
    ("Ede", "0318", 6711, 6718),
    ("Meppel", "0522", 7941, 7944),
    ("Venlo", "077", 5911, 5928),
    ("Roermond", "0475", 6041, 6049),
    ("Goes", "0113", 4461, 4465),
    ("Hoorn", "0229", 1621, 1628),
    ("Sneek", "0515", 8601, 8608),
    ("Tiel", "0344", 4001, 4007),
    ("Winterswijk", "0543", 7101, 7109),
    ("Kampen", "038", 8261, 8267),
)

# The letters that Dutch postcodes use.
POSTCODE_LETTERS: Final = "ABCDEGHJKLMNPRSTVWXZ"

MAIL_DOMAINS: Final = (
    "post.example",
    "snelmail.example",
    "kabelmail.example",
    "mijnpost.example",
    "webbrief.example",
    "thuis.example",
    "glasnet.example",
    "brievenbus.example",
)

COMPANY_STARTS: Final = (
    "Van Dalen|De Gouden Aar|Noordster|Het Anker|Rijnland|De Linde|Veluwe|Oosterpoort|Waterman|"
    "De Kroon|Blauwe Reiger|Stadshart|Zonnehoek|IJssel|Merwede|De Brug|Polderzicht|Havenzicht|"
    "Groene Weide|Berkenhof|Drieluik|Kompas|De Eik|Landzicht|Hoogvliet|Zilverberg|De Molen|"
    "Bakermat|Vier Winden|De Haan"
).split("|")
COMPANY_TRADES: Final = (
    "Bouw|Installatie|Catering|Advies|Transport|Schilderwerken|Administratie|Horeca|Techniek|"
    "Tuinen|Makelaardij|Zorg|Interieur|Logistiek|Drukwerk|Fietsen|Bakkerij|"
    "Kinderopvang|Evenementen|"
    "Schoonmaak"
).split("|")
COMPANY_FORMS: Final = ("B.V.", "B.V.", "BV", "V.O.F.", "", "Holding B.V.", "Groep")

STORES: Final = (
    ("101", "Amsterdam"),
    ("102", "Utrecht"),
    ("103", "Zutphen"),
    ("104", "Eindhoven"),
    ("105", "Groningen"),
    ("106", "Rotterdam"),
)

# category -> (parent, (article, price in cents, weight in the shop, weight at the till) ...)
CATALOGUE: Final[tuple[tuple[str, str, tuple[tuple[str, int, int, int], ...]], ...]] = (
    (
        "Ontbijt",
        "Eten en drinken",
        (
            ("Koffie om mee te nemen", 295, 0, 30),
            ("Cappuccino", 345, 0, 22),
            ("Croissant", 195, 0, 32),
            ("Pain au chocolat", 245, 0, 12),
            ("Krentenbol", 95, 0, 12),
            ("Vers sinaasappelsap", 375, 0, 9),
            ("Yoghurt met granola", 425, 0, 7),
        ),
    ),
    (
        "Koffie en thee",
        "Eten en drinken",
        (
            ("Koffiebonen huismelange 1 kg", 1795, 9, 4),
            ("Koffiebonen donkere branding 500 g", 1095, 6, 4),
            ("Filterkoffie 250 g", 495, 3, 5),
            ("Earl Grey losse thee 100 g", 695, 5, 3),
            ("Rooibos thee 100 g", 595, 4, 3),
            ("Verse munt thee", 325, 0, 8),
        ),
    ),
    (
        "Delicatessen",
        "Eten en drinken",
        (
            ("Oude kaas 500 g", 995, 3, 9),
            ("Crème fraîche", 229, 0, 8),
            ("Paté maison", 549, 0, 6),
            ("Olijfolie extra vierge 750 ml", 1349, 5, 6),
            ("Gedroogde tomaten", 459, 2, 5),
            ("Tapenade zwarte olijf", 399, 2, 5),
            ("Kastanjehoning 350 g", 749, 4, 4),
        ),
    ),
    (
        "Wijn",
        "Eten en drinken",
        (
            ("Rosé de Provence", 1095, 5, 6),
            ("Grüner Veltliner", 1195, 4, 4),
            ("Rioja crianza", 1295, 5, 5),
            ("Crémant brut", 1595, 3, 3),
            ("Alcoholvrije bubbels", 795, 3, 3),
        ),
    ),
    (
        "Serviezen",
        "Wonen",
        (
            ("Ontbijtbord steengoed", 1295, 6, 3),
            ("Mok steengoed", 995, 8, 5),
            ("Soepkom", 1195, 5, 2),
            ("Serveerschaal ovaal", 2995, 3, 1),
            ("Espressokopje set van 4", 2495, 4, 2),
        ),
    ),
    (
        "Keuken",
        "Wonen",
        (
            ("Gietijzeren braadpan 24 cm", 8995, 3, 1),
            ("Koksmes 20 cm", 5995, 3, 1),
            ("Snijplank eiken", 3495, 4, 2),
            ("Cafetière 1 liter", 2995, 5, 2),
            ("Percolator 6 kops", 3295, 3, 1),
            ("Maatbeker glas", 895, 3, 2),
            ("Keukenschaal digitaal", 2495, 3, 1),
        ),
    ),
    (
        "Textiel",
        "Wonen",
        (
            ("Theedoek linnen", 1295, 6, 4),
            ("Tafelkleed katoen", 3995, 3, 1),
            ("Badhanddoek 70 x 140", 1995, 6, 2),
            ("Dekbedovertrek lits-jumeaux", 7995, 3, 0),
            ("Plaid wol", 5995, 3, 1),
            ("Kussenhoes fluweel", 2295, 4, 1),
        ),
    ),
    (
        "Verzorging",
        "Wonen",
        (
            ("Handzeep olijf", 795, 5, 6),
            ("Geurkaars vijg", 1995, 6, 4),
            ("Geurstokjes linnen", 2495, 4, 2),
            ("Bodylotion amandel", 1495, 4, 3),
        ),
    ),
    (
        "Tuin en balkon",
        "Wonen",
        (
            ("Plantenbak zink", 2995, 3, 1),
            ("Gieter 5 liter", 1995, 3, 1),
            ("Lichtsnoer buiten", 2495, 4, 1),
            ("Kruidentuintje", 1295, 3, 4),
        ),
    ),
    (
        "Cadeaus",
        "Overig",
        (
            ("Cadeaubon 25 euro", 2500, 4, 3),
            ("Lekker pakket", 3995, 4, 2),
            ("Wenskaart", 295, 1, 9),
            ("Kookboek van het seizoen", 2999, 4, 2),
        ),
    ),
)

CAMPAIGNS: Final = (
    "Nieuw seizoen",
    "Aan tafel",
    "Koffie van de maand",
    "Huis op orde",
    "Zomer op het balkon",
    "Van het land",
    "Warme dagen",
    "Lekker cadeau",
)

LEAD_SUBJECTS: Final = (
    "Kerstpakketten voor het team",
    "Zakelijke koffieabonnementen",
    "Catering voor een opening",
    "Relatiegeschenken",
    "Interesse in klantkaart",
    "Workshop bloemschikken",
    "Huwelijkslijst",
    "Offerte servies",
)

{#- Countries: ISO 3166 code, what they dial as, and the names that people type, folded. -#}
{% macro countries() %}{{ return([
    ('NL', '31', ['nederland', 'netherlands', 'the netherlands', 'holland', 'pays-bas', 'niederlande', 'nld']),
    ('BE', '32', ['belgie', 'belgium', 'belgique', 'belgien', 'bel']),
    ('DE', '49', ['duitsland', 'germany', 'deutschland', 'allemagne', 'deu']),
    ('FR', '33', ['frankrijk', 'france', 'frankreich', 'fra']),
    ('GB', '44', ['verenigd koninkrijk', 'united kingdom', 'great britain', 'england', 'uk', 'gbr']),
    ('LU', '352', ['luxemburg', 'luxembourg', 'lux']),
    ('IE', '353', ['ierland', 'ireland', 'irl']),
    ('ES', '34', ['spanje', 'spain', 'espana', 'esp']),
    ('PT', '351', ['portugal', 'prt']),
    ('IT', '39', ['italie', 'italy', 'italia', 'ita']),
    ('AT', '43', ['oostenrijk', 'austria', 'osterreich', 'aut']),
    ('CH', '41', ['zwitserland', 'switzerland', 'schweiz', 'suisse', 'che']),
    ('DK', '45', ['denemarken', 'denmark', 'danmark', 'dnk']),
    ('SE', '46', ['zweden', 'sweden', 'sverige', 'swe']),
    ('NO', '47', ['noorwegen', 'norway', 'norge', 'nor']),
    ('FI', '358', ['finland', 'suomi', 'fin']),
    ('PL', '48', ['polen', 'poland', 'polska', 'pol']),
    ('CZ', '420', ['tsjechie', 'czechia', 'czech republic', 'cesko', 'cze']),
    ('HU', '36', ['hongarije', 'hungary', 'magyarorszag', 'hun']),
    ('RO', '40', ['roemenie', 'romania', 'rou']),
    ('BG', '359', ['bulgarije', 'bulgaria', 'bgr']),
    ('GR', '30', ['griekenland', 'greece', 'grc']),
    ('TR', '90', ['turkije', 'turkey', 'turkiye', 'tur']),
    ('MA', '212', ['marokko', 'morocco', 'maroc', 'mar']),
    ('UA', '380', ['oekraine', 'ukraine', 'ukr']),
    ('US', '1', ['verenigde staten', 'united states', 'united states of america', 'usa']),
    ('CA', '1', ['canada', 'can']),
    ('SR', '597', ['suriname', 'sur']),
    ('CW', '599', ['curacao', 'cuw']),
    ('AW', '297', ['aruba', 'abw']),
    ('SK', '421', ['slowakije', 'slovakia', 'slovensko', 'svk']),
    ('SI', '386', ['slovenie', 'slovenia', 'slovenija', 'svn']),
    ('HR', '385', ['kroatie', 'croatia', 'hrvatska', 'hrv']),
    ('RS', '381', ['servie', 'serbia', 'srbija', 'srb']),
    ('LT', '370', ['litouwen', 'lithuania', 'lietuva', 'ltu']),
    ('LV', '371', ['letland', 'latvia', 'latvija', 'lva']),
    ('EE', '372', ['estland', 'estonia', 'eesti', 'est']),
    ('IS', '354', ['ijsland', 'iceland', 'isl']),
    ('MT', '356', ['malta', 'mlt']),
    ('CY', '357', ['cyprus', 'cyp']),
    ('RU', '7', ['rusland', 'russia', 'rus']),
    ('IL', '972', ['israel', 'isr']),
    ('AE', '971', ['verenigde arabische emiraten', 'united arab emirates', 'uae', 'are']),
    ('SA', '966', ['saoedi-arabie', 'saudi arabia', 'sau']),
    ('IQ', '964', ['irak', 'iraq', 'irq']),
    ('SY', '963', ['syrie', 'syria', 'syr']),
    ('IR', '98', ['iran', 'irn']),
    ('AF', '93', ['afghanistan', 'afg']),
    ('PK', '92', ['pakistan', 'pak']),
    ('IN', '91', ['india', 'ind']),
    ('CN', '86', ['china', 'chn']),
    ('JP', '81', ['japan', 'jpn']),
    ('KR', '82', ['zuid-korea', 'south korea', 'kor']),
    ('VN', '84', ['vietnam', 'viet nam', 'vnm']),
    ('TH', '66', ['thailand', 'tha']),
    ('MY', '60', ['maleisie', 'malaysia', 'mys']),
    ('SG', '65', ['singapore', 'sgp']),
    ('ID', '62', ['indonesie', 'indonesia', 'idn']),
    ('PH', '63', ['filipijnen', 'philippines', 'phl']),
    ('AU', '61', ['australie', 'australia', 'aus']),
    ('NZ', '64', ['nieuw-zeeland', 'new zealand', 'nzl']),
    ('ZA', '27', ['zuid-afrika', 'south africa', 'zaf']),
    ('EG', '20', ['egypte', 'egypt', 'egy']),
    ('DZ', '213', ['algerije', 'algeria', 'algerie', 'dza']),
    ('TN', '216', ['tunesie', 'tunisia', 'tunisie', 'tun']),
    ('NG', '234', ['nigeria', 'nga']),
    ('KE', '254', ['kenia', 'kenya', 'ken']),
    ('GH', '233', ['ghana', 'gha']),
    ('BR', '55', ['brazilie', 'brazil', 'brasil', 'bra']),
    ('MX', '52', ['mexico', 'mex']),
    ('AR', '54', ['argentinie', 'argentina', 'arg']),
    ('CL', '56', ['chili', 'chile', 'chl']),
    ('CO', '57', ['colombia', 'col']),
    ('PE', '51', ['peru', 'per']),
]) }}{% endmacro %}

{#- The code of a country given as a code or a name; another two-letter code passes, other text is null. -#}
{% macro country_code(country) -%}
    case upper(trim({{ country }}))
        when 'NL' then 'NL'
        else case {{ fold_text('trim(' ~ country ~ ')') }}
            {%- for code, _, names in countries() %}
            {%- for name in names %}
            when '{{ name }}' then '{{ code }}'
            {%- endfor %}
            {%- endfor %}
            else case when {{ regex_matches('trim(' ~ country ~ ')', '^[A-Za-z]{2}$') }}
                then upper(trim({{ country }})) end
        end
    end
{%- endmacro %}

{#- What a country dials as; null for a country that is not listed. -#}
{% macro calling_code(country_code) -%}
    case {{ country_code }}
        {%- for code, calling_code, _ in countries() %}
        when '{{ code }}' then '{{ calling_code }}'
        {%- endfor %}
    end
{%- endmacro %}

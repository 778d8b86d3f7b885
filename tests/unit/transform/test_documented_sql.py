"""The SQL that the documentation shows is SQL that dbt takes: whoever copies it meets no error."""

import re
from pathlib import Path

import jinja2
import pytest

_REPOSITORY = Path(__file__).resolve().parents[3]
_PAGES = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").glob("*.md"))]


def _blocks() -> list[tuple[str, str]]:
    found = [
        (f"{page.name}-{number}", block)
        for page in _PAGES
        for number, block in enumerate(re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL))
    ]
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("block", [pytest.param(b, id=name) for name, b in _blocks()])
def test_documented_sql_is_a_template_that_compiles(block: str) -> None:
    # Some show a part of an audience's `meta` alone.
    template = block if "{{" in block else f"{{{{ config(meta={{ {block} }}) }}}}"
    jinja2.Environment(autoescape=True).parse(template)

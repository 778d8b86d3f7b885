"""dbt inside a run: a model that fails says why, and nothing of whom."""

from pathlib import Path

import pytest

from klantbeeld.transform.runner import Dbt, Event

_PROJECT = """\
name: small
version: "1.0.0"
profile: small
model-paths: [models]
models: {+materialized: table}
"""
_PROFILE = """\
small:
  target: build
  outputs:
    build:
      type: duckdb
      path: {file}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text(_PROJECT)
    (tmp_path / "profiles.yml").write_text(_PROFILE.format(file=tmp_path / "warehouse.duckdb"))
    return tmp_path


def test_an_error_about_data_is_told_without_the_data(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    person = "a.visser@example.org"
    (project / "models" / "numbers.sql").write_text(
        "select cast(email as integer) as n"
        f" from (select '{person[:5]}' || '{person[5:]}' as email)"
    )
    (project / "models" / "names.sql").write_text("select nobody from (select 1 as somebody)")
    events: list[Event] = []
    environment = {
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(project / "target"),
        "DBT_LOG_PATH": str(project / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    outcome = Dbt(project, environment).build([], events.append)
    assert not outcome.success
    assert "Could not convert string '...' to INT32" in outcome.model_errors["numbers"]
    assert '"nobody" not found' in outcome.model_errors["names"]
    shown = capfd.readouterr()
    left = [p.read_bytes() for p in [*project.rglob("*.log"), *project.rglob("*.json")]]
    for text in (outcome.model_errors["numbers"], shown.out, shown.err, *map(str, left)):
        assert person not in text


def test_what_the_project_refuses_is_told_without_the_macros_that_refused_it(
    project: Path,
) -> None:
    (project / "macros").mkdir()
    (project / "macros" / "refuse.sql").write_text(
        "{% macro refuse(text) %}{% do exceptions.raise_compiler_error(text) %}{% endmacro %}"
        "{% macro refuse_rule() %}{% if execute %}{{ refuse("
        "\"dbt_project.yml, vars: survivorship: 'email' has the unknown rule 'newest'\""
        ") }}{% endif %}{% endmacro %}"
        "{% macro refuse_meta() %}{{ refuse(model.original_file_path ~ ': no owner') }}"
        "{% endmacro %}"
    )
    (project / "models" / "golden.sql").write_text("select 1 as n {{ refuse_rule() }}")
    environment = {
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(project / "target"),
        "DBT_LOG_PATH": str(project / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    outcome = Dbt(project, environment).build([], lambda event: None)
    told = "dbt_project.yml, vars: survivorship: 'email' has the unknown rule 'newest'"
    assert outcome.model_errors == {"golden": told}
    (project / "models" / "seg_few.sql").write_text("select 1 as n {{ refuse_meta() }}")
    outcome = Dbt(project, environment).parse(write=False)
    assert outcome.error is not None
    assert outcome.error.splitlines()[1:] == ["  models/seg_few.sql: no owner"]

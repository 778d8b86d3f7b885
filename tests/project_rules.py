"""Rules of the repository that no linter knows; `make check` runs them.

`python -m tests.project_rules` prints what is broken and exits with 1; `--quick` leaves dbt out.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from klantbeeld.settings import load_settings
from klantbeeld.status import StatusReport
from klantbeeld.transform import project, registry

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def generated_files() -> Iterator[str]:
    """What is generated is what its generator would write today."""
    for path in registry.drift():
        yield f"{path.relative_to(ROOT)} is behind; a run or `make dev` writes it again"
    schema = ROOT / "docs" / "status.schema.json"

    if json.loads(schema.read_text()) != StatusReport.model_json_schema():
        yield f"{schema.relative_to(ROOT)} is behind: python -m klantbeeld.status > {schema.name}"


def links() -> Iterator[str]:
    """Links between the repository's own pages lead somewhere."""

    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[a-z]*/**/README.md")]
    for page in pages:
        if ".venv" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                yield f"{page.relative_to(ROOT)} links to {target}, which is not there"


def dbt_project() -> Iterator[str]:
    """The project parses without deprecations and keeps its own rules."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder) / "home")
        environment = {
            **os.environ,
            # At the width of a terminal that is none, the rules' own words are cut off.
            "COLUMNS": "200",
            **project.environment(settings, Path(folder) / "warehouse.duckdb", Path(folder)),
        }
        parse = [str(project.EXECUTABLE), "--quiet", "parse"]
        yield from _run(parse, environment)
        config = (ROOT / "dbt_project" / "dbt-bouncer.yml").read_text()
        rules = Path(folder) / "dbt-bouncer.yml"
        target = environment["DBT_TARGET_PATH"]
        rules.write_text(
            config.replace("dbt_artifacts_dir: target", f"dbt_artifacts_dir: {target}")
        )
        yield from _run([str(BIN / "dbt-bouncer"), "--config-file", str(rules)], environment)


def _run(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    result = subprocess.run(
        command,
        env=environment,
        cwd=ROOT / "dbt_project",
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        yield f"{Path(command[0]).name} failed:\n{result.stdout}{result.stderr}"


def main(arguments: list[str]) -> int:
    """Apply the rules; the exit code is 1 when one is broken."""
    rules = [generated_files, links] + ([] if "--quick" in arguments else [dbt_project])
    broken = [text for rule in rules for text in rule()]
    for text in broken:
        print(text, file=sys.stderr)
    print(f"project rules: {len(rules)} checked, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The project's SQL without dbt: macros and models as text, for an engine that has no warehouse.

Here: what standardises records in the pipeline, for a file that somebody wants linked, and for
tests of macros. A start of dbt takes seconds and needs a home; a macro that only writes SQL needs
neither. Not here: building models, which is dbt's work (`runner`).
"""

import re
from functools import cache
from typing import Any, Final

from klantbeeld.transform.project import project_dir

_MACRO: Final = re.compile(r"{% macro (\w+)\(")
# Folders of macros that only write SQL, and what they ask of the run.
_FOLDERS: Final = ("clean", "standardise", "harmonise")
_FILES: Final = ("run_context.sql",)


class _Return(Exception):
    """What a macro gives with dbt's `return`."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Adapter:
    """dbt's `adapter`, as far as macros dispatch with it."""

    def __init__(self, macros: dict[str, Any], dialect: str) -> None:
        self._macros = macros
        self._dialect = dialect

    def dispatch(self, name: str, project: str) -> Any:
        """The dialect's own macro, or the default one."""
        own = self._macros.get(f"{self._dialect}__{name}")
        return own if own is not None else self._macros[f"default__{name}"]


@cache
def load_macros(dialect: str = "duckdb") -> dict[str, Any]:
    """The macros that only write SQL, by name.

    Args:
        dialect: The engine whose variants are chosen; one that has none of its own, such as
            `spark`, gets the defaults.
    """
    environment, macros = _environment(dialect)
    folder = project_dir() / "macros"
    paths = [path for name in _FOLDERS for path in sorted((folder / name).glob("*.sql"))]
    texts = [path.read_text() for path in (*paths, *(folder / name for name in _FILES))]
    bodies: dict[str, Any] = {}

    def caller(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return bodies[name](*args, **kwargs)
            except _Return as answer:
                return answer.value

        return call

    macros |= {name: caller(name) for text in texts for name in _MACRO.findall(text)}
    environment.globals |= macros
    for text in texts:
        # Another name inside the file, as in dbt: a macro then finds its neighbours among the
        # globals, where `return` works.
        module = environment.from_string(_MACRO.sub(r"{% macro own__\1(", text)).make_module()
        bodies |= {
            name.removeprefix("own__"): body
            for name, body in vars(module).items()
            if name.startswith("own__")
        }
    return macros


def render_model(path: str) -> str:
    """The SQL of a model, with the bare names of the models and tables that it reads.

    Args:
        path: The model's file, below `models/`.

    Returns:
        A query: `ref('int_persons__unioned')` is `int_persons__unioned`, `source('meta',
        'run_context')` is `meta.run_context`. Whoever runs it provides these relations.
    """
    environment, _ = _environment("duckdb")
    environment.globals |= load_macros()
    query: str = environment.from_string((project_dir() / "models" / path).read_text()).render()
    return query


def _environment(dialect: str) -> tuple[Any, dict[str, Any]]:
    """Jinja with the few things of dbt that these files use, and the macros it dispatches to."""
    import jinja2
    import yaml

    def give(value: Any) -> Any:
        raise _Return(value)

    project = yaml.safe_load((project_dir() / "dbt_project.yml").read_text())
    macros: dict[str, Any] = {}
    # The output is SQL for our own engine, not a page.
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701
    environment.globals |= {
        "adapter": _Adapter(macros, dialect),
        "return": give,
        "config": lambda **_: "",
        "ref": lambda model: model,
        "source": lambda schema, table: f"{schema}.{table}",
        "var": project["vars"].__getitem__,
    }
    return environment, macros

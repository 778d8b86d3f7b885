"""dbt as a run starts it: `klantbeeld-dbt`, or `python -m klantbeeld.transform`.

The same commands and flags as `dbt`, with three differences: it is killed when its parent ends (a
dbt left behind by a killed run would keep the build file locked), variables that are not set yet
point at the home's build, and the generated files are brought up to date first.
"""

import os

from klantbeeld.processes import die_with_parent
from klantbeeld.transform import registry


def main() -> None:
    """Run dbt with this process's arguments."""
    die_with_parent()
    if "KLANTBEELD_WAREHOUSE_FILE" not in os.environ:
        from klantbeeld.settings import load_settings
        from klantbeeld.transform.project import build_environment

        for name, value in build_environment(load_settings()).items():
            os.environ.setdefault(name, value)
    os.umask(0o077)
    registry.refresh()
    from dbt.cli.main import cli

    cli()


if __name__ == "__main__":
    main()

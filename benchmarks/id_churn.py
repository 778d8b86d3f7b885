"""How many known records change profile when one per cent more records come.

`python -m benchmarks.id_churn --persons 20000` links invented people without every 101st record,
publishes, and links all of them anew, on ordinary and on doubled errors.
"""

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.populations import Noise
from klantbeeld import identity
from klantbeeld.identity.stage import How
from tests.fixtures.linkage_build import make_build

SEED = 23


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=20_000)
    persons = parser.parse_args().persons
    print("errors  records   new   known  moved   share  merged  split")
    for scale in (1.0, 2.0):
        with tempfile.TemporaryDirectory() as folder:
            build = make_build(Path(folder), persons, SEED, Noise(scale=scale))
            with closing(build.con):
                is_late = pa.array([n % 101 == 100 for n in range(build.records.num_rows)])
                build.load(build.records.filter(pc.invert(is_late)))
                build.link("before")
                build.publish("v1")
                build.load(build.records)
                grown = identity.link(build.con, build.settings, build.control, "after", How.ALL)
            print(
                f"{scale:6.0f}  {grown.records:7,}  {grown.records - grown.known_records:4,}"
                f"  {grown.known_records:6,}  {grown.moved_records:5}  {grown.moved_share:.3%}"
                f"  {grown.merged_ids:6}  {grown.split_ids:5}"
            )
            build.control.close()


if __name__ == "__main__":
    main()

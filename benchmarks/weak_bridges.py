"""What holding weak bridges costs and gives: quality of the clusters with and without.

`python -m benchmarks.weak_bridges --persons 20000` links invented people with the default model, on
ordinary and on doubled errors, and holds bridges up to several probabilities, as in a first run.
"""

import argparse
import time

import numpy as np
import pyarrow as pa

from benchmarks.populations import Noise, population
from klantbeeld.identity import preparation
from klantbeeld.identity.aliases import NO_ALIASES
from klantbeeld.identity.constraints import Binding
from klantbeeld.identity.evaluation import evaluate_clusters
from klantbeeld.identity.linking import link_people
from klantbeeld.identity.model import default_model
from klantbeeld.identity.review import hold
from klantbeeld.identity.suppression import suppress_values
from klantbeeld.settings import IdentitySettings

SEED = 5
PROBABILITIES = (IdentitySettings().join_probability, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=20_000)
    persons = parser.parse_args().persons
    nobody = pa.schema([("record_id", pa.string()), ("profile_id", pa.string())]).empty_table()
    print("errors  records  up to  bridges  right  precision  recall  B-cubed F1  CPU s")
    for scale in (1.0, 2.0):
        records, truth = population(persons, SEED, Noise(scale=scale))
        con = preparation.connect(2, "2GB")
        count = preparation.make_people(con, records)
        suppress_values(con, bytes(32))
        linkage = link_people(con, default_model(), count, IdentitySettings().join_probability)
        labels = linkage.clusters.labels
        con.register("given_truth", truth.rename_columns(["record_id", "cluster"]))
        people = con.execute(
            "select dense_rank() over (order by cluster) as person "
            "from people inner join given_truth using (record_id) order by id"
        ).fetchnumpy()["person"]
        numbers = np.arange(count)
        con.register("truth", pa.table({"record_id": numbers, "cluster": people}))
        binding = Binding(None, np.full(count, -1), 0, 0, (), NO_ALIASES)
        for probability in PROBABILITIES:
            started = time.process_time()
            settings = IdentitySettings(review_probability=probability)
            held = hold(con, labels, binding, nobody, settings)
            seconds = time.process_time() - started
            con.register("found", pa.table({"record_id": numbers, "cluster": held.labels}))
            quality = evaluate_clusters(con, "found", "truth")
            one, other = held.bridges
            right = int((people[one] == people[other]).sum())
            print(
                f"{scale:6.0f}  {count:7,}  {probability:5}  {len(one):7}  {right:5}"
                f"  {quality.pair_precision:9.4f}  {quality.pair_recall:6.4f}"
                f"  {quality.bcubed_f1:10.4f}  {seconds:5.2f}"
            )
        con.close()


if __name__ == "__main__":
    main()

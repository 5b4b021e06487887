"""The Gaussian row of the tables: what a normal with full covariance scores, fitted in closed form.

    python experiments/gaussian.py power red_wine ionosphere boston mnist_logit cifar10_logit

Prints one JSON line for each table: nats on the test part, or over all rows of tables that are scored in ten folds,
with the standard error over rows. Published: POWER -7.74, MNIST -1366.9, CIFAR-10 2367 (Papamakarios et al. 2017, table
1); red wine -13.18, ionosphere -41.24, Boston -11.37 (Uria et al. 2013, table 1).
"""

import argparse
import json

import numpy as np

from jflows.data import KNOWN, NUM_FOLDS, load
from jflows.eval import LogLikelihood, gaussian_baseline


def row(name: str) -> dict[str, object]:
    """The score of one table."""
    if "fold" not in KNOWN[name].options:
        score = gaussian_baseline(load(name, "train").x, load(name, "test").x)
    else:
        parts = [(load(name, "train", fold=k).x, load(name, "test", fold=k).x) for k in range(NUM_FOLDS)]
        scores = [gaussian_baseline(train, test) for train, test in parts]
        nats = float(np.mean([score.nats for score in scores]))
        over_folds = float(np.std([score.nats for score in scores], ddof=1) / np.sqrt(NUM_FOLDS))
        score = LogLikelihood(nats, over_folds)
    return {"data": name, "nats": round(score.nats, 3), "standard_error": round(score.standard_error, 3)}


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=[name for name, known in KNOWN.items() if known.kind == "table"])
    for name in parser.parse_args().data:
        print(json.dumps(row(name)), flush=True)


if __name__ == "__main__":
    main()

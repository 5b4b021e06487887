"""Do the tests of latents call draws of the base unusual as often as they say, and do they find known faults?

Each row is over `--seeds` sets of 2,000 latents of 64 entries: the share with p <= 0.05 by each test and by all
together; `deviations` is the share with a dimension found at a false discovery rate of 0.05, and `right`, of faults of
one dimension or pair, that in which the first that is found is the right one. `base` has draws of the base, where
all shares should be 5 %; every `--per-null` sets are compared with sets of their own, which adds to their spread.

    python benchmarks/latent_tests.py [--rows base,skewness,...] [--seeds 1000] [--per-null 200] [--sets 499]

Faults: one dimension of skewness 0.5 (a shifted and scaled gamma variable), two dimensions of correlation 0.15, all
scales 5 % too narrow, and one dimension a mixture of normals at -1.2 and 1.2 with deviations of 1, as it is or divided
by its deviation. Faults are tried on `--seeds` / 5 sets.
"""

import argparse
import json
import time
from collections import Counter

import numpy as np

from jflows.eval.latent_tests import LatentNull, LatentReport, latent_null, latent_tests

NUM, DIM, LEVEL = 2000, 64, 0.05
PLACE, OTHER = 17, 40  # of the dimensions that are changed


def skewness(z: np.ndarray, random: np.random.Generator) -> None:
    """Gives one dimension a skewness of 0.5."""
    shape = (2 / 0.5) ** 2  # the skewness of a gamma variable is 2 / sqrt(shape)
    z[:, PLACE] = (random.gamma(shape, size=NUM) - shape) / np.sqrt(shape)


def correlation(z: np.ndarray, random: np.random.Generator) -> None:
    """Gives two dimensions a correlation of 0.15."""
    z[:, PLACE] = 0.15 * z[:, OTHER] + np.sqrt(1 - 0.15**2) * z[:, PLACE]


def narrow(z: np.ndarray, random: np.random.Generator) -> None:
    """Makes all scales 5 % too narrow."""
    z *= 0.95


def mixture(z: np.ndarray, random: np.random.Generator) -> None:
    """Makes one dimension a mixture of normals at -1.2 and 1.2, whose deviations are 1."""
    z[:, PLACE] += 1.2 * random.choice([-1, 1], NUM)


def scaled_mixture(z: np.ndarray, random: np.random.Generator) -> None:
    """The same mixture, divided by its deviation."""
    mixture(z, random)
    z[:, PLACE] /= np.sqrt(1 + 1.2**2)


FAULTS = {each.__name__: each for each in (skewness, correlation, narrow, mixture, scaled_mixture)}
BASE = "base"


def is_right(name: str, report: LatentReport) -> bool:
    """Whether what is found first is what was changed."""
    if name == "correlation":
        return (report.pairs[0].first, report.pairs[0].second) == (PLACE, OTHER) and report.pairs[0].p_value <= LEVEL
    found = report.found(LEVEL)
    return bool(found) and found[0].dimension == PLACE


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="False alarms and power of the tests of latents.")
    parser.add_argument("--rows", default=",".join((BASE, *FAULTS)))
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--per-null", type=int, default=200)
    parser.add_argument("--sets", type=int, default=499)
    options = parser.parse_args()
    nulls: dict[int, LatentNull] = {}
    for name in options.rows.split(","):
        start, alarms = time.perf_counter(), Counter()
        seeds = options.seeds if name == BASE else options.seeds // 5
        for seed in range(seeds):
            number = seed // options.per_null
            if number not in nulls:
                nulls = {number: latent_null(NUM, DIM, num_sets=options.sets, seed=1000 + number)}
            random = np.random.default_rng(seed)
            z = random.standard_normal((NUM, DIM))
            if name != BASE:
                FAULTS[name](z, random)
            report = latent_tests(z, nulls[number])
            alarms["all"] += report.p_value <= LEVEL
            alarms["deviations"] += bool(report.found(LEVEL))
            alarms["right"] += name not in (BASE, "narrow") and is_right(name, report)
            for test in report.tests:
                alarms[test.name] += test.p_value <= LEVEL
        row = {"row": name, "num": NUM, "dim": DIM, "seeds": seeds, "sets": options.sets, "level": LEVEL}
        row |= {each: round(count / seeds, 4) for each, count in alarms.items()}
        if name in (BASE, "narrow"):
            del row["right"]
        print(json.dumps({**row, "seconds": round(time.perf_counter() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()

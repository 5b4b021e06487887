"""Does `jflows.eval.calibration` reject exact posteriors as often as it says, and how often does it find wrong ones?

Each row is over `--seeds` sets of 500 cases with 99 draws each: the share with p <= 0.05 by all tests together, by
those of ranks and by those of the transform, and by the tests of ranks of the first dimension and of coverage alone.
The posterior is N(0, I) of 1, 2 or 5 dimensions; the density whose draws are ranked is as wide, 0.9 times as wide, or
1 / 0.9 times.
Every `--per-null` sets are compared with sets of their own, which adds to their spread.

    python benchmarks/calibration.py [--seeds 1000] [--sets 1999] [--per-null 20]
"""

import argparse
import json

import numpy as np
from scipy.special import ndtr

from jflows.eval import Ranks, calibration

CASES, DRAWS, LEVEL = 500, 99, 0.05
COLUMNS = ("all", "ranks", "pit", "first_dimension", "coverage")


def cases(seed: int, dim: int, width: float) -> tuple[Ranks, np.ndarray]:
    """Ranks of draws of the posterior among draws of the density, and their transform by the density."""
    random = np.random.default_rng(seed)
    x, drawn = random.standard_normal((CASES, dim)), width * random.standard_normal((DRAWS, CASES, dim))
    less_likely = (drawn**2).sum(axis=-1) > (x**2).sum(axis=-1)
    return Ranks((drawn < x).sum(axis=0), less_likely.sum(axis=0), DRAWS), ndtr(x / width)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="False alarms and power of calibration.")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=1999)
    parser.add_argument("--per-null", type=int, default=20)
    options = parser.parse_args()
    for dim in (1, 2, 5):
        for width in (1.0, 0.9, 1 / 0.9):
            p_values = []
            for seed in range(options.seeds):
                settings = {"num_sets": options.sets, "seed": seed // options.per_null}
                found = calibration(*cases(seed, dim, width), **settings)
                alone = found.tests[0].p_value, found.tests[-1].p_value
                p_values.append((found.p_value, found.ranks_p_value, found.pit_p_value, *alone))
            shares = (np.array(p_values) <= LEVEL).mean(axis=0).round(4)
            row = {"dim": dim, "width": round(width, 3), "cases": CASES, "draws": DRAWS, "seeds": options.seeds}
            row |= dict(zip(COLUMNS, map(float, shares), strict=True))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

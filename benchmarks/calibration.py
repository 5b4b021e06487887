"""Does `jflows.eval.calibration` reject exact posteriors as often as it says, and how often does it find wrong ones?

Each row is over `--seeds` sets of 500 cases with 99 draws each: the share with p <= 0.05 by all tests together, and by
the tests of the first dimension and of coverage alone. The posterior is N(0, I) of 1, 2 or 5 dimensions; the density
whose draws are ranked is as wide, 0.9 times as wide, or 1 / 0.9 times.

    python benchmarks/calibration.py [--seeds 1000] [--sets 999]
"""

import argparse
import json

import numpy as np

from jflows.eval import Ranks, calibration

CASES, DRAWS, LEVEL = 500, 99, 0.05


def ranks(seed: int, dim: int, width: float) -> Ranks:
    """Ranks of draws of the posterior among draws of the density."""
    random = np.random.default_rng(seed)
    x, drawn = random.standard_normal((CASES, dim)), width * random.standard_normal((DRAWS, CASES, dim))
    less_likely = (drawn**2).sum(axis=-1) > (x**2).sum(axis=-1)
    return Ranks((drawn < x).sum(axis=0), less_likely.sum(axis=0), DRAWS)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="False alarms and power of calibration.")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=999)
    options = parser.parse_args()
    for dim in (1, 2, 5):
        for width in (1.0, 0.9, 1 / 0.9):
            p_values = []
            for seed in range(options.seeds):
                found = calibration(ranks(seed, dim, width), num_sets=options.sets, seed=seed)
                p_values.append((found.p_value, found.tests[0].p_value, found.tests[-1].p_value))
            shares = (np.array(p_values) <= LEVEL).mean(axis=0).round(4)
            row = {"dim": dim, "width": round(width, 3), "cases": CASES, "draws": DRAWS, "seeds": options.seeds}
            row |= dict(zip(("all", "first_dimension", "coverage"), map(float, shares), strict=True))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

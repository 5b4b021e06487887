"""From a cold start, how long until two moons are learned, and how many steps per second after that?

    python benchmarks/two_moons.py --other-python PATH      # of an environment with flowjax

8 affine couplings in the plane, Adam 1e-3, 20,480 training rows and 5,120 held out, scored after every epoch:
`jflows.fit` against flowjax's `fit_to_data`. "small" has the sizes that flowjax takes by default: MLPs of one hidden
layer of 50, batch 100. "large": two hidden layers of 64, batch 256. Scales are bounded differently and networks
start differently, so epochs to the target differ (`target_epoch`). Each run is a new process without a cache of
compiled programs; seconds count from its start, imports and compilation included, to the first score of at most
`TARGET` nats. Steps per second are those of the median epoch after the first two, evaluation included. Runs take turns,
and change who begins; one JSON line per pair of runs, and one of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jflows.data.toys import two_moons

NUM_ROWS, NUM_TRAIN = 25_600, 20_480
TARGET = 1.10  # nats per event


class Size(NamedTuple):
    """Of one comparison; the worker takes the same numbers on its command line."""

    num_epochs: int
    width: int
    depth: int
    batch: int


SIZES = {"small": Size(30, 50, 1, 100), "large": Size(30, 64, 2, 256)}


def run(library: str, python: str, rows: Path, size: Size) -> dict:
    """One run in a new process: seconds to the target, steps per second, best score, versions."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    worker = Path(__file__).with_name("two_moons_worker.py")
    start = time.time()
    command = [python, str(worker), library, str(rows), *map(str, size)]
    finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return summary(json.loads(finished.stdout), start, NUM_TRAIN // size.batch)


def summary(output: dict, start: float, steps_per_epoch: int) -> dict:
    """What one run of the worker says."""
    clock, nll = (np.array(column) for column in zip(*output["epochs"], strict=True))
    reached = np.flatnonzero(nll <= TARGET)
    return {
        "first_epoch_s": round(clock[0] - start, 2),
        "target_s": round(clock[reached[0]] - start, 2) if reached.size else None,
        "target_epoch": int(reached[0]) + 1 if reached.size else None,
        "steps_per_s": round(steps_per_epoch / statistics.median(np.diff(clock)[1:]), 1),
        "best_nll": round(float(nll.min()), 4),
        "versions": output["versions"],
    }


def compare(title: str, num_pairs: int, pythons: dict[str, str], rows: Path) -> None:
    """Prints pairs of runs of one size, and the medians of their ratios."""
    cold, warm = [], []
    for pair in range(num_pairs):
        order = list(pythons)[:: 1 if pair % 2 == 0 else -1]
        runs = {library: run(library, pythons[library], rows, SIZES[title]) for library in order}
        ours, theirs = runs["jflows"], runs["flowjax"]
        if ours["target_s"] and theirs["target_s"]:
            cold.append(theirs["target_s"] / ours["target_s"])
        warm.append(ours["steps_per_s"] / theirs["steps_per_s"])
        row = {"benchmark": f"two_moons/{title}", "pair": pair, "target_nll": TARGET}
        print(json.dumps(row | {name: runs[name] for name in pythons}), flush=True)
    ratios = {"cold_times_faster": cold, "warm_times_faster": warm}
    row = {"benchmark": f"two_moons/{title}", "what": "medians", "pairs": num_pairs}
    row |= {name: round(statistics.median(values), 2) if values else None for name, values in ratios.items()}
    print(json.dumps(row), flush=True)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other-python", required=True, help="python of an environment with flowjax")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", choices=tuple(SIZES), help="one size only")
    options = parser.parse_args()
    pythons = {"jflows": sys.executable, "flowjax": options.other_python}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npy"
        np.save(rows, two_moons(NUM_ROWS).x)
        for title in SIZES if options.size is None else (options.size,):
            compare(title, options.pairs, pythons, rows)


if __name__ == "__main__":
    main()

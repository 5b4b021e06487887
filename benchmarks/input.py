"""How long does training wait for images on disk, and how much memory do they take?

    python benchmarks/input.py > benchmarks/results/input.jsonl

Each line is one run in a process of its own, with images in memory or on disk (`stream`):

    wait     glow_cifar10 with its own settings but log_every=10: the share of the training time spent in waiting for
             the next batch, an upper bound of the stall, as a device computes meanwhile; and seconds a step
    memory   two epochs of a tiny Glow over a folder of generated 32x32 images: the memory of the process (RSS, in MB)
             a tenth into the first epoch, at the end of both, and the most
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BATCH = 250


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="What images on disk cost.")
    parser.add_argument("--steps", type=int, default=100, help="steps of glow_cifar10")
    parser.add_argument("--images", type=int, default=100_000, help="images of the generated folder")
    parser.add_argument("--folder", help="a folder that holds them already")
    parser.add_argument("--row", nargs=2, metavar=("KIND", "STREAM"), help="one row, in this process")
    options = parser.parse_args()
    if options.row:
        kind, stream = options.row[0], options.row[1] == "True"
        found = wait(options.steps, stream) if kind == "wait" else memory(Path(options.folder), stream)
        print(json.dumps({"kind": kind, "stream": stream, **found}), flush=True)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(options.folder or place)
        if options.folder is None:
            generate(folder, options.images)
        for kind in ("wait", "memory"):
            for stream in (False, True):
                given = ["--steps", str(options.steps), "--folder", str(folder), "--row", kind, str(stream)]
                subprocess.run([sys.executable, __file__, *given], check=True)


def generate(folder: Path, num: int) -> None:
    """Writes images of smooth noise, PNG 32x32x3."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(num):
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        small.resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{number:06d}.png", compress_level=1)


class Watched:
    """Batches, with the time spent in waiting for each, and the memory of the process after it."""

    def __init__(self, batches: Iterator):
        self.batches, self.waits, self.at, self.megabytes = batches, [], [], []

    def __next__(self):
        """The next batch."""
        started = time.perf_counter()
        batch = next(self.batches)
        self.at.append(time.perf_counter())
        self.waits.append(self.at[-1] - started)
        self.megabytes.append(resident())
        return batch


def resident() -> float:
    """The memory of this process, in MB."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return float(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(flow, data, config) -> Watched:
    """Trains, and returns the batches that were used."""
    from jflows.data import TrainBatches
    from jflows.train import fit

    seen, along = [], TrainBatches.along

    def watching(self, calls, rows=None):
        seen.append(Watched(along(self, calls, rows)))
        return seen[-1]

    TrainBatches.along = watching
    fit(flow, data, config)
    seen[-1].at.append(time.perf_counter())
    return seen[-1]


def wait(steps: int, stream: bool) -> dict[str, float]:
    """The share of glow_cifar10's training that waits for batches, from the second call on."""
    import dataclasses

    from jflows.runs import find_recipe
    from jflows.runs.data import outline_of

    _, recipe = find_recipe("glow_cifar10")
    data = dataclasses.replace(recipe.data, stream=stream).load("train")
    config = dataclasses.replace(recipe.train, steps=steps, log_every=10, checkpoint_every=steps)
    found = watched(recipe.build(outline_of(data)), data, config)
    total = found.at[-1] - found.at[0]
    waiting = sum(found.waits[1:])
    return {"steps": steps, "share": round(waiting / total, 5), "seconds_per_step": round(total / steps, 4)}


def memory(folder: Path, stream: bool) -> dict[str, float]:
    """The memory of two epochs over a folder."""
    from jflows import glow
    from jflows.data import load
    from jflows.train import TrainConfig

    started = time.perf_counter()
    data = load(folder, stream=stream)
    loaded = time.perf_counter() - started
    steps = 2 * len(data) // BATCH
    build = functools.partial(glow, num_levels=1, num_steps=1, width=4)
    config = TrainConfig(steps=steps, batch_size=BATCH, log_every=max(1, steps // 50))
    found = watched(build(data.event_shape), data, config)
    first, half = (found.megabytes[len(found.megabytes) // part] for part in (20, 2))
    numbers = {"a_tenth_in": first, "after_one": half, "after_two": found.megabytes[-1], "most": max(found.megabytes)}
    rounded = {name: round(value) for name, value in numbers.items()}
    return {"images": len(data), "load_seconds": round(loaded, 1), **rounded}


if __name__ == "__main__":
    main()

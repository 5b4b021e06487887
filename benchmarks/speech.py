"""How near to its frames, how fast and in how much memory does a flow turn mel spectrograms into speech?

    python benchmarks/speech.py RUN [--temperatures 0,0.5,0.7,1] [--iterations 60] [--lengths 8,80,800]

The frames are those of all test sentences of the run's data, one after the other. `distance` is the mean difference of
log mels from them, in nats, and `speed` says how many seconds of sound one second of computing gives, without
compilation; the same for Griffin and Lim's algorithm, which gets the same frames. The rows of `memory` are the peaks
of processes that vocode recordings of these lengths, in seconds, all else alike.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jflows.data import KNOWN
from jflows.data.audio import log_mel
from jflows.data.audio.wav import writing
from jflows.eval.speech import griffin_lim, log_mel_distance
from jflows.runs.trained import TrainedRun
from jflows.runs.vocoding import Vocoder

CHILD = """
import atexit, resource, sys
from jflows.cli import main
atexit.register(lambda: print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
main(sys.argv[1:])
"""


def recording_of(vocoder: Vocoder) -> np.ndarray:
    """All test sentences, one after the other: float32 [num]."""
    known = KNOWN[vocoder.run.stored.recipe.data.name]
    return np.concatenate(known.spoken("test"))  # pyright: ignore[reportAttributeAccessIssue]


def distances(
    vocoder: Vocoder, recording: np.ndarray, temperatures: list[float], iterations: int, folder: Path
) -> None:
    """Prints the rows of the flow and of Griffin and Lim's algorithm."""
    frames, setting = vocoder.frames_of(recording), vocoder.setting
    seconds = len(recording) / setting.rate
    for temperature in temperatures:
        found = vocoder.save(frames, folder / "out.wav", temperature=temperature)
        row = {"row": "flow", "temperature": temperature, "distance": round(found.distance, 4)}
        row |= {"speed": round(found.speed, 2), "clipped": found.num_clipped, "seconds": round(seconds, 1)}
        print(json.dumps(row), flush=True)
    mels, start = log_mel(recording, setting), time.perf_counter()
    samples = griffin_lim(mels, setting, iterations)
    speed = seconds / (time.perf_counter() - start)
    distance = log_mel_distance(vocoder.frames_of(samples), frames)
    row = {"row": "griffin_lim", "iterations": iterations, "distance": round(distance, 4), "speed": round(speed, 2)}
    print(json.dumps({**row, "seconds": round(seconds, 1)}), flush=True)


def memory(run: Path, recording: np.ndarray, lengths: list[float], rate: int, folder: Path) -> None:
    """Prints the peak of a process for each length of a recording, in MB."""
    for seconds in lengths:
        with writing(folder / "in.wav", rate) as writer:
            writer.write(np.resize(recording, int(seconds * rate)))
        options = ["vocode", run, "--input", folder / "in.wav", "--out", folder / "out.wav"]
        command = [sys.executable, "-c", CHILD, *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak = float(done.stdout.rsplit("peak", 1)[1])
        print(json.dumps({"row": "memory", "seconds": seconds, "peak_mb": round(peak)}), flush=True)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="Distance, speed and memory of a vocoder.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--temperatures", default="0,0.5,0.7,1")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--lengths", default="8,80,800")
    options = parser.parse_args()
    vocoder = Vocoder(TrainedRun.open(options.run))
    recording = recording_of(vocoder)
    with tempfile.TemporaryDirectory() as folder:
        temperatures = [float(each) for each in options.temperatures.split(",")]
        distances(vocoder, recording, temperatures, options.iterations, Path(folder))
        lengths = [float(each) for each in options.lengths.split(",")]
        memory(options.run, recording, lengths, vocoder.setting.rate, Path(folder))


if __name__ == "__main__":
    main()

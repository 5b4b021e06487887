"""One of several processes that train, score and sample together; what it finds goes to OUT for the test to look at.

python worker.py OUT MODE
"""

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import optax

import jflows
from jflows.data import TableData, eval_batches
from jflows.errors import JflowsError
from jflows.eval import evaluate, row_scores, sample_in_chunks
from jflows.processes import together
from jflows.train import config as train_config

STEPS, STOP = 100, 50
SEED = 5
NARROW = jflows.realnvp((3,), num_layers=2, hidden_sizes=(8,))
WIDE = jflows.realnvp((3,), num_layers=2, hidden_sizes=(128, 128))  # with kernels large enough for fsdp to divide


def rows(num: int, seed: int = 0) -> TableData:
    return TableData("drawn", np.random.RandomState(seed).normal(size=(num, 3)).astype(np.float32))


def settings(parallel: str) -> jflows.TrainConfig:
    intervals = {
        "log_every": 25,
        "steps_per_call": 25,
        "checkpoint_every": 100,
        "eval_every": 50,
        "eval_batch_size": 10,
    }
    return jflows.TrainConfig(steps=STEPS, batch_size=16, init_batch=64, parallel=parallel, **intervals)


def fit(parallel: str, directory: Path | None, resume: bool = False, **options):
    """100 steps of SGD: Adam would hide a wrong factor."""
    train_config.make_optimizer = lambda **_: optax.sgd(1e-2)
    flow = WIDE if parallel == "fsdp" else NARROW
    start = jflows.runs.RunDirectory.resume if resume else jflows.runs.RunDirectory.create
    run = None if directory is None else start(directory, flow)
    return jflows.fit(flow, rows(200), settings(parallel), validation=rows(33, 1), run=run, progress=False, **options)


def leaves(state) -> list[np.ndarray]:
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def scored(variables, flow=NARROW) -> dict[str, np.ndarray]:
    """The mean score of rows that fill neither batches nor devices, the scores of each, and samples."""
    key, batches = jax.random.key(SEED), lambda: eval_batches(rows(77, 2), 10, flow.reading)
    samples = np.concatenate(list(sample_in_chunks(flow, variables, key, 300, chunk_size=70)))
    scores = np.concatenate(list(row_scores(flow, variables, batches(), key)))
    return {"mean": np.array(evaluate(flow, variables, batches(), key)), "scores": scores, "samples": samples}


def message(function, *given) -> str:
    try:
        function(*given)
    except JflowsError as error:
        return str(error)
    return ""


def fail() -> None:
    raise OSError("no space left")


def main(out: Path, parallel: str) -> None:
    jax.config.update("jax_enable_x64", True)
    jflows.start_processes()
    index, found = jax.process_index(), {}

    def terminate(entry) -> None:
        if entry["step"] == STOP and index == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = fit(parallel, out / "run", callback=terminate)
    np.savez(out / f"stopped_{index}.npz", *leaves(stopped.state))
    ended = fit(parallel, out / "run", resume=True)
    np.savez(out / f"ended_{index}.npz", *leaves(ended.state))
    begun = fit(parallel, out / "begun", resume=True)
    np.savez(out / f"begun_{index}.npz", *leaves(begun.state))
    flow = WIDE if parallel == "fsdp" else NARROW
    variables = jflows.load(out / "run", checkpoint="latest")[1]
    np.savez(out / f"scored_{index}.npz", **scored(variables, flow))
    found["stopped"] = [stopped.interrupted, int(stopped.state.step), ended.interrupted, int(ended.state.step)]
    found["unlike"] = message(together.check_alike, "fit", {"steps": 5, "batch_size": 16 + 16 * index})
    found["failed"] = message(together.by_first, "run", fail) if index else ""
    if not index:
        try:
            together.by_first("run", fail)
        except OSError as error:
            found["failed"] = str(error)
    found["none"] = message(fit, "none", None)
    found["divides"] = message(jflows.train.Runner, None, parallel, 15, 1)
    (out / f"found_{index}.json").write_text(json.dumps(found))
    print(f"process {index} is done")
    sys.stdout.flush()
    together.any_of(False)
    if index == 1:
        print("the last words of process 1", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    together.any_of(False)  # waits for process 1, in vain


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

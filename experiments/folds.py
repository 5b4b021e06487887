"""A config on all ten folds of a table, as the RNADE paper scores red wine, ionosphere and Boston.

    python experiments/folds.py made_red_wine --out experiments/results/made_red_wine.json

In each fold nine tenths are for training, of which the config's `num_validation` rows choose when to stop; the last
tenth is scored once. The score of a table is the mean over folds, with the standard error over folds.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

from jflows.cli.configs import load_config
from jflows.cli.datasets import load_config_data
from jflows.cli.pictures import saving
from jflows.data import NUM_FOLDS, eval_batches
from jflows.eval import evaluate
from jflows.train import TableConfig, fit


def train(config: TableConfig) -> dict[str, float]:
    """One fold: nats on its test rows, and the step that validation chose."""
    data, validation, test = (load_config_data(config, split) for split in ("train", "validation", "test"))
    flow = config.build(data.event_shape, data.num_classes)
    start = time.perf_counter()
    result = fit(flow, data, config, validation=validation)
    seconds = time.perf_counter() - start
    if result.interrupted:
        raise SystemExit(f"stopped in fold {config.fold}")
    batches = eval_batches(test, config.eval_batch_size, flow.reading)
    score = evaluate(flow, result.variables, batches, jax.random.key(0))
    return {"fold": config.fold, "nats": round(score.nats, 4), "step": result.step, "seconds": round(seconds, 1)}


def main() -> None:
    """Reads the command line, prints a row for each fold, and writes them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="name of a config of a table with folds")
    parser.add_argument("--out", type=Path, help="JSON to write; default runs/<config>_folds.json")
    parser.add_argument("--folds", type=int, default=NUM_FOLDS, help="only the first so many")
    options = parser.parse_args()
    config = load_config(options.config)()
    if not isinstance(config, TableConfig):
        parser.error(f"{options.config} is not a config of a table")
    rows = []
    for fold in range(options.folds):
        rows.append(train(dataclasses.replace(config, fold=fold)))
        print(json.dumps(rows[-1]), flush=True)
    nats = [row["nats"] for row in rows]
    error = float(np.std(nats, ddof=1) / np.sqrt(len(nats))) if len(nats) > 1 else None
    report = {"nats": round(float(np.mean(nats)), 4), "standard_error": error and round(error, 4), "folds": rows}
    print(json.dumps({name: report[name] for name in ("nats", "standard_error")}))
    with saving(options.out or Path("runs") / f"{options.config}_folds.json") as partial:
        partial.write_text(json.dumps({**report, "config": config.to_json()}, indent=2) + "\n")


if __name__ == "__main__":
    main()

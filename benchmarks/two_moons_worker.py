"""One training run on two moons from a cold start, for `benchmarks/two_moons.py`: jflows or flowjax.

    python two_moons_worker.py LIBRARY ROWS.npy EPOCHS WIDTH DEPTH BATCH

Prints one JSON line: for every epoch the wall clock (seconds since 1970) and the held-out negative log-likelihood.
"""

import importlib.metadata
import json
import sys
import time

import numpy as np

NUM_LAYERS, LEARNING_RATE, HELD_OUT = 8, 1e-3, 0.2
Epochs = list[tuple[float, float]]  # wall clock, nats per event


def jflows_epochs(rows: np.ndarray, num_epochs: int, width: int, depth: int, batch: int) -> Epochs:
    """`jflows.fit`: one compiled call per epoch; no averaging of parameters, as flowjax has none."""
    import jflows
    from jflows.data import TableData
    from jflows.train import TrainConfig

    num_train = round(len(rows) * (1 - HELD_OUT))
    steps = num_train // batch
    config = TrainConfig(
        steps=num_epochs * steps,
        batch_size=batch,
        learning_rate=LEARNING_RATE,
        warmup_steps=0,
        schedule="constant",
        ema_decay=0.0,
        steps_per_call=steps,
        log_every=steps,
        eval_every=steps,
        checkpoint_every=steps,
        eval_batch_size=len(rows) - num_train,
    )
    flow = jflows.realnvp((2,), NUM_LAYERS, (width,) * depth, standardize=False)
    train, held_out = TableData("train", rows[:num_train]), TableData("held_out", rows[num_train:])
    epochs: Epochs = []

    def collect(entry: dict[str, float]) -> None:
        epochs.append((time.time(), entry["validation_nll"]))

    jflows.fit(flow, train, config, validation=held_out, callback=collect)
    return epochs


def flowjax_epochs(rows: np.ndarray, num_epochs: int, width: int, depth: int, batch: int) -> Epochs:
    """`fit_to_data`; what it would show on its progress bar after an epoch is taken down instead of shown."""
    import flowjax.train.loops
    import jax
    import jax.numpy as jnp
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow
    from flowjax.train import fit_to_data

    epochs: Epochs = []

    class Bar:
        def __init__(self, items, disable: bool):
            self.items = items

        def __iter__(self):
            return iter(self.items)

        def set_postfix(self, losses: dict[str, float]) -> None:
            epochs.append((time.time(), losses["val"]))

    flowjax.train.loops.tqdm = Bar
    key, fit_key = jax.random.split(jax.random.key(0))
    sizes = dict(flow_layers=NUM_LAYERS, nn_width=width, nn_depth=depth)
    flow = coupling_flow(key, base_dist=Normal(jnp.zeros(2)), **sizes)
    settings = dict(learning_rate=LEARNING_RATE, batch_size=batch, val_prop=HELD_OUT, show_progress=False)
    fit_to_data(fit_key, flow, jnp.asarray(rows), max_epochs=num_epochs, max_patience=num_epochs, **settings)
    return epochs


def main() -> None:
    """Trains and prints."""
    library, path, *numbers = sys.argv[1:]
    epochs = {"jflows": jflows_epochs, "flowjax": flowjax_epochs}[library](np.load(path), *map(int, numbers))
    versions = {name: importlib.metadata.version(name) for name in (library, "jax") if name != "jflows"}
    print(json.dumps({"epochs": epochs, "versions": versions}))


if __name__ == "__main__":
    main()

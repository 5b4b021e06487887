"""A mixture of flows from several seeds, of which the one with the highest ELBO is kept; labels only score it.

    python experiments/clusters.py vmonf_pinwheel --out experiments/results/vmonf_pinwheel
    python experiments/clusters.py vmonf_pinwheel --num-components 10 --out experiments/results/vmonf_pinwheel_k10

Every setting of the config is an option. Writes `clusters.json` (every restart: ELBO and log-likelihood in nats on the
training rows, by which it is chosen; on the test rows accuracy, NMI and ARI; the same scores of a Gaussian mixture by
EM), and, in the plane, `clusters.png`, the map of every restart; of images, `samples.png`, one row for each component.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import jax

from jflows.cli import configs, mixture_output
from jflows.cli.datasets import load_config_data
from jflows.cli.pictures import saving
from jflows.data import TableData
from jflows.errors import JflowsError
from jflows.eval import cluster_plots, cluster_scores, fit_gaussian_mixture
from jflows.flows import MixtureOfFlows
from jflows.train import MixtureConfig, fit
from jflows.typing import Variables

MAX_DIM = 100  # of data that a Gaussian mixture with full covariances is fitted to


def train(config: MixtureConfig, data: TableData, test: TableData) -> tuple[dict[str, Any], MixtureOfFlows, Variables]:
    """One restart: its row, the mixture, and its trained variables."""
    mixture = config.build(data.event_shape, data.num_classes)
    start = time.perf_counter()
    result = fit(mixture, data, config)
    seconds = time.perf_counter() - start
    if result.interrupted:
        raise SystemExit(f"stopped in the restart of seed {config.seed}")
    bound = mixture_output.report_on(mixture, result.variables, data)
    row = mixture_output.summary(mixture_output.report_on(mixture, result.variables, test))
    chosen_by = {"train_elbo": round(bound.elbo, 4), "train_nats": round(bound.nats, 4)}
    return {"seed": config.seed, **chosen_by, "seconds": round(seconds, 1), **row}, mixture, result.variables


def baseline(data: TableData, test: TableData, num_components: int) -> dict[str, Any] | None:
    """The scores of a Gaussian mixture."""
    if data.x.shape[1] > MAX_DIM or test.label is None:
        return None
    found = fit_gaussian_mixture(data.x, num_components, test.x)
    assert found.test is not None
    scores = cluster_scores(test.label, found.predict(test.x), test.num_classes, num_components)
    agreement = {name: round(getattr(scores, name), 4) for name in ("accuracy", "nmi", "ari")}
    return {"train_nats": round(found.train.nats, 4), "nats": round(found.test.nats, 4), **agreement}


def run(name: str, config: MixtureConfig, restarts: int, out: Path) -> None:
    """All restarts, the report, and the picture."""
    data, test = load_config_data(config, "train"), load_config_data(config, "test")
    assert isinstance(data, TableData) and isinstance(test, TableData)
    rows, trained = [], []
    for seed in range(config.seed, config.seed + restarts):
        row, mixture, variables = train(dataclasses.replace(config, seed=seed), data, test)
        print(json.dumps(row), flush=True)
        rows.append(row)
        trained.append((mixture, variables))
    best = max(range(restarts), key=lambda i: rows[i]["train_elbo"])
    report = {
        "chosen_seed": rows[best]["seed"],
        "accuracy": rows[best].get("accuracy"),
        "gaussian_mixture": baseline(data, test, config.num_components),
        "restarts": rows,
        "config": {"config": name, **config.to_json()},
    }
    print(json.dumps({key: report[key] for key in ("chosen_seed", "accuracy", "gaussian_mixture")}))
    with saving(out / "clusters.json") as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n")
    if data.event_shape == (2,):
        titles = [f"ELBO {row['train_elbo']:.3f}, accuracy {row['accuracy']:.3f}" for row in rows]
        titles[best] = f"chosen: {titles[best]}"
        with saving(out / "clusters.png") as partial:
            cluster_plots.responsibility_maps(trained, test.x[:2000], partial, titles=titles)
    else:
        mixture_output.draw(*trained[best], test, out, jax.random.key(0))


def main() -> None:
    """Reads the command line: the config, then its options."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    name = sys.argv[1]
    cls = configs.load_config(name)
    if not issubclass(cls, MixtureConfig):
        raise SystemExit(f"{name} is not a config of a mixture")

    def callback(restarts: int, out: Path | None, **overrides: Any) -> None:
        config = cls(**{key: value for key, value in overrides.items() if value is not None})
        run(name, config, restarts, out or Path("runs") / f"{name}_clusters")

    own = [
        click.Option(["--restarts"], type=click.IntRange(1), default=5, show_default=True, help="Seeds."),
        click.Option(["--out"], type=click.Path(file_okay=False, path_type=Path), help="Folder."),
    ]
    try:
        click.Command(name, params=[*own, *configs.field_options(cls)], callback=callback).main(sys.argv[2:])
    except JflowsError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()

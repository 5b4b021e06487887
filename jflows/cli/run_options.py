"""Arguments and options that several commands on a run directory have, and how such a command opens the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jflows.cli.types import COUNT, SEED, CheckpointType, ChoiceType, PathType
from jflows.options import LARGEST_INT


def weights_options(command: Callable) -> Callable:
    """Adds the argument that names a run directory, and the options that choose its weights."""
    run = click.argument("run", type=PathType())
    weights = click.option(
        "--weights",
        type=ChoiceType(["ema", "params"]),
        default="ema",
        show_default=True,
        help="Which parameters to use: the moving average over steps (ema), or those of the last step (params).",
    )
    checkpoint = click.option(
        "--checkpoint",
        type=CheckpointType(),
        default="auto",
        show_default=True,
        help="Which checkpoint to use: the latest, the best by validation, that of a step, or auto, which is the best "
        "if there was validation and else the latest.",
    )
    return run(weights(checkpoint(command)))


def run_options(command: Callable) -> Callable:
    """Adds the argument and the options of commands on a run directory that draw noise, or choose rows."""
    seed = click.option(
        "--seed",
        type=SEED,
        default=0,
        show_default=True,
        help="Seed of all noise and of the choice of rows; another seed gives another result.",
    )
    return weights_options(seed(command))


def data_options(command: Callable) -> Callable:
    """Adds the options that choose the rows of a command."""
    data = click.option(
        "--data", metavar="NAME|PATH", help="Data set to use instead of the run's own, by its name or path."
    )
    split = click.option(
        "--split",
        type=ChoiceType(["train", "validation", "test", "all"]),
        help="Which rows of the data to use. [default: all of a file that --data names, else test]",
    )
    return data(split(command))


def image_options(command: Callable) -> Callable:
    """Adds the options that name image files, to be used instead of rows of data."""
    image = click.option(
        "--image",
        type=PathType(),
        multiple=True,
        help="Image file to use instead of rows of data; it must have the size and colour that the flow is for. May be "
        "given several times.",
    )
    label = click.option(
        "--label", help="Class of all files of --image, by its name or number, for a conditional flow."
    )
    return image(label(command))


weight_option = click.option(
    "--weight",
    metavar="COLUMN|none",
    help="Column that holds the weights of the rows; none counts all rows alike. [default: as in training]",
)


def num_option(least: int, words: str) -> Callable:
    """The option --num of a command that judges rows which the seed chooses, of which it needs at least so many."""
    default = "[default: 2000, or all where there are fewer]"
    return click.option("--num", type=click.IntRange(least, LARGEST_INT), help=f"{words} {default}")


def num_sets_option(default: int) -> Callable:
    """The option --num-sets of a command that compares latents with draws of the base."""
    return click.option(
        "--num-sets",
        type=click.IntRange(19, LARGEST_INT),
        default=default,
        show_default=True,
        help="Number of sets of as many latents that are drawn from the base to compare with. A p-value is at least "
        "one over this number plus 1; time grows in proportion.",
    )


def png_option(default: str) -> Callable:
    """The option --out of a command that writes one picture."""
    return click.option("--out", type=PathType(".png"), metavar="PNG", help=f"Picture to write. [default: {default}]")


def scoring_options(command: Callable) -> Callable:
    """Adds the options of commands that score rows."""
    draws = click.option(
        "--num-draws",
        type=COUNT,
        default=1,
        show_default=True,
        help="Number of noise draws for each image, or row of whole numbers. More draws tighten the bound on its "
        "density, and cost time in proportion.",
    )
    size = click.option(
        "--batch-size",
        type=COUNT,
        default=250,
        show_default=True,
        help="Number of rows that are scored in one call. More rows are faster as long as they fit into memory; the "
        "score stays the same.",
    )
    return draws(size(command))


def open_run(run: Path, weights: str, checkpoint: str | int) -> Any:
    """The run that a command is about."""
    from jflows.runs.trained import TrainedRun

    return TrainedRun.open(run, weights=weights, checkpoint=checkpoint)

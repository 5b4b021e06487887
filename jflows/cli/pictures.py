"""Commands that draw what a flow of images does with images: `jflows interpolate`, `jflows reconstruct`, ..."""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import data_options, image_options, open_run, png_option, run_options
from jflows.cli.types import COUNT, ChoiceType, NumberType
from jflows.options import LARGEST_INT

DEFAULT_PAIRS = 8


@click.command(cls=FlowCommand)
@run_options
@data_options
@image_options
@click.option(
    "--num-pairs",
    type=COUNT,
    help=f"Number of pairs of rows, one line of the picture each. [default: {DEFAULT_PAIRS}, or all pairs of --image]",
)
@click.option(
    "--num-steps",
    type=click.IntRange(2, LARGEST_INT),
    default=10,
    show_default=True,
    help="Number of images along each path, both ends included.",
)
@click.option(
    "--mode",
    type=ChoiceType(["linear", "spherical", "both"]),
    default="linear",
    show_default=True,
    help="Which path to draw in latent space: linear follows straight lines; spherical follows arcs, which keep the "
    "distance from the origin; both draws one row of each.",
)
@click.option(
    "--same-class",
    is_flag=True,
    help="Pair rows of one class, the classes in turn; it needs data with labels. A class-conditional flow always does "
    "so. [default: pairs of any classes]",
)
@png_option("RUN/interpolation.png")
def interpolate(run, weights, checkpoint, seed, data, split, image, label, num_pairs, same_class, **options) -> None:
    """Draw images along latent paths between pairs of images.

    Pairs are drawn from rows of data, or are the first and the second file of --image, the third and the fourth, ...
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_pictures()
    images, of_what = trained.images_or_rows(data, split, image, label)
    given = {} if num_pairs is None else {"num_pairs": num_pairs}
    given |= {"in_order": bool(image), "same_class": same_class}
    path = trained.interpolate(images, options.pop("out"), seed=seed, **options, **given)
    num = len(images) // 2 if image else num_pairs or DEFAULT_PAIRS
    mode = options["mode"]
    kinds = f"linear and {num} spherical" if mode == "both" else mode
    click.echo(f"{num} {kinds} path{'s' if num != 1 or mode == 'both' else ''} between {of_what} in {path}")


@click.command(cls=FlowCommand)
@run_options
@data_options
@click.option("--num", type=COUNT, default=12, show_default=True, help="Number of images to reconstruct.")
@png_option("RUN/reconstruction.png")
def reconstruct(run, weights, checkpoint, seed, data, split, num, out) -> None:
    """Draw images, their reconstructions, and the error.

    A reconstruction is decode(encode(image)), so the error shows how exact the inverse is.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_pictures()
    from jflows.cli.results import reconstruction_in_words

    path, error = trained.reconstruct(trained.data(data, split), out, seed=seed, num=num)
    click.echo(reconstruction_in_words(error, num, trained.taken(data, split), path))


@click.command(cls=FlowCommand)
@run_options
@data_options
@click.option("--num", type=COUNT, default=8, show_default=True, help="Number of images, one row of the picture each.")
@click.option("--num-draws", type=COUNT, default=3, show_default=True, help="Number of draws of each level.")
@click.option(
    "--temperature",
    type=NumberType(0),
    default=1.0,
    show_default=True,
    help="Factor of the deviation of the latents that are drawn. 1 draws them from the density itself; 0 takes their "
    "mean, which shows what the other levels say.",
)
@png_option("RUN/levels.png")
def levels(run, weights, checkpoint, seed, data, split, num, num_draws, temperature, out) -> None:
    """Draw images whose latent is drawn anew, one level at a time.

    This shows what each level of a multi-scale flow decides: the picture has the image, then draws of each level while
    all other levels keep the latent of the image, the finest level first.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_levels()
    images = trained.data(data, split)
    path = trained.levels(images, out, seed=seed, num=num, num_draws=num_draws, temperature=temperature)
    found = len(trained.density.level_sizes)
    click.echo(f"{num} {trained.taken(data, split)} of {images.name} with each of {found} levels drawn anew in {path}")


COMMANDS = (interpolate, reconstruct, levels)
"""The commands of this file, for `jflows/cli/app.py`."""

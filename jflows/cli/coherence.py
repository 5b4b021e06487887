"""`jflows coherence`: a page on whether probable regions of the latent space of a run decode to coherent samples."""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import data_options, num_option, num_sets_option, open_run, run_options
from jflows.cli.types import NumberType, PathType

TABLES = (".csv", ".tsv")


@click.command(cls=FlowCommand)
@run_options
@data_options
@click.option(
    "--attributes",
    metavar="NAMES|CSV",
    help="Attributes to look at, such as glasses,slant, or a .csv file with attributes of the images of a folder, of "
    "which all are taken. [default: all that the data have]",
)
@num_option(
    50,
    "Number of training rows and of test rows, chosen by the seed. More make all numbers surer, and take time in "
    "proportion.",
)
@num_sets_option(99)
@click.option(
    "--penalty",
    type=NumberType(0),
    default=1.0,
    show_default=True,
    help="C of the linear support vector machines of attributes. A smaller C depends less on single images; a larger "
    "one fits the training images more closely.",
)
@click.option(
    "--out",
    type=PathType(".html"),
    metavar="HTML",
    help="Page to write; its numbers get the same name with .json. [default: RUN/coherence.html]",
)
def coherence(run, weights, checkpoint, seed, data, split, attributes, num, num_sets, penalty, out) -> None:
    """Write a page on whether probable regions of the latent space decode to coherent samples.

    It has four sections: the base, tests of latents, attributes by linear support vector machines, and classes by their
    normals. Planes and classes are fitted to training rows, and judged by test rows. Tables have no pictures, and no
    attributes; the page says what is left out, and why.
    """
    from jflows.cli.results import coherence_in_words

    trained = open_run(run, weights, checkpoint)
    path = attributes if attributes is not None and attributes.lower().endswith(TABLES) else None
    names = None if attributes is None or path else tuple(name.strip() for name in attributes.split(","))
    train, test = (trained.data(data, own, attributes=path) for own in ("train", trained.judged_by(split)))
    options = {"attributes": names, "num": num, "num_sets": num_sets, "penalty": penalty, "seed": seed}
    found = trained.coherence(train, test, out, **options)
    click.echo(coherence_in_words(found))


COMMANDS = (coherence,)
"""The commands of this file, for `jflows/cli/app.py`."""

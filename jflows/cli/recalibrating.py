"""The command `jflows recalibrate`."""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import open_run, run_options
from jflows.cli.types import PathType


@click.command(cls=FlowCommand)
@run_options
@click.option("--out", type=PathType(), required=True, metavar="DIRECTORY", help="Unused directory for the new run.")
@click.option(
    "--base",
    default="auto",
    show_default=True,
    help="Base to fit: scale (the flow's own, scaled by one number), diagonal (a normal with a mean and a deviation in "
    "each dimension), student_t (the same with degrees of freedom), full (a normal with all correlations), classes (a "
    "normal for each class), or auto, the first of these that none of the later ones beats on rows held out.",
)
def recalibrate(run, weights, checkpoint, seed, out, base) -> None:
    """Fit the base anew to the data as the trained flow maps them; the map stays as it is.

    Validation rows are used, or training rows where the run has no others: half of them to fit bases, half to choose
    one. Nothing is written if none is better than the flow's own. The new run can be evaluated and sampled from, but
    not trained further.
    """
    from jflows.cli.results import recalibrated_in_words
    from jflows.runs.recalibrated import recalibrate_run

    trained = open_run(run, weights, checkpoint)
    found = recalibrate_run(trained, out, base=base, seed=seed)
    click.echo(recalibrated_in_words(found, trained.density.unit, trained.density.num_dims, trained.noun))

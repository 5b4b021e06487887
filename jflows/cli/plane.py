"""`jflows densities`: a figure of runs on data of two columns."""

from pathlib import Path

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.types import SEED, PathType

DEFAULT = "densities.png"


@click.command(cls=FlowCommand)
@click.argument("runs", nargs=-1, required=True, type=PathType())
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the samples; another seed draws others.")
@click.option("--title", default="", metavar="TEXT", help="Text above the figure. [default: none]")
@click.option("--out", type=PathType(".png"), metavar="PNG", help=f"Picture to write. [default: {DEFAULT}]")
def densities(runs, seed, title, out) -> None:
    """Draw data, density and samples of runs side by side.

    There is one row for each run. The data must have two columns.
    """
    from jflows.runs.densities import densities as draw

    path = draw(runs, Path(DEFAULT) if out is None else out, seed=seed, title=title)
    click.echo(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in {path}")

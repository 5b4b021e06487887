"""The command `jflows export`."""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import open_run, weights_options
from jflows.cli.types import COUNT, PathType


@click.command(cls=FlowCommand)
@weights_options
@click.option(
    "--platforms",
    default="cpu,cuda,tpu",
    show_default=True,
    metavar="NAME,...",
    help="Kinds of devices that the programs are to run on; no such device needs to be at hand. Fewer kinds make "
    "smaller programs.",
)
@click.option(
    "--batch-size",
    type=COUNT,
    help="Number of rows of each call of the programs; a fixed number makes them slightly smaller, not faster. "
    "[default: open, so that each call takes any number of rows]",
)
@click.option(
    "--out",
    type=PathType(),
    metavar="DIRECTORY",
    help="Directory to write, which is empty or not there. [default: RUN/export]",
)
def export(run, weights, checkpoint, platforms, batch_size, out) -> None:
    """Write a flow as programs that run without jflows.

    The log density and sampling are written as StableHLO by jax.export, with the weights as an .npz file, a README.md
    that says how to run them, and a manifest. They need no more than `pip install jax flatbuffers`.
    """
    trained = open_run(run, weights, checkpoint)
    chosen = tuple(name.strip() for name in platforms.split(",") if name.strip())
    click.echo(str(trained.export(out, platforms=chosen, batch_size=batch_size)))

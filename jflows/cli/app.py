"""The `jflows` command: its subcommands, and what they print. The work itself is done by `jflows/runs`.

Heavy modules are imported by the commands that need them, so that help does not wait for JAX. Read next:
`jflows/cli/training.py` (commands with a recipe's options), `jflows/cli/options.py` (how these options are made),
`jflows/cli/pictures.py`, `edits.py` (commands on images), `jflows/cli/scoring.py` (scores of single rows).
"""

from pathlib import Path

import click

from jflows._version import __version__
from jflows.cli.benching import bench
from jflows.cli.coherence import COMMANDS as COHERENCE
from jflows.cli.edits import COMMANDS as EDITS
from jflows.cli.exporting import export
from jflows.cli.groups import SETTINGS, App, FlowCommand
from jflows.cli.images import COMMANDS as IMAGES
from jflows.cli.launching import launch
from jflows.cli.pictures import COMMANDS as PICTURES
from jflows.cli.plane import densities
from jflows.cli.recalibrating import recalibrate
from jflows.cli.run_options import data_options, open_run, png_option, run_options, scoring_options, weight_option
from jflows.cli.scoring import COMMANDS as SCORING
from jflows.cli.training import info, train
from jflows.cli.types import COUNT, NumbersType, PathType
from jflows.cli.vocoding import vocode
from jflows.errors import InvalidValueError
from jflows.runs import configs


@click.group("jflows", cls=App, context_settings=SETTINGS, no_args_is_help=False, invoke_without_command=True)
@click.version_option(__version__, message="jflows %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Normalizing flows: train one, then evaluate, sample and inspect it from its run directory alone."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    train,
    launch,
    info,
    recalibrate,
    export,
    densities,
    vocode,
    *SCORING,
    *PICTURES,
    *IMAGES,
    *EDITS,
    *COHERENCE,
    bench,
):
    main.add_command(command)


@main.command("configs")
def list_configs() -> None:
    """List the configs and presets that `train` takes."""
    for title, found in (("Configs", configs.list_configs()), ("Presets, with --data", configs.list_presets())):
        click.echo(f"{title}:")
        width = max(map(len, found), default=0)
        for name, line in found.items():
            click.echo(f"  {name:<{width}}  {line}")


DEFAULT_SAMPLES, SAMPLES_PER_ROW = 64, 10


@main.command(cls=FlowCommand, divided=True)
@run_options
@data_options
@weight_option
@scoring_options
def evaluate(run, weights, checkpoint, seed, data, split, weight, num_draws, batch_size) -> None:
    """Print the score of a run, with its standard error.

    Scores are in bits/dim for images, where lower is better, and in nats for tables, where higher is better. Those of
    images are given in nats of pixels scaled to [0, 1] and to [-1, 1] too, as some papers state them.
    """
    from jflows.cli.results import read_in_words, scaled_in_words, score_in_words
    from jflows.runs.reports import clusters

    trained = open_run(run, weights, checkpoint)
    rows = trained.data(data, split, weight)
    score = trained.evaluate(rows, num_draws=num_draws, batch_size=batch_size, seed=seed)
    of_what = f"{trained.taken(data, split)} of {rows.name}"
    scaled = scaled_in_words(score, trained.density)
    for line in (score_in_words(score, trained.density.unit, of_what), *scaled, *read_in_words(rows.read_as)):
        click.echo(line)
    shared = trained.clusters(rows, batch_size)
    if shared is not None:
        click.echo(clusters.in_words(shared))


@main.command(cls=FlowCommand, divided=True)
@run_options
@click.option(
    "--num",
    type=COUNT,
    help="How many images, or rows of a table, to draw at each temperature. [default: 64, or 10 at each of several "
    "temperatures, or one for each row of the file of --context]",
)
@click.option(
    "--temperature",
    type=NumbersType(0),
    metavar="NUMBER[,NUMBER...]",
    help="Factor of the latent's deviation. Below 1, samples are more typical and vary less; 1 samples the density "
    "itself. Several numbers draw one row of images each, of the same noise. [default: 0.7 for images, 1 for tables]",
)
@click.option(
    "--label",
    help="Class to draw from a conditional flow, by its name if classes have names, or number of the component to draw "
    "from a mixture. By default a conditional flow draws all classes in turn.",
)
@click.option(
    "--context",
    metavar="NAME=VALUE,...|PATH",
    help="Context of all samples, such as a=1,b=2.5, or a table with columns of these names, of which each row is the "
    "context of one sample. A .csv file of samples gets the contexts as columns. [default: those of the run's test "
    "rows in turn]",
)
@click.option("--columns", type=COUNT, help="Number of images in a row of the grid. [default: a square grid]")
@click.option(
    "--out",
    type=PathType(".png", ".csv", ".npy"),
    metavar="PNG|CSV|NPY",
    help="File to write: a .png picture for images, a .csv for a table, or a .npy array for either, which holds any "
    "number of samples. [default: RUN/sample.png or RUN/sample.csv]",
)
def sample(run, weights, checkpoint, seed, num, temperature, label, context, columns, out) -> None:
    """Draw new images, or new rows of a table, from a run."""
    from jflows.cli.results import samples_in_words
    from jflows.runs import contexts
    from jflows.train.progress import counted

    trained = open_run(run, weights, checkpoint)
    temperatures = (trained.temperature,) if temperature is None else temperature
    trained.check_samples(out, columns, num or 1)
    number = None if label is None else trained.label_of(label)
    given = None if context is None else trained.given_contexts(contexts.parsed(context))
    if len(temperatures) > 1:
        if columns is not None:
            rule, fix = (
                "must be left out with several numbers of {temperature}, which get a row each",
                "Set {num} instead.",
            )
            raise InvalidValueError("sample", "columns", rule, columns, fix)
        num = num or SAMPLES_PER_ROW
        path = trained.save_temperatures(temperatures, num, out, label=number, context=given, seed=seed)
        click.echo(f"{num} samples at each of the temperatures {', '.join(map('{:g}'.format, temperatures))} in {path}")
        return
    (temperature,) = temperatures
    num = num or (DEFAULT_SAMPLES if given is None or len(given) == 1 else len(given))
    chunks = trained.sample_in_chunks(num, temperature=temperature, label=number, context=given, seed=seed)
    used = trained.contexts(num, number, given) if trained.density.reading.context == "vectors" else None
    path = trained.save_samples(counted("sampling", num, trained.noun, chunks), out, columns, used, num)
    click.echo(samples_in_words(num, temperature, path, used is not None))


@main.command(cls=FlowCommand)
@run_options
@data_options
@weight_option
@click.option(
    "--columns",
    metavar="NAME,...",
    help="Columns to draw, in this order. [default: all, or of more than 8 those whose marginals differ most]",
)
@click.option(
    "--context",
    metavar="NAME=VALUE,...",
    help="Context of all samples, such as a=1,b=2.5. [default: the contexts of the rows that are drawn]",
)
@click.option("--num", type=click.IntRange(2), default=2000, show_default=True, help="Number of samples to draw.")
@png_option("RUN/pairs.png")
def pairs(run, weights, checkpoint, seed, data, split, weight, columns, context, num, out) -> None:
    """Draw samples of a table beside its data, for all pairs of columns."""
    from jflows.runs import contexts

    trained = open_run(run, weights, checkpoint)
    rows, given = trained.data(data, split, weight), None if context is None else contexts.parsed(context)
    chosen = () if columns is None else tuple(name.strip() for name in columns.split(","))
    path = trained.pairs(rows, out, columns=chosen, context=given, num=num, seed=seed)
    click.echo(f"{num} samples beside {trained.taken(data, split)} of {rows.name} in {path}")


@main.command(cls=FlowCommand)
@click.argument("runs", nargs=-1, required=True, type=PathType())
@png_option("learning_curves.png")
def compare(runs, out) -> None:
    """Compare the scores and learning curves of finished runs.

    This prints a table, best run first, and draws all learning curves in one figure. The directory of a study
    (--restarts, --folds or --sweep) stands for all its runs. All runs must be scored on the same data.
    """
    from jflows.runs import comparing

    path = Path(comparing.FIGURE) if out is None else out
    click.echo(comparing.table(comparing.compare(runs, path)))
    click.echo(f"learning curves in {path}")


@main.command(cls=FlowCommand)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("--columns", default="", metavar="NAME,...", help="Columns of a table in a file to use. [default: all]")
@click.option(
    "--weight",
    metavar="COLUMN",
    help="Column of a table in a file that holds the weights of the rows. [default: all rows count alike]",
)
def baseline(data, columns, weight) -> None:
    """Print how well a normal distribution scores on tables.

    The normal has a full covariance and is fitted in closed form; scores are in nats per row.
    """
    from jflows.runs import baselines

    for name in data:
        score = baselines.baseline(name, tuple(filter(None, columns.split(","))), weight).score
        click.echo(f"{name}  {score.nats:.3f} ± {score.standard_error:.3f} nats")

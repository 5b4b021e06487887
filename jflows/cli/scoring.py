"""Commands that judge rows: `jflows score`, with measures of unusual rows; `jflows latent` and `calibrate`, tests."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import (
    data_options,
    num_option,
    num_sets_option,
    open_run,
    png_option,
    run_options,
    scoring_options,
    weight_option,
)
from jflows.cli.types import PathType
from jflows.errors import InvalidValueError, JflowsError, check_choice
from jflows.options import LARGEST_INT

GROUP = "measure"


class MeasureCommand(FlowCommand):
    """A command with the options that measures declare, which are loaded when they are needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the command, then --measure and those of all measures."""
        if all(param.name != GROUP for param in self.params):
            self.params += _measure_options()
        return super().get_params(ctx)


def _measure_options() -> list[click.Option]:
    from jflows.cli.options import option_of
    from jflows.eval.ood import MEASURES
    from jflows.options import settings_of
    from jflows.runs.recipe import RecipeOption

    words = (
        "How far each row is out of distribution, by one measure or by several; larger numbers are further out. "
        f"Measures are {', '.join(MEASURES)}. [default: none, the score itself]"
    )
    declared = [setting for measure in MEASURES.values() for setting in settings_of(measure)]
    own = [option_of(RecipeOption(setting.name, GROUP, setting, setting.default)) for setting in declared]
    return [click.Option(["--measure"], metavar="NAME[,NAME...]", help=words), *own]


def _measures(names: str, given: Mapping[str, Any]) -> list[Any]:
    """The measures of these names with their options; raises if there is no such measure, or an option of another."""
    from jflows.eval.ood import MEASURES
    from jflows.options import settings_of

    chosen, left, found = [name.strip() for name in names.split(",")], dict(given), []
    for name in chosen:
        check_choice("score", GROUP, name, tuple(MEASURES))
        own = {setting.name for setting in settings_of(MEASURES[name])} & left.keys()
        found.append(MEASURES[name](**{setting: left.pop(setting) for setting in own}))
    for setting, value in left.items():
        rule = f"is an option of another measure than {', '.join(chosen)}"
        raise InvalidValueError("score", setting, rule, value, "Leave it out.")
    return found


@click.command(cls=MeasureCommand, divided=True)
@run_options
@data_options
@weight_option
@click.option(
    "--against",
    metavar="NAME|PATH",
    help="Second data set. Prints how well the score, or each measure, tells the rows of both apart (AUROC); its own "
    "scores are not written.",
)
@click.option(
    "--background",
    type=PathType(),
    metavar="RUN",
    help="Run of a flow that was trained by `jflows train --mutate 0.2`, and so knows backgrounds only. "
    "--measure likelihood_ratio needs it.",
)
@click.option(
    "--ensemble",
    type=PathType(),
    multiple=True,
    metavar="RUN",
    help="Run of the same flow from another seed. --measure waic needs one or more; the option may be given several "
    "times.",
)
@click.option(
    "--roc",
    type=PathType(".png"),
    metavar="PNG",
    help="Picture of the ROC curves to write; it needs --against. [default: none]",
)
@scoring_options
@click.option(
    "--out",
    type=PathType(".csv"),
    metavar="CSV",
    help="File to write. [default: RUN/scores.csv, or RUN/measures.csv with --measure]",
)
def score(run, weights, checkpoint, seed, data, split, weight, **given) -> None:
    """Write the score of every row, or image, to a .csv file.

    Scores are log densities in nats for tables, where higher is more likely, and bits/dim for images, where lower is.
    With --measure, the file has one column for each measure of how far the row is out of distribution.
    """
    options = {name: given.pop(name) for name in ("num_draws", "batch_size")} | {"seed": seed}
    against, background, ensemble, roc, out, names = (
        given.pop(name) for name in ("against", "background", "ensemble", "roc", "out", GROUP)
    )
    own = {name: value for name, value in given.items() if value is not None}
    _check_fit_together(names, against, roc, background, ensemble, own)
    trained = open_run(run, weights, checkpoint)
    sets = []
    for name, chosen in ((data, split), *([] if against is None else [(against, None)])):
        with _naming("against" if sets else "data", "data", "name_or_path"):
            rows = trained.data(name, chosen, weight, beyond_support=True)
        sets.append((rows, f"{trained.taken(name, chosen)} of {rows.name}"))
    if names is None:
        _write_scores(trained, sets, options, out, roc)
    else:
        with _naming("background", "run"):
            runs: dict[str, Any] = {"background": None if background is None else open_run(background, weights, "auto")}
        with _naming("ensemble", "run"):
            runs["ensemble"] = [open_run(member, weights, "auto") for member in ensemble]
        _write_measures(trained, sets, _measures(names, own), {**options, **runs}, out, roc)


@contextlib.contextmanager
def _naming(option: str, *settings: str) -> Iterator[None]:
    """Lets errors about a data set or a run, settings of the library, name the option by which it was given."""
    try:
        yield
    except JflowsError as error:
        raise error.renamed(**dict.fromkeys(settings, option)) from error


def _check_fit_together(names, against, roc, background, ensemble, own) -> None:
    if roc is not None and against is None:
        raise InvalidValueError("score", "roc", "needs a second data set", str(roc), "Name one by {against}.")
    for name, value in {"background": background, "ensemble": ensemble, **own}.items():
        if names is None and value not in (None, ()):
            raise InvalidValueError("score", name, "is for measures", str(value), "Choose a {measure}.")


def _write_scores(trained, sets, options, out, roc) -> None:
    from jflows.cli.results import apart_in_words, scores_in_words

    found = [trained.scores(rows, **options) for rows, _ in sets]
    (rows, of_what), *second = sets
    path = trained.save_scores(found[0], out)
    click.echo(scores_in_words(found[0], trained.density.unit, of_what, path))
    for (others, of_others), other_scores in zip(second, found[1:], strict=True):
        apart = trained.tell_apart(found[0], other_scores, rows, others)
        click.echo(apart_in_words(apart, of_what, of_others, other_scores))
        if roc is not None:
            surprise = {"likelihood": [-trained.log_densities(each) for each in found]}
            click.echo(f"ROC curve in {trained.save_roc(surprise, rows, others, roc)}")


def _write_measures(trained, sets, measures, options, out, roc) -> None:
    from jflows.cli.results import measure_in_words, unusual_in_words

    found = trained.ood_scores(measures, [rows for rows, _ in sets], **options)
    path = trained.save_ood_scores(found[0], measures, out)
    (rows, of_what), *second = sets
    for measure in measures:
        click.echo(measure_in_words(measure, found[0][measure.name], of_what, path))
    alone = all(measure.rows_per_value == 1 for measure in measures)
    for (others, of_others), other in zip(second, found[1:], strict=True):
        weights = (rows.weight, others.weight) if alone else (None, None)
        pairs = {measure.name: (found[0][measure.name], other[measure.name]) for measure in measures}
        for measure in measures:
            apart = trained.unusual(*pairs[measure.name], *weights)
            click.echo(unusual_in_words(measure, apart, of_what, of_others))
        if roc is not None:
            click.echo(f"ROC curves in {trained.save_roc(pairs, rows, others, roc, weighted=alone)}")


@click.command(cls=FlowCommand)
@run_options
@data_options
@weight_option
@num_option(
    20, "Number of rows or images, chosen by the seed. More of them show smaller faults, and take time in proportion."
)
@num_sets_option(199)
@click.option(
    "--modes",
    is_flag=True,
    help="Whether to test too if latents have one mode, as the base has, by dips and mixtures along directions, and to "
    "draw the direction that shows modes best, in a second picture. Takes about 0.1 s for each set.",
)
@png_option("RUN/latent.png")
def latent(run, weights, checkpoint, seed, data, split, weight, num, num_sets, modes, out) -> None:
    """Test whether data, seen in the latent space, are draws of the base, as the flow promises.

    Each line is a test: its statistic, the median and the 95 % point of this statistic over sets from the base, and the
    p-value. Test rows are used unless --data or --split say otherwise; the flow has seen its training rows.
    """
    from jflows.cli.results import latent_in_words

    trained = open_run(run, weights, checkpoint)
    rows = trained.data(data, split, weight)
    path, found = trained.latent_tests(rows, out, num=num, num_sets=num_sets, seed=seed, modes=modes)
    click.echo(latent_in_words(found, f"{trained.taken(data, split)} of {rows.name}", path))


@click.command(cls=FlowCommand)
@run_options
@data_options
@weight_option
@num_option(20, "Number of rows or images, chosen by the seed; 500 show a width that is wrong by 10 %.")
@click.option(
    "--num-draws",
    type=click.IntRange(2, LARGEST_INT),
    default=99,
    show_default=True,
    help="Number of draws of the flow for each row, among which the row is ranked. Time grows in proportion.",
)
@png_option("RUN/calibration.png")
def calibrate(run, weights, checkpoint, seed, data, split, weight, num, num_draws, out) -> None:
    """Test whether a flow of floats is as wide as it should be, given the contexts of the rows if it takes any.

    Rows are ranked among draws of the flow, dimension by dimension and by their density, and latents are mapped by the
    distribution functions of the base. All must be uniform. Each line is a test: how much too narrow the flow is (log
    of a variance ratio), how far rows lie above the middle of the draws, the Kolmogorov-Smirnov distance, and p.
    """
    from jflows.cli.results import calibration_in_words

    trained = open_run(run, weights, checkpoint)
    rows = trained.data(data, split, weight)
    path, found = trained.calibration(rows, out, num=num, num_draws=num_draws, seed=seed)
    columns = trained.stored.facts.get("columns", ())
    click.echo(calibration_in_words(found, f"{trained.taken(data, split)} of {rows.name}", path, columns))


COMMANDS = (score, latent, calibrate)
"""The commands of this file, for `jflows/cli/app.py`."""

"""`jflows edit`: changes an attribute or a person in images, along directions in the latent space of a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import image_options, open_run, png_option, run_options
from jflows.cli.types import COUNT, ChoiceType, NumbersType, PathType
from jflows.errors import InvalidValueError
from jflows.options import LARGEST_INT

ALL = "all"
RANGES = {"attribute": (-2.0, 2.0), "transfer": (0.0, 1.0)}  # of alpha, unless it is given
DEFAULT_NUM = 6
STRETCH = 0.5  # of mean latents
MOST_STEPS = 50  # images in a row of the picture
OF_ATTRIBUTES = ("by", "within_classes", "num_rows")  # options that say how the direction of an attribute is found
OF_IMAGES = ("image", "label", "num", "classes", "num_steps")  # options that mean nothing where means are drawn
METHODS = {"mean": "the difference of mean latents", "svm": "a linear support vector machine"}


@click.command(cls=FlowCommand)
@run_options
@click.option(
    "--attribute",
    metavar="NAME",
    help="Attribute to change, such as glasses: one of the data, or of the file of --attributes.",
)
@click.option(
    "--transfer",
    metavar="FROM,TO",
    help="Two classes, such as persons: images are moved from the mean latent of the first to that of the second.",
)
@click.option(
    "--identity",
    metavar="NAME,...|all",
    help="Classes, such as persons, whose mean latents are decoded to mean faces.",
)
@click.option(
    "--alpha",
    type=NumbersType(),
    help="How far to move: the two ends of a range, such as -2,2, or one value, or more than two. For an attribute, 1 "
    "is the distance along the direction between the means of images with and without it; for --transfer, 1 is the "
    "whole way; for --identity, it is one number from 0, the mean latent itself, to 1, which gives it the length "
    f"of latents of images. [default: -2,2 for an attribute, 0,1 for --transfer, {STRETCH} for --identity]",
)
@click.option(
    "--num-steps",
    type=click.IntRange(2, MOST_STEPS),
    default=5,
    show_default=True,
    help="Number of images along a range of --alpha, both ends included.",
)
@click.option(
    "--by",
    type=ChoiceType(list(METHODS)),
    default="mean",
    show_default=True,
    help="How the direction of an attribute is found: mean takes the difference between the mean latents of images "
    "with and without it; svm takes the normal of the plane that separates them, which changes less of other things.",
)
@click.option(
    "--within-classes",
    is_flag=True,
    help="Compare only images of one class, such as a person, with each other, so that what distinguishes persons "
    "stays out of the direction. Classes without images of both kinds are left out.",
)
@image_options
@click.option(
    "--num",
    type=click.IntRange(1, LARGEST_INT),
    help=f"Number of test images to edit where no file is named. [default: {DEFAULT_NUM}, or one of each of --classes]",
)
@click.option(
    "--classes", metavar="NAME,...", help="Classes, such as persons, whose test images are edited. [default: any]"
)
@click.option(
    "--data", metavar="NAME|PATH", help="Data set to find directions in instead of the run's own, by its name or path."
)
@click.option(
    "--attributes",
    type=PathType(".csv", ".tsv"),
    metavar="CSV",
    help="File with attributes of the images of a folder: a column file, and one for each attribute. [default: that of "
    "the run]",
)
@click.option(
    "--num-rows",
    type=COUNT,
    default=2000,
    show_default=True,
    help="Number of training images whose latents give the direction. More make it surer, and cost time in proportion.",
)
@png_option("RUN/edit.png")
def edit(run, weights, checkpoint, attribute, transfer, identity, alpha, num_steps, data, attributes, out, **given):
    """Change an attribute, or a person, in images.

    Directions are found from training images. Under each picture is the log density of the image in nats.
    """
    chosen = {"attribute": attribute, "transfer": transfer, "identity": identity}
    named = [name for name, value in chosen.items() if value is not None]
    if len(named) != 1:
        rule = "must be given, or one of {transfer} and {identity} in its place"
        raise InvalidValueError("edit", "attribute", rule, " and ".join(named) or "none")
    _check_options(named[0])
    stretch = (STRETCH,) if alpha is None else alpha
    if identity is not None and not (len(stretch) == 1 and 0 <= stretch[0] <= 1):
        raise InvalidValueError("edit", "alpha", "must be one number, 0 to 1, with {identity}", _listed(stretch))
    alphas = steps_of(RANGES.get(named[0], stretch) if alpha is None else alpha, num_steps)
    trained = open_run(run, weights, checkpoint)
    trained.check_pictures()
    from jflows.runs.edits import check_alphas

    check_alphas(alphas)
    load = lambda split: trained.data(data, split, attributes=None if attributes is None else str(attributes))
    if identity is not None:
        click.echo(_mean_faces(trained, load("train"), identity, stretch[0], out))
        return
    change = _attribute if transfer is None else _transfer
    for line in change(trained, load, chosen[named[0]], alphas, out, given):
        click.echo(line)


def _check_options(chosen: str) -> None:
    """Raises `InvalidValueError` if an option was given that the chosen change would ignore."""
    ignored = {"attribute": (), "transfer": OF_ATTRIBUTES, "identity": (*OF_ATTRIBUTES, *OF_IMAGES)}[chosen]
    ctx = click.get_current_context()
    for name in ignored:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            fix = f"Leave {{{name}}} out."
            raise InvalidValueError("edit", name, f"is not for {{{chosen}}}, which would ignore it", None, fix)


def _listed(alphas: tuple[float, ...]) -> str:
    return ", ".join(f"{alpha:.3g}" for alpha in alphas)


def steps_of(alpha: tuple[float, ...], num_steps: int) -> tuple[float, ...]:
    """The values of alpha: those of a range for two numbers, else the numbers themselves."""
    if len(alpha) > MOST_STEPS:
        raise InvalidValueError("edit", "alpha", f"must be at most {MOST_STEPS} numbers", len(alpha))
    if len(alpha) != 2:
        return alpha
    start, end = alpha
    return tuple(start + (end - start) * step / (num_steps - 1) for step in range(num_steps))


def _attribute(
    trained: Any, load: Any, name: str, alphas: tuple[float, ...], out: Path | None, given: dict[str, Any]
) -> Iterator[str]:
    from jflows.runs import edits

    train, test = load("train"), load("test")
    edits.check_attribute(train, name)
    images, what = _images(trained, test, given)
    options = {"by": given["by"], "num_rows": given["num_rows"], "within": given["within_classes"]}
    found = trained.direction(train, name, **options)
    above = "" if found.threshold is None else f" (above {found.threshold:.4g})"
    each = ", each compared within its class" if given["within_classes"] else ""
    left_out = f"; {found.left_out} without a value are left out" if found.left_out else ""
    yield (
        f"{name} by {METHODS[given['by']]} of {found.num_with:,} training images with it{above} and "
        f"{found.num_without:,} without it{each}{left_out}"
    )
    accuracy = trained.accuracy(found, test, given["num_rows"])
    if accuracy == accuracy:
        yield f"test images are told apart along the direction with an accuracy of {accuracy:.3f}, where chance is 0.5"
    edited = trained.edit(images, found.direction.shift, alphas)
    measured = trained.measured(edited, train, name)
    for alpha, values in zip(alphas, () if measured is None else measured.T, strict=False):
        mean, error = edits.mean_and_error(values)
        yield f"alpha {alpha:.3g}: mean {name} {mean:.2f} ± {error:.2f}"
    path = trained.save_edits(edited, out, names=edits.names_of(images), measured=measured, attribute=name)
    yield _in_words(what, alphas, path)


def _transfer(
    trained: Any, load: Any, names: str, alphas: tuple[float, ...], out: Path | None, given: dict[str, Any]
) -> Iterator[str]:
    from jflows.runs import edits

    pair = tuple(name.strip() for name in names.split(","))
    if len(pair) != 2:
        raise InvalidValueError("edit", "transfer", "must be two classes, such as s4,s7", repr(names))
    train = load("train")
    start, end = trained.class_numbers(train, pair, "transfer")
    if given["classes"] is None and not given["image"]:
        given = {**given, "classes": pair[0], "num": given["num"] or 2}
    images, what = _images(trained, load("test"), given)
    means = trained.mean_latents(train, (start, end))
    edited = trained.edit(images, means[1] - means[0], alphas)
    path = trained.save_edits(edited, out, names=edits.names_of(images))
    yield f"from {pair[0]} to {pair[1]} by the difference of their mean latents over training images"
    yield _in_words(what, alphas, path)


def _mean_faces(trained: Any, train: Any, names: str, stretch: float, out: Path | None) -> str:
    from jflows.runs import edits

    chosen = edits.class_names(train) if names == ALL else tuple(name.strip() for name in names.split(","))
    numbers = trained.class_numbers(train, chosen, "identity", (ALL,))
    latents = trained.mean_latents(train, numbers, stretch)
    path = trained.save_means(latents, chosen, numbers, out)
    classes = f"{len(chosen)} class{'' if len(chosen) == 1 else 'es'}"
    what = f"images of the mean latents of {classes} of {train.name}, stretched by {stretch:g}"
    return f"{what}, with ln p in nats under each, in {path}"


def _images(trained: Any, test: Any, given: dict[str, Any]) -> tuple[Any, str]:
    """The images to edit, and what they are, in words."""
    from jflows.runs import edits

    if given["image"]:
        for name in ("num", "classes"):
            if given[name] is not None:
                rule, fix = "is for test images, and must be left out with {image}", "Leave one out."
                raise InvalidValueError("edit", name, rule, given[name], fix)
        images = trained.images(given["image"], given["label"])
        return images, images.name
    if given["label"] is not None:
        rule, fix = "is the class of files named by {image}", "Name classes of test images by {classes}."
        raise InvalidValueError("edit", "label", rule, repr(given["label"]), fix)
    names = () if given["classes"] is None else tuple(name.strip() for name in given["classes"].split(","))
    classes = trained.class_numbers(test, names, "classes")
    num = given["num"] or len(classes) or min(DEFAULT_NUM, len(test))
    images = edits.pictured(test, num, given["seed"], classes)
    return images, f"{len(images)} test images of {test.name}"


def _in_words(what: str, alphas: tuple[float, ...], path: Path) -> str:
    return f"{what} at alpha {_listed(alphas)} in {path}, with ln p in nats under each"


COMMANDS = (edit,)
"""The commands of this file, for `jflows/cli/app.py`."""

"""More commands on flows of images: `jflows inpaint`, `jflows manifold`, `jflows neighbours`, `jflows fidelity`.

Read first: `jflows/cli/pictures.py`.
"""

import click

from jflows.cli.groups import FlowCommand
from jflows.cli.run_options import data_options, image_options, open_run, png_option, run_options
from jflows.cli.types import COUNT, ChoiceType, NumberType, PathType
from jflows.errors import InvalidValueError
from jflows.options import LARGEST_INT

DEFAULT_NUM = 8  # of images to inpaint


@click.command(cls=FlowCommand)
@run_options
@data_options
@image_options
@click.option(
    "--mask",
    multiple=True,
    required=True,
    metavar="NAME|PATH",
    help="What is hidden: top, bottom, left, right (that half); odd, even (every other pixel); middle_vertical (the "
    "middle half of the rows), middle_horizontal (of the columns); random_75, random_90 (that share of the pixels); "
    "all (these ten); or an image file of the same size, in which white is hidden. May be given several times.",
)
@click.option(
    "--num",
    type=COUNT,
    help=f"Number of images that are drawn from the rows. [default: {DEFAULT_NUM}, or all of --image]",
)
@click.option(
    "--num-steps",
    type=COUNT,
    default=2000,
    show_default=True,
    help="Number of steps of gradient ascent. More climb further; time grows in proportion.",
)
@click.option(
    "--start",
    type=ChoiceType(["noise", "sample"]),
    default="noise",
    show_default=True,
    help="What hidden pixels start from: noise is uniform noise, as in the NICE paper; sample is a sample of the flow "
    "at temperature 0.7, which leads to more likely images where log p has many local maxima.",
)
@click.option(
    "--noise",
    type=NumberType(0),
    default=1.0,
    show_default=True,
    help="Factor of the noise of each step. More noise leaves more local maxima and ends further below them; 0 climbs "
    "without noise.",
)
@png_option("RUN/inpainting.png")
def inpaint(run, weights, checkpoint, seed, data, split, image, label, mask, num, out, **options) -> None:
    """Fill in hidden pixels of images by climbing their log density.

    With one mask, the picture has a row for each image, with steps along the way; with several, a row for each mask.
    The scores that are printed are means over images, of the start and of the result.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_images()
    from jflows.cli.results import inpainted_in_words

    images, of_what = trained.images_or_rows(data, split, image, label)
    if image and num is not None:
        rule = "must be left out with {image}, of which all files are used"
        raise InvalidValueError("inpaint", "num", rule, num)
    num = None if image else num or DEFAULT_NUM
    path, found = trained.inpaint(images, out, masks=mask, num=num, seed=seed, **options)
    click.echo(inpainted_in_words(found, trained.density.unit, of_what if image else f"{num} {of_what}", path))


@click.command(cls=FlowCommand)
@run_options
@data_options
@image_options
@click.option(
    "--num-angles",
    type=click.IntRange(2, LARGEST_INT),
    default=8,
    show_default=True,
    help="Number of angles along each side of the grid. On the circle, the four images themselves are in it if this is "
    "a multiple of 4.",
)
@click.option(
    "--turn",
    type=ChoiceType(["circle", "quarter"]),
    default="circle",
    show_default=True,
    help="How far both angles go: circle shows the whole surface, on which the opposite -z of each image lies too; "
    "quarter shows the part between the four images, which are the corners of the grid.",
)
@png_option("RUN/manifold.png")
def manifold(run, weights, checkpoint, seed, data, split, image, label, num_angles, turn, out) -> None:
    """Draw a grid of images on the surface through four images in latent space.

    The four are drawn from rows of data, or are the files of --image, of which there must be four.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_pictures()
    images, of_what = trained.images_or_rows(data, split, image, label)
    path = trained.manifold(images, out, seed=seed, num_angles=num_angles, turn=turn, in_order=bool(image))
    through = of_what if image else f"four {of_what}"
    click.echo(f"{num_angles} by {num_angles} images on the surface through {through} in {path}")


@click.command(cls=FlowCommand)
@run_options
@data_options
@click.option(
    "--num",
    type=COUNT,
    help="Number of samples, and of images that were not trained on. More make the medians surer; the search takes "
    "time in proportion. [default: 500, or all images where there are fewer]",
)
@click.option(
    "--temperature",
    type=NumberType(0),
    default=1.0,
    show_default=True,
    help="Factor of the latent's deviation. Below 1, samples are smoother, and lie nearer to all images for "
    "this reason alone.",
)
@click.option("--label", help="Class to compare alone, of a conditional flow, by name or number. [default: all]")
@png_option("RUN/neighbours.png")
def neighbours(run, weights, checkpoint, seed, data, split, num, temperature, label, out) -> None:
    """Draw samples above their nearest training images, to see whether these were learned by heart.

    The distances to the nearest training image are compared with those of images that were not trained on: test images,
    or those of --data and --split. Samples that repeat the training set lie closer to it than new images do.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_images()
    from jflows.cli.results import neighbours_in_words

    number = None if label is None else trained.label_of(label, "neighbours")
    new = trained.data(data, split)
    options = {"num": num, "temperature": temperature, "label": number, "seed": seed}
    path, found = trained.neighbours(trained.data(None, "train"), new, out, **options)
    click.echo(neighbours_in_words(found, f"{trained.taken(data, split)} of {new.name}", path))


@click.command(cls=FlowCommand)
@run_options
@data_options
@click.option(
    "--num",
    type=COUNT,
    help="Number of samples, of training images and of images that were not trained on. More make distances surer, and "
    "take time in proportion; the first distance falls as they grow. [default: 10000, or all images where fewer]",
)
@click.option(
    "--temperature",
    type=NumberType(0),
    default=1.0,
    show_default=True,
    help="Factor of the latent's deviation. Below 1, samples are more typical and vary less.",
)
@click.option("--label", help="Class of all samples of a conditional flow, by name or number. [default: all in turn]")
@click.option(
    "--network",
    metavar="NAME|PATH",
    help="Labelled images of the same shape that train the network instead of the run's own data, which have no labels "
    "perhaps. Distances by different networks do not compare.",
)
@click.option("--out", type=PathType(".json"), metavar="JSON", help="File to write. [default: RUN/fidelity.json]")
def fidelity(run, weights, checkpoint, seed, data, split, num, temperature, label, network, out) -> None:
    """Measure how like real images samples are: a Fréchet and a kernel distance, as in FID and KID.

    Distances are in features of a small network, which is trained once on the labelled images of the data set, in a
    minute or less, and kept in the cache. They do not compare with FID and KID of papers. As many training images are
    compared too: their distances from images that were not trained on are those of real images.
    """
    trained = open_run(run, weights, checkpoint)
    trained.check_images()
    from jflows.cli.results import fidelity_in_words

    number = None if label is None else trained.label_of(label, "fidelity")
    new = trained.data(data, split)
    options = {"num": num, "temperature": temperature, "label": number, "seed": seed, "network": network}
    path, found = trained.fidelity(new, out, **options)
    click.echo(fidelity_in_words(found, f"{trained.taken(data, split)} of {new.name}", path))


COMMANDS = (inpaint, manifold, neighbours, fidelity)
"""The commands of this file, for `jflows/cli/app.py`."""

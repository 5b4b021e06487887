"""`EditsOfRun`: attributes and identities of images changed along directions in the latent space of a trained flow.

Read next: `jflows/eval/directions.py`, the functions; `jflows/cli/edits.py`, the command.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jflows.data import Data
from jflows.data.attributes import has_value, is_truth, threshold_of
from jflows.data.base import check_is_data
from jflows.errors import DataError, InvalidValueError, check_choice, did_you_mean
from jflows.eval import captions, directions
from jflows.eval.directions import Direction
from jflows.eval.latent import decode_data, encode_centres
from jflows.flows import Density
from jflows.options import Count, check_call
from jflows.runs.data import as_read
from jflows.runs.reports.report import save_image
from jflows.runs.reports.samples import MAX_ROW, pixel_bits
from jflows.runs.rows_of_run import RowsOfRun
from jflows.typing import Array, Variables

FILE = "edit.png"
BATCH = 128  # images in one call
MEANS_IN_ROW = 10
LARGEST_ALPHA = 1000.0  # far beyond what still is an image; float32 would overflow at 1e38
NUM_ROWS = 2000  # training images whose latents give a direction


class FoundDirection(NamedTuple):
    """The direction of an attribute, and the images that it was found from.

    Attributes:
      attribute: the name of the attribute.
      direction: the direction, in `jflows.eval.directions`.
      num_with, num_without: images that count as having the attribute, and as not.
      left_out: images without a value.
      threshold: the number above which an image has the attribute; None of truth values.
    """

    attribute: str
    direction: Direction
    num_with: int
    num_without: int
    left_out: int
    threshold: float | None


class Edited(NamedTuple):
    """Edited images.

    Attributes:
      x: [num, num_steps, *event_shape], integers.
      log_prob: log p of each in nats, float [num, num_steps]; integers at the centres of their bins.
      alphas: [num_steps].
    """

    x: np.ndarray
    log_prob: np.ndarray
    alphas: tuple[float, ...]


class EditsOfRun(RowsOfRun):
    """A trained flow with its recipe, which edits images; see `TrainedRun`."""

    def direction(
        self, data: Data, attribute: str, *, by: str = "mean", num_rows: Count = NUM_ROWS, within: bool = False
    ) -> FoundDirection:
        """The direction in latent space along which an attribute grows, by `jflows.eval.direction`.

        Images have an attribute of numbers if it is above its median. Images without a value are left out.

        Args:
          data: images with the attribute; the training images of the run, if edits of others are to mean something.
          by: "mean" or "svm".
          num_rows: how many images to use at most, chosen by a fixed seed; more make the direction surer.
          within: whether to compare images of one class, such as a person, only with each other.
        Raises:
          DataError: if the images have no such attribute, or all are of one class.
          InvalidValueError: if the run is not a flow of images, or for an unknown `by`.
        """
        self.check_pictures()
        check_choice("edit", "by", by, directions.METHODS)
        check_call("edit", EditsOfRun.direction, {"num_rows": num_rows})
        chosen, positive, left_out, threshold = with_values(data, attribute, num_rows)
        fix = "Raise {num_rows}, or choose another attribute." if num_rows < len(data) else ""
        directions.check_two_classes(positive, f"data {data.name!r}", attribute, fix)
        group = None
        if within:
            _check_labelled(chosen)
            kept = directions.in_mixed_groups(positive, np.asarray(chosen.label))
            chosen, positive = chosen.take(np.flatnonzero(kept)), positive[kept]
            group = chosen.label
        found = directions.direction(self.latents(chosen), positive, by, group=group)
        num_with = int(positive.sum())
        return FoundDirection(attribute, found, num_with, len(positive) - num_with, left_out, threshold)

    def accuracy(self, found: FoundDirection, data: Data, num_rows: Count = NUM_ROWS) -> float:
        """How well a direction tells images apart by its attribute, see `Direction.accuracy`; NaN for one class."""
        chosen, positive, _, _ = with_values(data, found.attribute, num_rows, found.threshold)
        if positive.all() or not positive.any():
            return float("nan")
        return found.direction.shares(self.latents(chosen), positive)

    def mean_latents(self, data: Data, classes: Sequence[int], stretch: float = 0.0) -> np.ndarray:
        """The mean latents of classes, such as persons: float64 [len(classes), *latent_shape].

        Args:
          stretch: how much longer to make them, 0 to 1; see `jflows.eval.mean_latents`.
        Raises:
          DataError: if the images have no labels, or a class has no image.
        """
        self.check_pictures()
        _check_labelled(data)
        rows = [np.flatnonzero(data.label == number) for number in classes]
        label = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
        if not len(label):
            raise DataError(f"data {data.name!r}", "label", "must hold images of these classes", "none")
        return directions.mean_latents(self.latents(data.take(np.concatenate(rows))), label, len(rows), stretch)

    def latents(self, data: Data) -> np.ndarray:
        """The latents of images, integers at the centres of their bins: [num, *latent_shape]."""
        self.density.reading.check(data, "edit")
        read, context = as_read(data, self.density), self._context_of(data)
        parts = []
        for start in range(0, len(read), BATCH):
            rows = np.arange(start, start + BATCH) % len(read)  # filled up, so that all batches have one shape
            own = None if context is None else context[rows]
            parts.append(np.asarray(_encode(self.density, self.variables, read.x[rows], own))[: len(read) - start])
        return np.concatenate(parts)

    def edit(self, images: Data, shift: np.ndarray, alphas: Sequence[float]) -> Edited:
        """Moves images by alpha times a shift in latent space; see `jflows.eval.edit`.

        Args:
          images: the images, of the run's size.
          shift: [*latent_shape], such as `found.direction.shift`, or the difference of two of `mean_latents`.
          alphas: the steps; 0 is the image itself.
        Raises:
          InvalidValueError: if the run is not a flow of images, or there are no alphas.
          DataError: if the images do not suit the run.
        """
        self.check_pictures()
        self.density.reading.check(images, "edit")
        steps = tuple(float(alpha) for alpha in alphas)
        check_alphas(steps)
        read, context = as_read(images, self.density), self._context_of(images)
        size, parts = max(1, BATCH // len(steps)), []
        for start in range(0, len(read), size):
            rows = np.arange(start, start + min(size, len(read))) % len(read)
            own = None if context is None else context[rows]
            given = np.float32(shift), np.asarray(steps, np.float32), own
            found = _edit(self.density, self.variables, read.x[rows], *given)
            parts.append([np.asarray(part)[: len(read) - start] for part in found])
        x, log_prob = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Edited(x, log_prob, steps)

    def save_edits(
        self,
        edited: Edited,
        path: Path | None = None,
        *,
        names: Sequence[str] = (),
        measured: np.ndarray | None = None,
        attribute: str = "",
    ) -> Path:
        """Draws edited images, of which it shows the first 20, with ln p in nats under each; returns the path.

        Args:
          path: the .png file to write; None takes edit.png in the run directory.
          names: a name for each image.
          measured: what an attribute measures in each edited image, [num, num_steps], written below ln p.
          attribute: the name of this attribute.
        """
        path = self.directory / FILE if path is None else path
        texts = [[f"ln p = {value:.0f}" for value in row] for row in edited.log_prob[:MAX_ROW]]
        if measured is not None:
            pairs = zip(texts, measured[:MAX_ROW], strict=True)
            texts = [[f"{text}\n{attribute} {value:.1f}" for text, value in zip(*pair, strict=True)] for pair in pairs]
        headings = [f"alpha = {alpha:.3g}" for alpha in edited.alphas]
        options = {"headings": headings, "names": list(names[:MAX_ROW]), "num_bits": pixel_bits(self.density)}
        save_image(captions.captioned_grid(edited.x[:MAX_ROW], texts, **options), path)
        return path

    def save_means(
        self, latents: np.ndarray, names: Sequence[str], classes: Sequence[int], path: Path | None = None
    ) -> Path:
        """Draws the images of mean latents, by `mean_latents`, with name and ln p in nats under each; returns the path.

        Args:
          names, classes: names and numbers of the classes of the latents.
          path: the .png file to write; None takes edit.png in the run directory.
        """
        self.check_pictures()
        path = self.directory / FILE if path is None else path
        context = np.asarray(classes, np.int32) if self.density.reading.context == "labels" else None
        x, log_prob = (np.asarray(a) for a in _decode(self.density, self.variables, np.float32(latents), context))
        columns = min(len(x), MEANS_IN_ROW)
        texts = [f"{name}\nln p = {value:.0f}" for name, value in zip(names, log_prob, strict=True)]
        rest = -len(x) % columns  # places of the last row that stay white
        white = np.full((rest, *x.shape[1:]), 2 ** pixel_bits(self.density) - 1, x.dtype)
        tiles = np.concatenate([x, white]).reshape(-1, columns, *x.shape[1:])
        texts = np.array([*texts, *[""] * rest], object).reshape(-1, columns).tolist()
        save_image(captions.captioned_grid(tiles, texts, num_bits=pixel_bits(self.density)), path)
        return path

    def measured(self, edited: Edited, data: Data, attribute: str) -> np.ndarray | None:
        """What a measured attribute of the data is in edited images, float32 [num, num_steps]; None of others."""
        measure = data.measures.get(attribute)
        if measure is None:
            return None
        flat = edited.x.reshape(-1, *edited.x.shape[2:]) / np.float32(2 ** pixel_bits(self.density) - 1)
        return measure(flat).reshape(edited.x.shape[:2])

    def class_numbers(self, data: Data, names: Sequence[str], argument: str, others: tuple[str, ...] = ()) -> list[int]:
        """The numbers of classes from their names, or from their numbers as text where they have no names.

        Args:
          argument: what errors call the names.
          others: further words that the argument takes, which errors name.
        Raises:
          DataError: if the images have no classes.
          InvalidValueError: if there is no such class, or one is named twice.
        """
        if names:
            _check_labelled(data)
        known = class_names(data)
        for place, name in enumerate(names):
            if name in names[:place]:
                raise InvalidValueError("edit", argument, "must name each class once", f"{name!r} twice")
            if name not in known:
                listed = ", ".join(known) if len(known) <= MAX_ROW else f"{', '.join(known[:3])}, ..., {known[-1]}"
                rule = f"must be classes of {data.name}: {', or '.join((listed, *others))}"
                near = did_you_mean(name, (*known, *others)).strip()
                raise InvalidValueError("edit", argument, rule, repr(name), near)
        return [known.index(name) for name in names]

    def check_pictures(self) -> None:
        """Raises `InvalidValueError` unless the run is a flow of images, whose latent paths can be drawn."""
        kind, encodes = self.density.reading.kind, self.density.encodes
        if not (encodes and kind.has_pixels):
            rule = "must be that of a flow of images, to draw them"
            got = f"{self.directory}, a {'flow' if encodes else 'mixture'} of {kind.plural}"
            raise InvalidValueError("pictures", "run", rule, got, "Try `jflows sample`.")

    def _context_of(self, data: Data) -> np.ndarray | None:
        return self.density.reading.context_of(data)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of measured values, and its standard error; images in which nothing can be measured are passed over."""
    known = values[has_value(values)].astype(np.float64)
    if not len(known):
        return float("nan"), float("nan")
    return float(known.mean()), float(known.std(ddof=1) / len(known) ** 0.5) if len(known) > 1 else 0.0


def class_names(data: Data) -> tuple[str, ...]:
    """The names of the classes of data, or their numbers as text where they have none."""
    return data.class_names or tuple(map(str, range(data.num_classes or 0)))


def names_of(images: Data) -> list[str]:
    """A name for each image: that of its class, or of its file; empty where it has neither."""
    if images.label is not None and not images.partly_labelled:
        names = class_names(images)
        return [names[number] for number in images.label]
    files = images.name.split(", ")
    return files if len(files) == len(images) else [""] * len(images)


def _check_labelled(data: Data) -> None:
    check_is_data("edit", "data", data)
    if data.label is None:
        fix = "Put the images of each person into a folder of its own, and name the folder above."
        raise DataError("edit", "data", "must have classes, such as persons", f"{data.name!r} without", fix)


def check_alphas(alphas: Sequence[float]) -> None:
    """Raises `InvalidValueError` if there are no steps, or one is not finite or too large for float32."""
    if not alphas or not all(abs(alpha) <= LARGEST_ALPHA for alpha in alphas):
        rule = f"must be numbers from {-LARGEST_ALPHA:,.0f} to {LARGEST_ALPHA:,.0f}, at least one"
        raise InvalidValueError("edit", "alpha", rule, ", ".join(map("{:g}".format, alphas)) or "none")


def check_attribute(data: Data, attribute: str) -> None:
    """Raises `DataError` if the data have no such attribute; nothing is measured."""
    check_is_data("edit", "data", data)
    if attribute not in data.attribute_names:
        data.attribute(attribute)  # raises


def with_values(
    data: Data, attribute: str, num_rows: int, threshold: float | None = None
) -> tuple[Data, np.ndarray, int, float | None]:
    """At most `num_rows` images that have a value, which of them have the attribute, how many were left out, and the
    threshold of numbers, which is their median unless it is given.

    Raises:
      DataError: if there is no such attribute, or no image has a value.
    """
    check_attribute(data, attribute)
    if num_rows < len(data):
        data = data.take(np.sort(np.random.RandomState(0).permutation(len(data))[:num_rows]))
    values = data.attribute(attribute)
    known = has_value(values)
    if not known.any():
        rule = "must have a value for at least one image of each class"
        raise DataError(
            f"data {data.name!r}", attribute, rule, "none", "Choose another attribute, or give more images."
        )
    if threshold is None:
        threshold = threshold_of(values)
    chosen = data if known.all() else data.take(np.flatnonzero(known))
    positive = values[known] > threshold
    return chosen, positive, int(np.sum(~known)), None if is_truth(values) else threshold


def pictured(data: Data, num: int, seed: int, classes: Sequence[int] = ()) -> Data:
    """`num` images to edit: some by the seed, or those of classes in turn, in the order of the data.

    Raises:
      InvalidValueError: if there are too few.
    """
    if not classes:
        rows = np.random.RandomState(seed % 2**32).permutation(len(data))
    else:
        of_each = [np.flatnonzero(data.label == number) for number in classes]
        most = max(map(len, of_each))
        rows = np.array([own[i] for i in range(most) for own in of_each if i < len(own)], int)
    if len(rows) < num:
        of_which = " of these classes" if classes else ""
        rule = f"must be at most the number of images{of_which} in {data.name}, {len(rows)}"
        raise InvalidValueError("edit", "num", rule, num, "Ask for fewer, or name others.")
    return data.take(rows[:num])


_encode = jax.jit(encode_centres, static_argnames=("flow",))
_edit = jax.jit(directions.edit, static_argnames=("flow",))


@functools.partial(jax.jit, static_argnames=("density",))
def _decode(density: Density, variables: Variables, z: Array, context: Array | None) -> tuple[Array, Array]:
    return decode_data(density, variables, z, context)  # pyright: ignore[reportArgumentType]

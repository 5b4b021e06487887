"""How like real images samples are: distances in features of a small network, which is trained once and kept.

`jflows/eval/fidelity.py` computes the distances, `jflows/eval/features.py` trains the network.
"""

import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jflows.data import Data, cache_dir
from jflows.data.store.archives import say
from jflows.errors import DataError, RunError, check_event_shape
from jflows.eval.features import CHANNELS, HIDDEN, STEPS, FeatureNetwork, train_features, weight_shapes
from jflows.eval.fidelity import NUM_BLOCKS, KernelDistance, frechet_distance, kernel_distance
from jflows.eval.sampling import sample_in_chunks
from jflows.flows import Density
from jflows.options import Count, Seed, Temperature, checked
from jflows.runs.data import checksum
from jflows.runs.files import crc32_of, saving, write_json
from jflows.runs.reports import samples
from jflows.runs.reports.interpolation import choose
from jflows.typing import Variables

FILE = "fidelity.json"
MOST = 10_000  # images that are compared unless told otherwise
FOLDER = "networks"
FORMAT = 1  # of a network's file; another training or another file needs another number


class Distances(NamedTuple):
    """The distances of one set of images from test images, in features: smaller is more alike."""

    frechet: float
    kernel: KernelDistance


class Fidelity(NamedTuple):
    """How far samples, and training images, lie from test images.

    Attributes:
      of_samples: the distances of samples.
      of_training: those of as many training images, which real images of this kind have.
      num: the number of samples, of training images and of test images.
      temperature: factor of the deviation of the latents of samples.
      network: the network whose features were compared.
      network_data: the name of the data that it was trained on.
      data: the name of the images that were not trained on.
      label: the class that was compared alone, or None.
      seed: which chose images, and drew samples.
    """

    of_samples: Distances
    of_training: Distances
    num: int
    temperature: float
    network: FeatureNetwork
    network_data: str
    data: str
    label: int | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain values."""
        rows = {"samples": self.of_samples, "training_images": self.of_training}
        found = {
            name: {
                "frechet_distance": row.frechet,
                "kernel_distance": row.kernel.value,
                "kernel_distance_standard_error": row.kernel.standard_error,
            }
            for name, row in rows.items()
        }
        own = {"data": self.network_data, "accuracy": self.network.accuracy, "num_train": self.network.num_train}
        drawn = {"num": self.num, "temperature": self.temperature, "label": self.label, "seed": self.seed}
        return {**found, "data": self.data, **drawn, "network": own}


@checked
def measure_fidelity(
    density: Density,
    variables: Variables,
    network: FeatureNetwork,
    rows: Data,
    new: Data,
    *,
    network_data: str,
    num: Count | None = None,
    temperature: Temperature = 1.0,
    label: int | None = None,
    seed: Seed = 0,
) -> Fidelity:
    """The distances of samples, and of training images, from images that were not trained on.

    Args:
      rows: the training images, with the bits that the density models.
      new: images that were not trained on, with the same bits.
      num: how many of each are compared; None takes 10,000, or as many as there are. The seed chooses which.
      label: the class of the samples, and of the images that they are compared with; None takes all classes, and draws
        them in turn.
    Raises:
      InvalidValueError: if the density has no such class.
      DataError: if both are the same images, or there are fewer than are asked for, or fewer than 20.
    """
    if checksum(new) == checksum(rows):
        rule, fix = "must be images that the run was not trained on", "Name other {data}, or another {split}."
        raise DataError("fidelity", "data", rule, f"its training images, {new.name!r}", fix)
    if label is not None:
        new, rows = _of_class(new, label), _of_class(rows, label)
    num = min(MOST, len(new), len(rows)) if num is None else num
    if num < 2 * NUM_BLOCKS:
        raise DataError("fidelity", "num", f"must be at least {2 * NUM_BLOCKS} images", num, "Compare more.")
    bits = samples.pixel_bits(density)
    chosen = (each.x[choose(each, num, seed, "fidelity")] for each in (new, rows))
    of_new, of_rows = (network.features(x, bits) for x in chosen)
    context = samples.contexts(density, rows, num, label)
    drawn = sample_in_chunks(density, variables, jax.random.key(seed), num, context, temperature, chunk_size=500)
    of_samples = np.concatenate([network.features(x, bits) for x in drawn])
    shuffled = of_samples[np.random.RandomState(seed % 2**32).permutation(num)]  # classes are drawn in turn
    one, other = (Distances(frechet_distance(x, of_new), kernel_distance(x, of_new)) for x in (shuffled, of_rows))
    return Fidelity(one, other, num, temperature, network, network_data, new.name, label, seed)


def _of_class(data: Data, label: int) -> Data:
    if data.label is None:
        rule = "must have labels, as samples of one class are compared with images of that class"
        raise DataError("fidelity", "data", rule, f"{data.name!r} without labels", "Leave {label} out.")
    return data.take(np.flatnonzero(data.label == label))


def save_fidelity(found: Fidelity, path: Path, **facts: Any) -> None:
    """Writes all numbers as JSON, with facts about the run, and a checksum."""
    write_json(path, {**found.to_json(), **facts})


def network_of(train: Data, test: Data, density: Density, argument: str) -> FeatureNetwork:
    """The network of a data set, from its file in the cache; trained and kept there where there is none.

    Args:
      argument: the name of the setting that names the data, for errors.
    Raises:
      DataError: if the data have no labels, or images of another shape than the density.
      RunError: if the file is damaged, or cannot be written.
    """
    if train.label is None:
        rule, fix = "must have labels, which train the network", "Name other data of such images by {network}."
        raise DataError("fidelity", argument, rule, f"{train.name!r} without labels", fix)
    fix = "Name data with images of this shape by {network}."
    check_event_shape("fidelity", "network", tuple(train.x.shape), tuple(density.event_shape), fix)
    setting = [FORMAT, CHANNELS, HIDDEN, STEPS, checksum(train), checksum(test)]
    path = cache_dir() / FOLDER / f"features_{crc32_of(setting):08x}.npz"
    if path.is_file():
        return _read(path)
    say(f"training a network on {len(train):,} images of {train.name}, once")
    network = train_features(train, test, num_steps=STEPS)
    numbers = {name: getattr(network, name) for name in NUMBERS}
    with saving(path) as partial, partial.open("wb") as file:
        arrays: Any = {"mean": network.mean, "deviation": network.deviation, **network.weights}
        np.savez(file, numbers=json.dumps(numbers), **arrays)
    return network


NUMBERS = ("accuracy", "num_classes", "num_train", "num_test", "event_shape")


def _read(path: Path) -> FeatureNetwork:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            numbers = json.loads(str(arrays.pop("numbers")))
        mean, deviation = arrays.pop("mean"), arrays.pop("deviation")
        numbers["event_shape"] = tuple(numbers["event_shape"])
        wanted = weight_shapes(numbers["event_shape"], numbers["num_classes"])
        whole = {name: array.shape for name, array in arrays.items()} == wanted and mean.shape == deviation.shape == (
            HIDDEN,
        )
        if not whole or not all(np.isfinite(array).all() for array in (mean, deviation, *arrays.values())):
            raise ValueError("arrays of other shapes, or numbers that are not finite")
        return FeatureNetwork(arrays, mean, deviation, **numbers)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        fix = "Delete it; it is then trained again."
        raise RunError(
            "fidelity", str(path), "must be a readable network", " ".join(str(error).split()), fix
        ) from error

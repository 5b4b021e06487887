"""Digits: the 1,797 small handwritten digits that come with scikit-learn; the images that need no network."""

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.strokes import STROKES
from jflows.errors import DataError

NUM_TRAIN = 1437  # of 1,797: four in five


def read() -> Arrays:
    """The 1,797 handwritten digits of scikit-learn, 8x8, in a seeded split of 1,437 and 360.

    Differs from the original: its levels are 0..16; 16 is stored as 15, so that a pixel has exactly 4 bits.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        fix = "Run `pip install scikit-learn`."
        raise DataError("load", "digits", "needs scikit-learn, which holds it", str(error), fix) from error
    bunch = load_digits()
    x = np.minimum(bunch.images, 15).astype(np.uint8)[..., None]  # pyright: ignore[reportAttributeAccessIssue]
    label = bunch.target.astype(np.int32)  # pyright: ignore[reportAttributeAccessIssue]
    rows = np.random.RandomState(0).permutation(len(x))  # RandomState: its stream is frozen for all numpy versions
    train, test = rows[:NUM_TRAIN], rows[NUM_TRAIN:]
    return {"train": (x[train], label[train]), "test": (x[test], label[test])}


DATA = FixedImages(
    name="digits",
    title="Handwritten digits of scikit-learn, 8x8, 4 bits",
    licence="The images come with scikit-learn, which is under the BSD licence.",
    credit="Cite Alpaydin and Kaynak 1998, UCI Machine Learning Repository.",
    notes="Level 16 of the original is stored as 15, so that a pixel has exactly 4 bits; a seed shuffles the rows.",
    event_shape=(8, 8, 1),
    num_bits=4,
    num_classes=10,
    num_train=NUM_TRAIN,
    num_test=360,
    prepare_seconds=2,
    read=read,
    measures=STROKES,
)

"""`FixedImages`: images whose training and test rows are fixed; "validation" is held out of the training rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jflows.data.attributes import Measure
from jflows.data.dataset import ImageData
from jflows.data.kinds import IMAGES, Kind
from jflows.data.protocols.base import Places, PreparedData
from jflows.data.splits import split_rows

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]]
"""By split: images uint8 [num, height, width, channels], labels [num], and attributes, int8 [num], if there are any."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FixedImages(PreparedData):
    """Labelled images whose training and test rows are fixed.

    Attributes:
      read: reads the `Arrays` of "train" and "test"; see `PreparedData`.
      event_shape: (height, width, channels).
      num_bits: a pixel is an integer in 0..2^num_bits - 1.
      num_classes: labels are 0..num_classes - 1.
      num_train, num_test: number of rows of each split.
      mirror: whether an image flipped left to right is as natural as the image itself.
      class_names: the names of classes, in the order of labels; () where they have none.
      attributes: names of the attributes that `read` gives, all of which are truth values.
      measures: functions that measure further attributes, see `jflows.data.base.Data`.
    """

    kind: ClassVar[Kind] = IMAGES

    event_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    num_bits: int = 8
    mirror: bool = False
    class_names: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """The options of data that are prepared, and `stream`."""
        return (*super().options, "stream")

    @property
    def protocol(self) -> str:
        """A sentence that says which rows are "train", "validation" and "test"."""
        rows = f"The first {self.num_train:,} images are for training and {self.num_test:,} others for testing"
        return f"{rows}; the last `num_validation` training images are the validation split."

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> ImageData:
        """Loads one split; see `KnownData.load`."""
        test = split == "test"
        start, stop = (0, self.num_test) if test else split_rows(split, self.num_train, num_validation)
        store = self.store()
        read = store.stored_images if options.get("stream") else store.read_images
        found = read(store.prepare(self, places), "test" if test else "train", start, stop)
        own = {"class_names": self.class_names, "attributes": found.attributes, "measures": self.measures}
        return ImageData(self.name, found.x, found.label, self.num_bits, self.num_classes, **own)

"""CelebA at 128x128: photographs of well-known people with forty attributes, from tensorflow-datasets' catalogue.

No package registry holds them, so that the first use needs a network, or a folder in which tensorflow-datasets has
prepared `celeb_a` already, see `jflows.data.store.catalogue`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages

CROP, SIZE = 148, 128  # pixels at a side: the square in the middle of 218x178, and what it is resized to
NUM_TRAIN, NUM_TEST = 30000, 3000  # of 162,770 and 19,962: 1.6 GB of pixels
LABEL = "Male"
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""Names of the attributes, in the order and spelling of the data set."""


def cropped(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The square of 148 pixels in the middle, resized by a triangle filter as wide as a new pixel (Pillow's BILINEAR).

    Args:
      image: uint8 [218, 178, 3].
      size: height and width of the result.
    Returns:
      uint8 [size, size, 3].
    """
    from PIL import Image

    height, width = image.shape[:2]
    top, left = (height - CROP) // 2, (width - CROP) // 2
    square = Image.fromarray(np.ascontiguousarray(image[top : top + CROP, left : left + CROP]))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR), np.uint8)


def read(num_train: int = NUM_TRAIN, num_test: int = NUM_TEST) -> Arrays:
    """The first examples of the splits "train" and "test" of `celeb_a`, which are in a random order.

    Raises:
      DataError, MissingPackageError: see `jflows.data.store.catalogue.examples`.
    """
    from jflows.data.store.catalogue import examples  # here, as it needs tensorflow-datasets

    numbers = {"train": num_train, "test": num_test}
    return {split: _arrays(examples("celeb_a", split, num), num) for split, num in numbers.items()}


def _arrays(examples: Iterable[Mapping[str, Any]], num: int) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
    x = np.empty((num, SIZE, SIZE, 3), np.uint8)
    attributes = {name: np.empty(num, np.int8) for name in ATTRIBUTES}
    for row, example in enumerate(examples):
        x[row] = cropped(example["image"])
        for name, values in attributes.items():
            values[row] = example["attributes"][name]
    return x, attributes[LABEL].astype(np.int32), attributes


DATA = FixedImages(
    name="celeb_a_128",
    title="CelebA faces with forty attributes, 128x128 RGB",
    licence="The images are for research that is not commercial; see the agreement of the MMLAB of the Chinese "
    "University of Hong Kong.",
    credit="Cite Liu et al. 2015, arXiv:1411.7766.",
    notes="The square of 148 pixels in the middle is resized to 128; labels are the attribute Male. The data come from "
    "celeb_a of tensorflow-datasets, which must be able to download it or have prepared it.",
    event_shape=(SIZE, SIZE, 3),
    num_classes=2,
    class_names=("not male", "male"),
    attributes=ATTRIBUTES,
    num_train=NUM_TRAIN,
    num_test=NUM_TEST,
    mirror=True,
    prepare_seconds=300,
    read=read,
)

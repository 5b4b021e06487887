"""Images in logit space: the formula, the splits, and the Gaussian row of the paper."""

import dataclasses

import numpy as np
import pytest

from jflows.data import KNOWN, ImageData, load
from jflows.data.protocols.logit import to_logit
from jflows.errors import DataError
from jflows.eval import gaussian_baseline

RAMP = ImageData("ramp", 10 * np.arange(2 * 12, dtype=np.uint8).reshape(2, 2, 2, 3), np.array([3, 5]), num_classes=10)


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_the_sigmoid_takes_pixels_back(alpha):
    pixels = np.random.RandomState(0).randint(0, 256, (3000, 2, 2, 1)).astype(np.uint8)
    x = to_logit(pixels, alpha, seed=0)
    assert x.dtype == np.float32 and x.shape == (3000, 4) and np.isfinite(x).all()
    share = (1 / (1 + np.exp(-x.astype(np.float64))) - alpha) / (1 - 2 * alpha)
    noise = 256 * share - pixels.reshape(3000, -1)
    assert noise.min() > -1e-3 and noise.max() < 1 + 1e-3
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size)
    images = KNOWN["mnist_logit"]
    known = dataclasses.replace(images, alpha=alpha, source=dataclasses.replace(images.source, event_shape=(2, 2, 1)))
    off = np.abs(known.as_images(x).astype(int) - pixels)
    assert off.max() <= 1 and off.mean() < 1e-3  # where the noise was within rounding of 0 or 1


def test_only_training_rows_are_mirrored():
    known = KNOWN["cifar10_logit"]
    train, test = known.table(RAMP, "train"), known.table(RAMP, "test")
    assert train.x.shape == (4, 12) and train.label.tolist() == [3, 5, 3, 5] and train.num_classes == 10
    assert test.x.shape == (2, 12)
    own, mirrored = train.x.reshape(2, 2, 2, 2, 3)
    np.testing.assert_allclose(own, mirrored[:, :, ::-1], atol=0.4)  # but for the noise
    assert np.abs(own - mirrored).max() > 0.4


@pytest.mark.slow
def test_the_gaussian_row_of_the_paper():
    """Published: -1366.9 +- 1.4."""
    try:
        train, test = load("mnist_logit", "train"), load("mnist_logit", "test")
    except DataError as error:
        pytest.skip(f"MNIST cannot be fetched: {error}")
    assert train.x.shape == (50000, 784) and len(load("mnist_logit", "validation")) == len(test) == 10000
    score = gaussian_baseline(train.x, test.x)
    assert score.nats == pytest.approx(-1366.9, abs=2.0)

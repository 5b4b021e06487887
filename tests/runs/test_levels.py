"""The picture of levels, by the run of a flow that has some."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import jflows
from jflows.data import ImageData
from jflows.errors import DataError, InvalidValueError
from jflows.runs import TrainedRun
from tests.presets import filled


def test_a_row_holds_the_image_and_draws_of_each_level(trained, tmp_path):
    flow = jflows.glow((4, 4, 1), 2, 1, 2)
    images = ImageData("noise", np.random.RandomState(0).randint(0, 256, (5, 4, 4, 1)))
    opened = TrainedRun.open(trained.directory)
    with pytest.raises(InvalidValueError, match="pictures: `run` must be that of a flow of images, to draw them"):
        opened.levels(images)
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), images.x), 0)
    run = dataclasses.replace(opened, density=flow, variables=variables)
    path = run.levels(images, tmp_path / "levels.png", num=3, num_draws=2)
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert pixels.shape[1] == (1 + 2 * 2) * 59 + 3 and pixels.shape[0] == 3 * 59 + 3 + 22
    with pytest.raises(DataError, match="`num` must be at most 5, as 'noise' has 5 images here; got 9"):
        run.levels(images, num=9)
    with pytest.raises(InvalidValueError, match="`num` must make at most 10,000 images in one picture, with num_draws"):
        run.levels(images, num=5, num_draws=10_000)
    one = dataclasses.replace(run, density=jflows.glow((4, 4, 1), 1, 1, 2))
    with pytest.raises(InvalidValueError, match="levels: `run` must be that of a flow with at least two levels"):
        one.levels(images)
    with pytest.raises(InvalidValueError, match="`temperature` must be a single number for a table; got 0.5, 1"):
        opened.save_temperatures((0.5, 1.0), 3)

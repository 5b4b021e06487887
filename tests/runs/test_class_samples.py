"""Grids of samples of a class-conditional flow: one row for each class."""

import numpy as np
from PIL import Image

from jflows.data import ImageData
from jflows.eval import Evaluation
from jflows.flows import presets
from jflows.runs.reports import Material, samples


def test_grids_have_a_row_for_each_class(tmp_path, monkeypatch):
    flow = presets.glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_classes=3)
    data = ImageData("shades", np.zeros((6, 4, 4, 1), np.uint8), np.arange(6, dtype=np.int32) % 3, num_classes=3)
    score = Evaluation(1.0, 0.1, -1.0, 0.1, 6, 6)
    seen = []

    def by_label(density, variables, key, num, context, temperature):
        seen.append(num)
        return np.broadcast_to(context[:, None, None, None] * 100, (num, 4, 4, 1)).astype(np.uint8)

    monkeypatch.setattr(samples, "draw", by_label)
    files = samples.write(Material(flow, {}, data, [], score, tmp_path))
    assert set(seen) == {3 * samples.OF_EACH_CLASS} and "samples_T0.70.png" in files
    with Image.open(tmp_path / "samples_T0.70.png") as image:
        pixels = np.asarray(image.convert("L"))
    side = 56 + 3
    assert pixels.shape[0] == 3 * side + 3
    for label in range(3):
        row = pixels[label * side + 10, -(side * samples.OF_EACH_CLASS) :]
        assert set(row.tolist()) == {100 * label, 255}  # images and gaps

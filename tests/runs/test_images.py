"""Image files that a user names: read as data are, and refused in one line where they do not suit the flow."""

import re

import numpy as np
import pytest
from PIL import Image

from jflows import DataError, InvalidValueError, glow, realnvp
from jflows.runs.images import read_images

GRAY = glow((4, 6, 1), num_levels=1, num_steps=1, width=4, num_bits=5)
COLOUR = glow((4, 6, 3), num_levels=1, num_steps=1, width=4)
CLASSES = glow((4, 6, 1), num_levels=1, num_steps=1, width=4, num_classes=3)
PIXELS = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)


@pytest.fixture
def files(tmp_path):
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(PIXELS[..., 1]).save(tmp_path / "other.png")
    Image.fromarray(PIXELS).save(tmp_path / "colour.png")
    Image.fromarray(PIXELS[..., 0].T.copy()).save(tmp_path / "turned.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_files_come_in_their_order_with_the_bits_of_the_density(files):
    found = read_images([files / "other.png", str(files / "gray.png")], GRAY)
    np.testing.assert_array_equal(found.x, np.stack([PIXELS[..., 1:2], PIXELS[..., :1]]) // 8)
    assert (found.num_bits, found.label, found.name) == (5, None, "other.png, gray.png")
    np.testing.assert_array_equal(read_images([files / "colour.png"], COLOUR).x, PIXELS[None])
    assert read_images([files / "gray.png"] * 2, CLASSES, label=2).label.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("density", "name", "part"),
    [
        (GRAY, "turned.png", "must be 6x4 pixels (width x height) in gray, as the flow is for; got"),
        (GRAY, "turned.png", "4x6 pixels (width x height) in gray. Convert it, such as in Python by PIL.Image"),
        (GRAY, "colour.png", "6x4 pixels (width x height) in colour."),
        (GRAY, "absent.png", "`image` must name a file; got"),
        (GRAY, "", "which is a folder. Name the files in it one by one, or the folder by data."),
        (GRAY, "broken.png", "must be an image that Pillow can read"),
    ],
)
def test_files_that_do_not_suit_are_refused(files, density, name, part):
    with pytest.raises(DataError, match=re.escape(part)):
        read_images([files / name], density)


@pytest.mark.parametrize(("density", "name"), [(GRAY, "turned.png"), (GRAY, "colour.png"), (COLOUR, "turned.png")])
def test_the_advice_of_the_error_helps(files, density, name):
    with pytest.raises(DataError) as error:
        read_images([files / name], density)
    advice = error.value.fix.partition("such as in Python by ")[2].removesuffix(".")
    exec(f"import PIL.Image\n{advice.replace('in.png', f'{files / name}').replace('out.png', f'{files}/out.png')}")
    assert read_images([files / "out.png"], density).x.shape == (1, *density.event_shape)


@pytest.mark.parametrize(
    ("density", "settings", "part"),
    [
        (GRAY, {"paths": []}, "`image` must name at least one file; got none"),
        (GRAY, {"label": 1}, "`label` needs a class-conditional flow; got 1. Leave it out."),
        (CLASSES, {}, "`label` must be given with image, as the flow is class-conditional."),
        (CLASSES, {"label": 3}, "`label` must be 0 to 2; got 3"),
        (realnvp((2,), num_layers=2), {}, "`image` must be left out, as the run is not one of images. Name rows by da"),
    ],
)
def test_what_suits_no_file_is_refused(files, density, settings, part):
    with pytest.raises(InvalidValueError, match=re.escape(part)):
        read_images(**{"paths": [files / "gray.png"], "density": density, **settings})

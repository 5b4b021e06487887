"""Commands that draw what a flow of images does with images, on the tiny run of 8x8 digits."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Image files of the size of the run, and one of another."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    for name in "abcd":
        Image.fromarray(random.randint(0, 256, (8, 8), np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(np.zeros((5, 9), np.uint8)).save(folder / "wide.png")
    return folder


def pixels(path):
    return np.asarray(Image.open(path))


def test_interpolate_between_named_files(trained, jflows, pictures, tmp_path):
    files = ["--image", pictures / "a.png", "--image", pictures / "b.png"]
    shown = jflows("interpolate", trained, *files, "--num-steps", 3, "--mode", "both", "--out", tmp_path / "out.png")
    assert shown.exit_code == 0 and "1 linear and spherical paths between a.png, b.png in" in shown.output
    tiles = pixels(tmp_path / "out.png")[:, -(3 * 59) :, 0]  # right of the names of the rows
    first, last = (tiles[3:59:7, at : at + 56 : 7] for at in (0, 118))
    levels = [pixels(pictures / name) // 16 * 17 for name in ("a.png", "b.png")]  # digits have 4 bits
    np.testing.assert_array_equal(first, levels[0])
    np.testing.assert_array_equal(last, levels[1])


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (
            ["--image", "wide.png", "--image", "a.png"],
            "interpolate: `--image` must be 8x8 pixels (width x height) in gray",
        ),
        (["--image", "gone.png", "--image", "a.png"], "gone.png, which does not exist"),
        (["--image", "a.png"], "interpolate: `--image` must be given an even number of times; got 1."),
        (["--image", "a.png", "--same-class"], "`--same-class` must be left out with --image, of which all pairs"),
        (
            ["--image", "a.png", "--split", "test"],
            "interpolate: `--image` must be left out with --split. Leave one out.",
        ),
        (["--image", "a.png", "--image", "b.png", "--num-pairs", 1], "`--num-pairs` must be left out with --image, of"),
        (["--label", "3"], "interpolate: `--label` is the class of files named by --image; got '3'. Leave it out"),
    ],
)
def test_files_that_cannot_be_drawn_are_refused_in_one_line(trained, jflows, pictures, args, part):
    args = [pictures / arg if str(arg).endswith(".png") else arg for arg in args]
    shown = jflows("interpolate", trained, *args)
    assert shown.exit_code == 2 and part in shown.stderr and shown.stderr.count("\n") == 1

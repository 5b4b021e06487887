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
    hidden = np.zeros((8, 8, 3), np.uint8)
    Image.fromarray(hidden).save(folder / "black.png")
    hidden[:, :2] = 255
    Image.fromarray(hidden).save(folder / "mask.png")
    return folder


def pixels(path):
    return np.asarray(Image.open(path))


def test_interpolate_between_named_files(trained, jflows, pictures, tmp_path):
    files = ["--image", pictures / "a.png", "--image", pictures / "b.png"]
    shown = jflows("interpolate", trained, *files, "--num-steps", 3, "--mode", "both", "--out", tmp_path / "out.png")
    assert shown.exit_code == 0 and "1 linear and 1 spherical paths between a.png, b.png in" in shown.output
    tiles = pixels(tmp_path / "out.png")[:, -(3 * 59) :, 0]  # right of the names of the rows
    first, last = (tiles[3:59:7, at : at + 56 : 7] for at in (0, 118))
    levels = [pixels(pictures / name) // 16 * 17 for name in ("a.png", "b.png")]  # digits have 4 bits
    np.testing.assert_array_equal(first, levels[0])
    np.testing.assert_array_equal(last, levels[1])


def test_manifold_has_the_named_files_at_its_corners(trained, jflows, pictures, tmp_path):
    files = [part for name in "abcd" for part in ("--image", pictures / f"{name}.png")]
    out = ["--num-angles", 3, "--turn", "quarter", "--out", tmp_path / "out.png"]
    shown = jflows("manifold", trained, *files, *out)
    assert shown.exit_code == 0, shown.output
    assert "3 by 3 images on the surface through a.png, b.png, c.png, d.png in" in shown.output
    grid = pixels(tmp_path / "out.png")[..., 0]
    for name, top, left in (("a", 3, 3), ("b", 3, 121), ("c", 121, 3), ("d", 121, 121)):
        levels = pixels(pictures / f"{name}.png") // 16 * 17
        np.testing.assert_array_equal(grid[top : top + 56 : 7, left : left + 56 : 7], levels)


def test_neighbours_compares_samples_with_new_images(trained, jflows, tmp_path):
    shown = jflows("neighbours", trained, "--num", 40, "--out", tmp_path / "out.png")
    assert shown.exit_code == 0, shown.output
    assert "nearest of 1,397 training images" in shown.output and "of 40 test images of digits" in shown.output
    of_samples, of_new = (float(line.split()[0]) for line in shown.output.splitlines()[1:3])
    assert of_samples > of_new > 0  # a flow of twenty steps draws noise
    assert "0.0% of the samples lie closer" in shown.output
    assert pixels(tmp_path / "out.png").shape[0] == 5 * 59 + 3
    shown = jflows(
        "neighbours", trained, "--data", "digits", "--split", "train", "--num", 40, "--out", tmp_path / "o.png"
    )
    assert "0.0 of 40 train images of digits" in shown.output  # which are their own neighbours


def test_inpaint_fills_in_what_a_mask_hides(trained, jflows, pictures, tmp_path):
    args = [
        "--image",
        pictures / "a.png",
        "--image",
        pictures / "b.png",
        "--num-steps",
        40,
        "--out",
        tmp_path / "o.png",
    ]
    shown = jflows("inpaint", trained, "--mask", "left", *args)
    assert shown.exit_code == 0, shown.output
    assert "bits/dim of a.png, b.png, from the start to the result:" in shown.output
    before, after = map(float, shown.output.splitlines()[1].replace("left", "").split("->"))
    assert after < before
    grid = pixels(tmp_path / "o.png")[-(2 * 59) :, :, 0]  # below the names of columns
    tiles = [grid[0:56:7, at : at + 56 : 7] for at in range(3, grid.shape[1] - 55, 59)]
    levels = pixels(pictures / "a.png") // 16 * 17
    np.testing.assert_array_equal(tiles[0], levels)
    assert (tiles[1][:, :4] == 7 * 17).all() and len(tiles) == 8
    assert all((tile[:, 4:] == levels[:, 4:]).all() for tile in tiles)
    several = ["--mask", "top", "--mask", pictures / "mask.png"]
    shown = jflows("inpaint", trained, *several, *args, "--start", "sample")
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.output.splitlines()[1:3]] == ["top", "mask.png"]
    result = pixels(tmp_path / "o.png")[-(2 * 59) + 59 :, -59:, 0][0:56:7, 0:56:7]  # of the last image, by the mask
    assert (result[:, 2:] == (pixels(pictures / "b.png") // 16 * 17)[:, 2:]).all()


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (
            ["manifold", "--image", "a.png"],
            "manifold: `--image` must be given 4 times: these images span the surface; g",
        ),
        (["manifold", "--num-angles", 101], "manifold: `--num-angles` must make at most 10,000 images in one picture"),
        (
            ["inpaint", "--mask", "lefft"],
            "`--mask` must be one of top, bottom, odd, even, left, right, middle_vertical",
        ),
        (
            ["inpaint", "--mask", "lefft"],
            "or the path of an image file, in which white is hidden; got 'lefft'. Did you mean l",
        ),
        (
            ["inpaint", "--mask", "wide.png"],
            "`--mask` must be 8x8 pixels (width x height), as the images of the run; got",
        ),
        (
            ["inpaint", "--mask", "black.png"],
            "`--mask` must hide a part of the image; got one that hides nothing. Hide",
        ),
        (
            ["inpaint", "--mask", "left", "--image", "wide.png"],
            "inpaint: `--image` must be 8x8 pixels (width x height) in",
        ),
        (
            ["inpaint", "--mask", "left", "--image", "a.png", "--num", 3],
            "inpaint: `--num` must be left out with --image",
        ),
        (
            ["inpaint", "--mask", "all", "--num", 360],
            "must make at most 10,000 images in one picture; got 360 images und",
        ),
        (
            ["inpaint", "--mask", "all", "--num", 361],
            "`--num` must be at most 360, as 'digits' has 360 images here; got 361.",
        ),
        (
            ["inpaint", "--mask", ""],
            "random_90, all (these ten), or the path of an image file, in which white is hidden; got ''",
        ),
        (["inpaint", "--mask", "al"], "got 'al'. Did you mean all?"),
        (["inpaint", "--mask", "gone.png"], "gone.png', which does not exist."),
        (
            ["inpaint", "--mask", "left", "--start", "smaple"],
            "'smaple' is not one of 'noise', 'sample'. Did you mean sample?",
        ),
        (
            ["interpolate", "--num-pairs", 181],
            "must be at most 180, as 'digits' has 360 images here, 2 for each; got 181. Ask for fewer, or",
        ),
        (
            ["interpolate", "--num-pairs", 999, "--same-class"],
            "`--num-pairs` must be at most 177, as 'digits' has so many pairs of images of one class here; got 999.",
        ),
        (["reconstruct", "--num", 361], "reconstruct: `--num` must be at most 360, as"),
        (
            ["neighbours", "--num", 5000],
            "neighbours: `--num` must be at most 360, as 'digits' has 360 images here; got 5000.",
        ),
        (["neighbours", "--label", "3"], "`--label` needs a class-conditional flow; got 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(trained, jflows, pictures, args, part):
    command, *args = [pictures / arg if str(arg).endswith(".png") else arg for arg in args]
    shown = jflows(command, trained, *args)
    assert shown.exit_code == 2 and part in shown.stderr and shown.stderr.count("\n") == 1


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

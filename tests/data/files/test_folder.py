"""Folders of images, good and bad."""

import struct
import zlib

import numpy as np
import pytest

from jflows.data import has_validation, load, only_classes
from jflows.errors import DataError, InvalidValueError

Image = pytest.importorskip("PIL.Image")


def save(path, value, shape=(4, 5, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(shape, value, np.uint8)
    Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels).save(path)


def values(data):
    return data.x[:, 0, 0, 0].tolist()


def test_flat_folder_is_split_once_and_reproducibly(tmp_path):
    for i in range(30):
        save(tmp_path / f"{i:02d}.{'png' if i % 2 else 'BMP'}", i)
    (tmp_path / ".hidden.png").write_text("passed over")
    (tmp_path / ".hidden.txt").write_text("passed over")
    train, test = load(tmp_path, num_validation=4), load(tmp_path, "test")
    validation = load(tmp_path, "validation", num_validation=4)
    assert (len(train), len(validation), len(test)) == (23, 4, 3)
    assert sorted(values(train) + values(validation) + values(test)) == list(range(30))
    assert values(train) == values(load(tmp_path))[:23]
    assert (train.name, train.event_shape, train.label, train.num_classes) == (tmp_path.name, (4, 5, 3), None, None)


def test_class_folders_are_labels_in_the_order_of_names(tmp_path):
    for label, name in enumerate(["ant", "bee", "cow"]):
        for i in range(5):
            save(tmp_path / name / f"{i}.png", 10 * label + i, (3, 3, 1))
    (tmp_path / "__empty").mkdir()
    data = load(str(tmp_path))
    assert (data.event_shape, data.num_classes, len(data)) == ((3, 3, 1), 3, 14)
    assert data.label is not None
    assert data.label.tolist() == [value // 10 for value in values(data)]


def test_train_and_test_folders_are_the_splits(tmp_path):
    for i in range(6):
        save(tmp_path / "train" / "ab"[i % 2] / f"{i}.png", i)
    save(tmp_path / "test" / "b" / "9.png", 9)
    train, test = load(tmp_path, num_validation=2), load(tmp_path, "test")
    assert sorted(values(train) + values(load(tmp_path, "validation", num_validation=2))) == list(range(6))
    assert test.label is not None
    assert (values(test), test.label.tolist(), test.num_classes) == ([9], [1], 2)
    save(tmp_path / "test" / "c" / "1.png", 1)
    with pytest.raises(DataError, match=r"no class that the training folder lacks \(\['a', 'b'\]\); got \['c'\]"):
        load(tmp_path, "test")


@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
def test_files_that_are_not_images_are_passed_over_with_one_warning(tmp_path, parts):
    for part in parts:
        for i in range(4):
            save(tmp_path / part / "ab"[i % 2] / f"{i}.png", i)
    (tmp_path / parts[0] / "a" / "labels.csv").write_text("")
    with pytest.warns(UserWarning, match="passed over 1 file without the suffix of an image, such as labels.csv"):
        before = values(load(tmp_path))
    (tmp_path / parts[-1] / "notes.txt").write_text("")
    for split in ("train", "test"):
        with pytest.warns(UserWarning, match=r"passed over 2 files .*, such as (labels\.csv|notes\.txt)\.") as caught:
            data = load(tmp_path, split)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert split == "test" or values(data) == before


def test_size_crops_the_centre_and_resizes(tmp_path):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200  # the centre square
    for i in range(2):
        Image.fromarray(wide).save(tmp_path / f"{i}.png")
    save(tmp_path / "2.png", 200, (7, 5, 3))
    train, test = load(tmp_path, size=2), load(tmp_path, "test", size=2)
    assert train.event_shape == test.event_shape == (2, 2, 3)
    assert min(train.x.min(), test.x.min()) > 180  # squeezing without the crop would give 100 and less
    assert load(tmp_path, size=(3, 2)).event_shape == (3, 2, 3)


def test_colour_modes(tmp_path):
    colour = Image.new("RGBA", (2, 2), (9, 8, 7, 255))
    for i, image in enumerate([colour, colour.convert("RGB"), colour.convert("RGB").convert("P")]):
        image.save(tmp_path / f"{i}.png")
    data = [load(tmp_path, split) for split in ("train", "test")]
    pixels = np.concatenate([part.x[:, 0, 0] for part in data])
    assert pixels.shape == (3, 3)
    assert np.abs(pixels.astype(int) - [9, 8, 7]).max() <= 9  # a palette rounds


def test_bad_images_are_named(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", i)
    save(tmp_path / "4.png", 4, (4, 6, 3))
    with pytest.raises(
        DataError, match=r"4\.png` must have the shape of 0\.png, \(4, 5, 3\); got shape \(4, 6, 3\).*or set size"
    ):
        load(tmp_path), load(tmp_path, "test")
    save(tmp_path / "4.png", 4, (4, 5, 1))
    with pytest.raises(DataError, match=r"got shape \(4, 4, 1\)\. Convert all images to gray or all to colour"):
        load(tmp_path, size=4), load(tmp_path, "test", size=4)
    (tmp_path / "4.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"4\.png` must be an image that Pillow can read; got"):
        load(tmp_path), load(tmp_path, "test")
    Image.fromarray(np.full((4, 5), 999, np.uint16)).save(tmp_path / "4.png")
    with pytest.raises(DataError, match=r"4\.png` must have 8 bits per channel; got Pillow mode 'I;16B?'"):
        load(tmp_path), load(tmp_path, "test")


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match=r"must hold images \(\.png.*or class folders of images; got none"):
        load(tmp_path)
    save(tmp_path / "0.png", 0)
    with pytest.raises(DataError, match="must have at least 2 rows, 1 to train on and 1 to test on; got 1"):
        load(tmp_path)
    save(tmp_path / "cat" / "1.png", 1)
    with pytest.raises(
        DataError, match=r"either images or class folders, not both; got 0\.png beside the class folder cat"
    ):
        load(tmp_path)
    for size in (0, (4, 0), (4, 4, 3)):
        with pytest.raises(InvalidValueError, match=r"`size` must be a positive int or \(height, width\)"):
            load(tmp_path, size=size)  # pyright: ignore[reportArgumentType]


def test_colours_of_16_bits_are_refused_instead_of_cut(tmp_path):
    rows = (np.arange(48) * 1000).astype(">u2").reshape(4, 12).tobytes()  # 4 x 4 pixels of 3 channels
    lines = b"".join(b"\0" + rows[24 * i : 24 * i + 24] for i in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png)
    with pytest.raises(DataError, match="must have 8 bits per channel; got Pillow mode 'RGB;16B'"):
        load(tmp_path)


def classes_in(folder, names, count=4, start=0):
    for label, name in enumerate(names):
        for i in range(count):
            save(folder / name / f"{i}.png", start + 10 * label + i)


@pytest.mark.parametrize(
    "words",
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAINING", "testing"),
        ("train", "test", "Val"),
        ("training", "Test", "valid"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path, words):
    for number, word in enumerate(words):
        classes_in(tmp_path / word, ["a", "b"], start=100 * number)
    train, test = load(tmp_path), load(tmp_path, "test")
    assert (len(train), len(test), train.num_classes, train.class_names) == (8, 8, 2, ("a", "b"))
    assert min(values(test)) == 100 and max(values(train)) == 13
    assert has_validation(str(tmp_path), 0) == (len(words) == 3)
    if len(words) == 3:
        assert sorted(values(load(tmp_path, "validation")))[0] == 200
        with pytest.raises(InvalidValueError, match="`num_validation` must be 0 for a folder that holds a validation"):
            load(tmp_path, num_validation=2)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/a", "train/b"), "must hold both a train and a test folder where one .*; got train"),
        (("train/a", "val/a"), "must hold both a train and a test folder .*; got train, val"),
        (("train/a", "Training/a", "test/a"), "must hold one folder of the train images; got Training and train"),
        (("train/a", "test/a", "bees"), "must hold nothing but splits .*; got test, train, bees|got train, test, bees"),
        (("a/b", "c"), "must hold its images in class folders, no deeper; got a/b"),
    ],
)
def test_folders_that_would_be_misread_are_refused(tmp_path, folders, message):
    for folder in folders:
        save(tmp_path / folder / "0.png", 1)
        save(tmp_path / folder / "1.png", 2)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    classes_in(tmp_path, ["bus", "car", "train"])
    assert load(tmp_path).class_names == ("bus", "car", "train")


def test_names_that_are_numbers_sort_as_numbers(tmp_path):
    classes_in(tmp_path, ["2", "10", "1"])
    data = load(tmp_path)
    assert data.class_names == ("1", "2", "10")
    assert all(
        value // 10 == ("2", "10", "1").index(data.class_names[n])
        for value, n in zip(values(data), data.label, strict=True)
    )
    assert only_classes(data, (2, 0)).class_names == ("10", "1")

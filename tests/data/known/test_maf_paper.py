"""GAS, HEPMASS, MINIBOONE and BSDS300 on tiny files of the same form; pandas and h5py are stood in for if absent."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jflows.data import load
from jflows.data.known import bsds300, gas, hepmass
from jflows.errors import DataError, MissingPackageError

pytest.importorskip("tensorflow_datasets")

NUM = 120
SPLITS = ("train", "validation", "test")


def all_splits(name, folder):
    return [load(name, split, data_dir=folder / "tfds", manual_dir=folder).x for split in SPLITS]


def test_gas_drops_correlated_columns_and_keeps_the_order_of_time(tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    x = random.randn(NUM, 8).cumsum(axis=0) * [-1, 1, -1, 1, -1, 1, -1, 1]
    x = np.linalg.qr(x - x.mean(axis=0))[0]  # uncorrelated
    twins = 3 * x[:, :2] + 1e-3 * random.randn(NUM, 2)  # after their originals, which therefore go
    names = ["Time", "Meth", "Eth", *(f"sensor {i}" for i in range(10))]
    write_frame(tmp_path / "gas" / "ethylene_CO.pickle", names, np.hstack([random.rand(NUM, 3), x, twins]), monkeypatch)
    kept = np.hstack([x[:, 2:], twins])
    expected = (kept - kept.mean(axis=0)) / kept.std(axis=0, ddof=1)
    train, validation, test = all_splits("gas", tmp_path)
    assert (len(train), len(validation), len(test)) == (98, 10, 12)
    np.testing.assert_allclose(np.concatenate([train, validation, test]), expected, rtol=1e-5, atol=1e-6)


def write_frame(path, names, values, monkeypatch):
    path.parent.mkdir()
    try:
        import pandas
    except ImportError:
        np.save(path.with_suffix(".npy"), values)
        path.touch()
        stand_in = SimpleNamespace(read_pickle=lambda path: Frame(names, np.load(path.with_suffix(".npy"))))
        monkeypatch.setitem(sys.modules, "pandas", stand_in)
    else:
        pandas.DataFrame(values, columns=names).to_pickle(path)


class Frame:
    def __init__(self, columns, values):
        self.columns, self.values = columns, values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_hepmass_keeps_the_signal_and_continuous_columns(tmp_path):
    random = np.random.RandomState(1)
    folder = tmp_path / "hepmass"
    folder.mkdir()
    discrete = [3, 7, 12, 15, 18, 22]
    continuous = [i for i in range(27) if i not in discrete]
    parts = []
    for name, extra in (("train", 0), ("test", 1)):
        x = random.randn(NUM, 27)
        x[:, discrete] = random.randint(0, 3, (NUM, len(discrete)))
        label = random.randint(0, 2, NUM)
        names = ["# label", *(f"f{i}" for i in range(27)), *["mass"] * extra]
        rows = np.hstack([label[:, None], x, np.full((NUM, extra), 1000.0)])
        np.savetxt(folder / f"1000_{name}.csv", rows, "%.9g", ",", header=",".join(names), comments="")
        parts.append(x[label == 1][:, continuous])
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0, ddof=1)
    train, validation, test = all_splits("hepmass", tmp_path)
    assert len(validation) == len(parts[0]) // 10
    np.testing.assert_allclose(np.concatenate([train, validation]), (parts[0] - mean) / std, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(test, (parts[1] - mean) / std, rtol=1e-4, atol=1e-5)


def test_miniboone_is_standardised_by_all_but_test_rows(tmp_path):
    x = 5 + 3 * np.random.RandomState(2).randn(NUM, 43)
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", x)
    train, validation, test = all_splits("miniboone", tmp_path)
    expected = (x - x[:108].mean(axis=0)) / x[:108].std(axis=0)
    for part, rows in ((train, slice(0, 98)), (validation, slice(98, 108)), (test, slice(108, NUM))):
        np.testing.assert_allclose(part, expected[rows], rtol=1e-5, atol=1e-6)


def test_bsds300_is_taken_as_it_is(tmp_path, monkeypatch):
    arrays = {split: np.random.RandomState(3 + i).randn(4 + i, 63) for i, split in enumerate(SPLITS)}
    path = tmp_path / "BSDS300" / "BSDS300.hdf5"
    path.parent.mkdir()
    try:
        import h5py
    except ImportError:
        path.touch()
        monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=StandInFile))
        monkeypatch.setattr(StandInFile, "content", arrays)
    else:
        with h5py.File(path, "w") as file:
            for split, x in arrays.items():
                file[split] = x
    for found, split in zip(all_splits("bsds300", tmp_path), SPLITS, strict=True):
        assert np.array_equal(found, arrays[split].astype(np.float32))


class StandInFile(dict):
    content: dict = {}  # noqa: RUF012

    def __init__(self, path, mode):
        super().__init__(self.content)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("gas", "gas/ethylene_CO.pickle"),
        ("hepmass", "hepmass/1000_train.csv"),
        ("miniboone", "miniboone/data.npy"),
        ("bsds300", "BSDS300/BSDS300.hdf5"),
    ],
)
def test_missing_files_say_where_they_must_lie(tmp_path, name, file, capsys):
    with pytest.raises(
        DataError, match=rf"`{name}` must be fetched by you and lie in .*{file}; .*zenodo\.org/record/1161203"
    ):
        load(name, data_dir=tmp_path / "tfds", manual_dir=tmp_path)
    assert capsys.readouterr().err == ""  # nothing is said to be prepared


@pytest.mark.parametrize(("package", "read"), [("pandas", gas.read), ("h5py", bsds300.read)])
def test_missing_packages_are_named(tmp_path, monkeypatch, package, read):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingPackageError, match=rf"load: `{package}` is needed to read file; .*Run `pip install {package}`"
    ):
        read(tmp_path / "file")


def test_files_of_another_form_are_refused(tmp_path):
    (tmp_path / "miniboone").mkdir()
    path = tmp_path / "miniboone" / "data.npy"
    np.save(path, np.random.RandomState(0).randn(NUM, 50))
    with pytest.raises(DataError, match=r"must have 43 columns when prepared as in the paper; got shape \(98, 50\)"):
        load("miniboone", data_dir=tmp_path / "tfds", manual_dir=tmp_path)
    x = np.random.RandomState(0).randn(NUM, 43)
    x[3, 7] = np.nan
    np.save(path, x)
    with pytest.raises(DataError, match=r"'miniboone': `x` must be finite in float32; got NaN in row 0, column 'x7'"):
        load("miniboone", data_dir=tmp_path / "tfds", manual_dir=tmp_path)
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"must be an array \[num, dim\] written by numpy; got"):
        load("miniboone", data_dir=tmp_path / "tfds", manual_dir=tmp_path)
    (tmp_path / "train.csv").write_text("# label,f0\n1.0,x\n")
    with pytest.raises(DataError, match="must be a table of numbers with commas and a header; got"):
        hepmass.read(tmp_path / "train.csv", tmp_path / "train.csv")


@pytest.mark.parametrize(
    ("read", "package", "what"),
    [
        (gas.read, "pandas", "a pickled table"),
        (bsds300.read, "h5py", "an HDF5 file with `train`, `validation` and `test`"),
    ],
)
def test_damaged_files_are_refused(tmp_path, read, package, what):
    pytest.importorskip(package)
    (tmp_path / "file").write_bytes(b"neither")
    with pytest.raises(DataError, match=f"must be {what}; got"):
        read(tmp_path / "file")

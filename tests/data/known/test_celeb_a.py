"""CelebA from tensorflow-datasets' catalogue, on a small stand-in that is laid out alike; the study's config on it."""

import dataclasses
import io
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

import jflows
from jflows.data import KNOWN, load
from jflows.data.known import celeb_a_128
from jflows.errors import DataError, MissingPackageError

tfds = pytest.importorskip("tensorflow_datasets")
NUM = {"train": 12, "validation": 2, "test": 4}
SMALL = dataclasses.replace(
    celeb_a_128.DATA,
    name="celeb_a_stand_in",
    num_train=NUM["train"],
    num_test=NUM["test"],
    read=partial(celeb_a_128.read, NUM["train"], NUM["test"]),
)


class _StandIn(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images of noise whose middle is smooth, by number; attributes are the bits of the number."""

    VERSION = tfds.core.Version("2.1.0")
    name = "celeb_a"
    code_path = None

    def _info(self):
        features = {"image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg")}
        features["attributes"] = dict.fromkeys(celeb_a_128.ATTRIBUTES, np.bool_)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(num) for split, num in NUM.items()}

    def _generate_examples(self, num):
        for row in range(num):
            file = io.BytesIO()
            Image.fromarray(stand_in(row)).save(file, "jpeg", quality=95)
            file.seek(0)
            has = {name: bool(row >> place % 4 & 1) for place, name in enumerate(celeb_a_128.ATTRIBUTES)}
            yield row, {"image": file, "attributes": has}


def stand_in(row):
    x = np.random.RandomState(row).randint(0, 256, (218, 178, 3)).astype(np.uint8)
    x[35:183, 15:163] = 20 * row
    return x


def prepare(folder, file_format="array_record"):
    _StandIn(data_dir=str(folder), file_format=file_format).download_and_prepare()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder)
    return folder


@pytest.fixture
def small(folder, monkeypatch):
    """The name of a data set that reads the stand-in as `celeb_a_128` reads the whole."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    for module in ("jflows.data.load", "jflows.runs.data"):
        if module in sys.modules:
            monkeypatch.setattr(sys.modules[module], "KNOWN", {**KNOWN, SMALL.name: SMALL})
    return SMALL.name


def test_the_middle_is_cropped_and_resized():
    x = np.zeros((218, 178, 3), np.uint8)
    x[35:183, 15:163] = np.arange(148, dtype=np.uint8)[:, None, None]
    image = celeb_a_128.cropped(x)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    centres = (np.arange(128) + 0.5) * 148 / 128 - 0.5  # of the new pixels, in old ones
    np.testing.assert_allclose(image[1:-1, 64, 0], centres[1:-1], atol=1)


def test_celeb_a_is_read_with_its_attributes(small, tmp_path):
    data = load(small, "train", data_dir=tmp_path)
    assert data.x.shape == (12, 128, 128, 3) and len(load(small, "test", data_dir=tmp_path)) == 4
    assert len(data.attribute_names) == 40 and data.class_names == ("not male", "male")
    np.testing.assert_allclose(data.x.mean((1, 2, 3)), 20 * np.arange(12), atol=6)  # JPEG, and noise at the border
    rows = np.arange(12)
    assert np.array_equal(data.attributes["5_o_Clock_Shadow"], rows & 1)
    assert np.array_equal(data.attributes["Bags_Under_Eyes"], rows >> 3 & 1)
    assert np.array_equal(data.label, data.attributes["Male"])


def test_what_keeps_celeb_a_from_being_read_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    with pytest.raises(DataError, match="must have at least 13 examples in `train`; got 12. Delete this folder"):
        celeb_a_128.read(13, 1)
    monkeypatch.setattr(tfds, "builder", lambda *args, **options: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(DataError, match="must be prepared by tensorflow-datasets; got OSError: no route. Prepare it"):
        celeb_a_128.read()
    missing = ImportError("No module named 'tensorflow.io'", name="tensorflow.io")
    monkeypatch.setattr(tfds, "builder", lambda *args, **options: (_ for _ in ()).throw(missing))
    with pytest.raises(MissingPackageError, match="`tensorflow` is needed by tensorflow-datasets to prepare celeb_a"):
        celeb_a_128.read()


@pytest.mark.slow
def test_the_whole_configuration_runs_on_stand_ins(small, tmp_path, monkeypatch):
    monkeypatch.setenv("JFLOWS_CACHE", str(tmp_path / "cache"))
    options = dict(num_steps=1, width=4, steps=2, batch_size=4, init_batch=4, eval_batch_size=4, parallel="none")
    run = jflows.run("coherence_celeb_a", tmp_path / "run", data=small, **options)
    assert run.fitted.step == 2 and run.score is not None and np.isfinite(run.score.bits_per_dim)
    assert (run.directory / "samples.png").stat().st_size > 0
    assert run.flow.event_shape == (128, 128, 3)

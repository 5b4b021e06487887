"""The registry: what every known data set states, and that a new one takes one entry."""

import sys

import numpy as np
import pytest

from jflows.data import KNOWN, KnownData, TableData, has_validation, kinds, load, toys
from jflows.data.protocols.drawn import Drawn
from jflows.errors import InvalidValueError

SENTENCES = ("licence", "credit", "protocol")
OPTIONS = {"fold": 3, "manual_dir": ".", "size": 8, "columns": ("x0",), "attributes": "a.csv"}


@pytest.mark.parametrize("name", KNOWN)
def test_every_data_set_states_its_facts(name):
    known = KNOWN[name]
    assert known.name == name and known.title
    for fact in SENTENCES:
        assert len(getattr(known, fact)) > 15 and getattr(known, fact).endswith("."), fact
    axes = {kinds.IMAGES: 3, kinds.TABLE: 1, kinds.WAVEFORMS: 1}
    assert known.kind in axes
    assert len(known.event_shape) == axes[known.kind] and min(known.event_shape) > 0
    assert (known.num_bits is None) != known.kind.has_pixels
    assert (known.context_shape is None) == (known.kind != kinds.WAVEFORMS)
    assert known.num_classes is None or known.num_classes > 1
    assert len(known.columns) in (0, known.event_shape[0] if known.kind.has_columns else 0)
    assert has_validation(name, 5) and has_validation(name, 0) == known.has_validation
    archive = getattr(known, "archive", None)
    assert archive is None or (len(archive.sha256) == 64 and int(archive.sha256, 16))


@pytest.mark.parametrize("name", KNOWN)
def test_options_that_mean_nothing_are_refused_before_anything_is_fetched(name):
    for option, value in OPTIONS.items():
        if option not in KNOWN[name].options:
            with pytest.raises(InvalidValueError, match=f"`{option}` is for .*, not for '{name}'; got .* Drop it"):
                load(name, **{option: value})


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if isinstance(known, Drawn)] + ["digits"])
def test_stated_facts_are_those_of_the_rows(name, tmp_path):
    known, data = KNOWN[name], load(name, "test", data_dir=tmp_path)
    assert (data.name, data.kind, data.event_shape) == (name, known.kind, known.event_shape)
    assert (data.num_bits, data.num_classes) == (known.num_bits, known.num_classes)


def test_every_toy_is_a_data_set():
    assert set(toys.TOYS) < set(KNOWN) and all(known is KNOWN[name] for name, known in toys.TOYS.items())


def test_a_data_set_of_ones_own_takes_one_entry(monkeypatch):
    def draw(num, *, seed=0):
        return TableData("ring", np.random.RandomState(seed).randn(num, 3))

    facts = dict(title="A ball.", licence="It may be used freely, by all.", credit="No credit is due.")
    ring = Drawn(name="ring", draw=draw, **facts)
    loading = sys.modules["jflows.data.load"]  # the name `jflows.data.load` is the function
    monkeypatch.setattr(loading, "KNOWN", {**KNOWN, "ring": ring})
    assert load("ring").x.shape == (20000, 3) and len(load("ring", "validation")) == 5000
    assert has_validation("ring", 0)
    with pytest.raises(InvalidValueError, match="`fold` is for tables that papers score in ten folds, not for 'ring'"):
        load("ring", fold=1)


def test_a_protocol_of_ones_own_writes_one_method(monkeypatch):
    class Constant(KnownData):
        kind, protocol, event_shape = "table", "All splits are one.", (2,)

        def load(self, split, num_validation, options, places):
            return TableData(self.name, np.arange(10.0).reshape(5, 2))

    loading = sys.modules["jflows.data.load"]  # the name `jflows.data.load` is the function
    ramp = Constant(name="ramp", title="A ramp.", licence="It is free.", credit="No credit is due.")
    monkeypatch.setattr(loading, "KNOWN", {"ramp": ramp})
    assert len(load("ramp", "test")) == 5 and not has_validation("ramp", 0)
    assert ramp.as_images(np.zeros((1, 2))) is None

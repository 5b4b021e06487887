"""Clips of waveforms as data: what is refused, batches of them, and how they fit a flow."""

import numpy as np
import pytest

import jflows
from jflows.data import TableData, TrainBatches, WaveformData, eval_batches
from jflows.data.audio import MelSetting
from jflows.errors import DataError

X = np.random.default_rng(0).normal(size=(6, 32))
CONTEXT = np.random.default_rng(1).normal(size=(6, 4, 3))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"WaveformData 'a': `x` must be \[num, samples\] with no empty axis; got shape \(32,\)"),
        (X[:0], r"`x` must be \[num, samples\] with no empty axis; got shape \(0, 32\)"),
        ((X * 100).astype(np.int16), r"`x` must hold floats; got dtype int16. Convert 16-bit samples: \(x / 2\*\*15\)"),
        (np.where(np.arange(6)[:, None] == 2, np.nan, X), r"`x` must be finite; got NaN or infinity in clip 2 \(1 bad"),
    ],
)
def test_what_is_no_waveform_is_refused(x, message):
    with pytest.raises(DataError, match=message):
        WaveformData("a", x)


def test_contexts_must_be_one_for_each_clip():
    with pytest.raises(DataError, match=r"`context` must hold numbers, \[num, \*context_shape\] for num=6 rows"):
        WaveformData("a", X, CONTEXT[:5])


def test_batches_hold_clips_and_their_contexts():
    data = WaveformData("a", X, CONTEXT, MelSetting(), weight=np.arange(6.0))
    assert data.x.dtype == data.context.dtype == np.float32 and len(data.counted()) == 5
    assert data.take(np.array([3, 1])).mel == MelSetting()
    flow = jflows.waveglow((32,), 1, 1, 2, num_layers=1, group=4, context_shape=(4, 3))
    batch = TrainBatches(data.take(np.arange(6), weight=None), 3, 0, flow.reading).at(0, 1)
    assert batch.x.shape == (1, 3, 32) and batch.context.shape == (1, 3, 4, 3)
    assert [b.x.shape for b in eval_batches(data, 4, flow.reading)] == [(4, 32)] * 2
    found = data.statistics()
    np.testing.assert_allclose(found.context_mean, np.average(CONTEXT, 0, np.arange(6.0)), rtol=1e-5)
    assert found.mean.shape == (32,)


def test_waveforms_and_tables_are_told_apart():
    flow = jflows.waveglow((32,), 1, 1, 2, num_layers=1, group=4, context_shape=(4, 3))
    with pytest.raises(DataError, match="fit: `data` must be waveforms for this density; got a table, 'a'"):
        flow.reading.check(TableData("a", X, context=CONTEXT), "fit")
    with pytest.raises(DataError, match="fit: `data` must be a table for this density; got waveforms, 'a'"):
        jflows.maf((32,)).reading.check(WaveformData("a", X), "fit")
    with pytest.raises(DataError, match=r"must have a context of shape \(4, 3\) for this density"):
        flow.reading.check(WaveformData("a", X), "fit")

"""Mel spectrograms: against closed forms, and against librosa where it is installed."""

import dataclasses

import numpy as np
import pytest

from jflows.data.audio import MelSetting, filterbank, istft, log_mel, stft
from jflows.data.audio.mel import hz_to_mel, log_mel_of_padded, mel_to_hz
from jflows.errors import InvalidValueError

SETTING = MelSetting(rate=16_000, window=1024, hop=256, num_mels=80)
SMALL = MelSetting(rate=8_000, window=256, hop=64, num_mels=12, high=4000.0)
RANDOM = np.random.default_rng(0)


def test_the_scale_is_linear_then_logarithmic():
    np.testing.assert_allclose(hz_to_mel([0, 200, 1000, 6400]), [0, 3, 15, 42], atol=1e-12)
    hz = np.linspace(0, 11_025, 50)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_filters_are_triangles_of_area_one_that_overlap_by_half():
    filters, step = filterbank(SETTING), SETTING.rate / SETTING.window
    ends = mel_to_hz(np.linspace(hz_to_mel(0), hz_to_mel(8000), 82))
    wide = (ends[2:] - ends[:-2]) > 20 * step  # so that a sum over frequencies is close to the integral
    assert wide.sum() > 10
    np.testing.assert_allclose(filters[wide].sum(axis=1) * step, 1, atol=5e-3)
    middle = filters * np.where(filters > 0, (ends[2:] - ends[:-2])[:, None] / 2, 0)  # heights of 1
    inside = (np.arange(513) * step > ends[1]) & (np.arange(513) * step < ends[-2])
    np.testing.assert_allclose(middle.sum(axis=0)[inside], 1, atol=1e-9)  # neighbours rise as much as it falls


def test_the_transform_of_a_cosine_is_half_the_sum_of_the_window():
    """cos(2 pi k t / n) times the Hann window has n / 4 at frequency k, half of it beside, and 0 elsewhere."""
    samples = np.cos(2 * np.pi * 20 * np.arange(64 * 32) / 256)
    found = np.abs(stft(samples, SMALL))[4:-4]
    wanted = np.zeros(129)
    wanted[19:22] = 256 / 8, 256 / 4, 256 / 8
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-9)


def test_a_frame_sees_its_own_samples_in_the_middle_of_its_window():
    click = np.zeros(64 * 20)
    click[64 * 9 + 32] = 1.0  # the middle of frame 9
    size = np.abs(stft(click, SMALL)).max(axis=1)
    assert size.argmax() == 9 and np.isclose(size[9], 1) and np.isclose(size[8], size[10])
    assert np.flatnonzero(size > 1e-9).tolist() == [8, 9, 10]


def test_the_inverse_gives_the_samples_back():
    samples = RANDOM.standard_normal(64 * 30)
    np.testing.assert_allclose(istft(stft(samples, SMALL), SMALL), samples, atol=1e-9)


def test_pieces_of_a_spectrogram_are_those_of_pieces_with_their_neighbours():
    samples = RANDOM.standard_normal(64 * 30)
    whole = log_mel(samples, SMALL)
    assert whole.shape == (30, 12) and whole.dtype == np.float32
    piece = log_mel_of_padded(samples[64 * 10 - SMALL.padding : 64 * 14 + SMALL.padding], SMALL)
    np.testing.assert_array_equal(piece, whole[10:14])
    assert log_mel(samples[:-63], SMALL).shape == (30, 12) and log_mel(samples[:-64], SMALL).shape == (29, 12)


def test_silence_is_the_logarithm_of_the_floor():
    np.testing.assert_allclose(log_mel(np.zeros(640), SMALL), np.log(1e-5), rtol=1e-6)


@pytest.mark.parametrize("setting", [SETTING, SMALL, MelSetting(22_050, 1024, 256, 80)], ids=["16k", "small", "paper"])
def test_librosa_agrees(setting):
    librosa = pytest.importorskip("librosa", reason="librosa is the other side of this test")
    own = filterbank(setting)
    options = {"sr": setting.rate, "n_fft": setting.window, "n_mels": setting.num_mels, "fmin": setting.low}
    options["fmax"] = setting.high
    np.testing.assert_allclose(own, librosa.filters.mel(**options, dtype=np.float64), rtol=1e-9, atol=1e-12)
    samples = 0.1 * RANDOM.standard_normal(setting.hop * 20)
    padded = np.pad(samples, setting.padding)
    wanted = librosa.feature.melspectrogram(y=padded, hop_length=setting.hop, center=False, power=1.0, **options)
    np.testing.assert_allclose(np.exp(log_mel(samples, setting)), wanted.T, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 100}, r"MelSetting: `window` must be at least hop=256, and differ from it by an even number"),
        ({"window": 1025}, r"`window` must be at least hop=256, and differ from it by an even number; got 1025"),
        ({"high": 9000.0}, r"`high` must lie above low=0, and be at most half of rate=16000; got 9000"),
        ({"low": 8000.0}, r"`high` must lie above low=8000, and be at most half"),
        ({"num_mels": 400}, r"`num_mels` must leave a frequency of the transform to each filter; filter \d+ has none"),
        ({"hop": 0}, r"`hop` must be at least 1; got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(InvalidValueError, match=message):
        dataclasses.replace(SETTING, **changes)

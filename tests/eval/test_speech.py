"""Griffin and Lim's algorithm, the distance of mel spectrograms, and the picture of waveforms."""

import io

import numpy as np
import pytest

from jflows.data.audio import MelSetting, filterbank, log_mel, stft
from jflows.data.audio.frames import FramesOfArray
from jflows.errors import InvalidValueError
from jflows.eval import drawing, speech
from jflows.eval.speech_figure import speech_figure

SETTING = MelSetting(rate=8_000, window=256, hop=64, num_mels=20, high=4000.0, floor=1e-3)
TIME = np.arange(64 * 40) / 8_000
TONES = 0.2 * np.sin(2 * np.pi * 500 * TIME) + 0.1 * np.sin(2 * np.pi * (900 + 1500 * TIME) * TIME)


def test_magnitudes_have_the_mels_they_come_from():
    wanted = np.abs(stft(TONES, SETTING)) @ filterbank(SETTING).T
    found = speech.magnitudes(log_mel(TONES, SETTING), SETTING)
    assert found.shape == (40, 129) and found.min() >= 0
    np.testing.assert_allclose((found @ filterbank(SETTING).T)[2:-2], wanted[2:-2], atol=0.03 * wanted.max())


def test_rounds_bring_a_waveform_nearer_to_its_mels():
    mel = log_mel(TONES, SETTING)
    distance = {}
    for rounds in (1, 60):
        found = speech.griffin_lim(mel, SETTING, rounds)
        assert found.shape == TONES.shape
        distance[rounds] = speech.log_mel_distance(FramesOfArray(log_mel(found, SETTING)), FramesOfArray(mel))
    assert distance[60] < 0.75 * distance[1]
    with pytest.raises(InvalidValueError, match="griffin_lim: `num_iterations` must be at least 1; got 0"):
        speech.griffin_lim(mel, SETTING, 0)


def test_the_distance_is_the_mean_of_what_differs(monkeypatch):
    monkeypatch.setattr(speech, "PIECE", 3)
    one, other = np.zeros((8, 2)), np.zeros((9, 2))
    other[:8, 1], other[8] = -3.0, 100.0
    assert speech.log_mel_distance(FramesOfArray(one), FramesOfArray(other)) == 1.5


def test_the_picture_has_a_row_for_each_waveform_and_is_small():
    figure = speech_figure({"original": TONES, "flow": TONES[:-64]}, SETTING, "Speech")
    assert len(figure.axes) == 4 and figure.axes[0].get_title(loc="left") == "original"
    assert figure.axes[1].images[0].get_array().shape == (20, 40)
    file = io.BytesIO()
    drawing.save(figure, file)
    assert len(file.getvalue()) < 300_000

"""Frames read in pieces: of a waveform, and of a file that says how they were made."""

import dataclasses

import numpy as np
import pytest

from jflows.data.audio import MelSetting, log_mel
from jflows.data.audio.frames import FramesOfArray, FramesOfSamples, of_array, read_mel
from jflows.errors import DataError

SETTING = MelSetting(rate=8_000, window=256, hop=64, num_mels=12, high=4000.0)
SAMPLES = np.random.default_rng(0).standard_normal(64 * 20 + 7)


def test_pieces_are_those_of_the_whole():
    frames, whole = (
        FramesOfSamples(of_array(SAMPLES), len(SAMPLES), SETTING, "vocode", "input"),
        log_mel(SAMPLES, SETTING),
    )
    assert frames.num_frames == len(whole) == 21
    for start, stop in ((0, 21), (0, 3), (5, 9), (19, 21)):
        np.testing.assert_array_equal(frames.read(start, stop), whole[start:stop])
        np.testing.assert_array_equal(FramesOfArray(whole).read(start, stop), whole[start:stop])


def test_less_than_a_window_is_refused():
    with pytest.raises(DataError, match="vocode: `input` must have at least 256 samples, one window of .*; got 255"):
        FramesOfSamples(of_array(SAMPLES), 255, SETTING, "vocode", "input")


def save(path, **changes):
    content = {"mel": np.zeros((5, 12)), **dataclasses.asdict(SETTING), **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_a_file_holds_frames_and_their_setting(tmp_path):
    mel = log_mel(SAMPLES, SETTING)
    found = read_mel(save(tmp_path / "a.npz", mel=mel), SETTING, "vocode")
    np.testing.assert_array_equal(found.read(2, 9), mel[2:9])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop": 128}, r"vocode: `mel` must be made with hop=64, as those that the run was trained on; got hop=128 in"),
        ({"floor": 1e-3}, r"`mel` must be made with floor=1e-05"),
        ({"rate": np.array([8_000, 8_000])}, r"`mel` must be made with rate=8000"),
        ({"hop": None}, r"`mel` must have the keys mel, rate, window, .*; got floor, high, .* in .*Write np.savez"),
        ({"other": 1}, r"`mel` must have the keys mel, rate"),
        (
            {"mel": np.zeros((5, 11))},
            r"`mel` must hold floats \[frames, 12\] .*; got float64 of shape \(5, 11\)",
        ),
        ({"mel": np.zeros((0, 12))}, r"`mel` must have at least 4 frames, one window of the mel spectrogram; got 0"),
        ({"mel": np.zeros((5, 12), int)}, r"`mel` must hold floats .*; got int64"),
        ({"mel": np.full((5, 12), np.nan)}, r"`mel` must hold natural logarithms between .*; got nan to nan"),
    ],
)
def test_frames_of_another_setting_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_mel(save(tmp_path / "a.npz", **changes), SETTING, "vocode")


def test_what_is_no_npz_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="`mel` must be an .npz file that can be read; got .*: No such file"):
        read_mel(path, SETTING, "vocode")
    for content in (b"", b"something else", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="`mel` must be an .npz file that can be read"):
            read_mel(path, SETTING, "vocode")
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(path)
    with pytest.raises(DataError, match="`mel` must be an .npz file that can be read"):
        read_mel(path, SETTING, "vocode")

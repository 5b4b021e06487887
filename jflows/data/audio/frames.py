"""`Frames`: frames of features, of a waveform or as an array, which a vocoder reads piece by piece, in flat memory."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data.audio.mel import MelSetting, log_mel_of_padded
from jflows.errors import DataError

TOLERANCE = 1.0  # nats by which predicted log mels may leave the range of those of waveforms
OF_MEL = "mel"  # the key of the frames in an .npz file; the others are the fields of `MelSetting`


class Frames(abc.ABC):
    """Frames of features that are read in pieces.

    Attributes:
      num_frames: the number of all frames.
    """

    num_frames: int

    @abc.abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames start..stop-1, all of which there are: float32 [stop - start, channels]."""


class FramesOfSamples(Frames):
    """The mel spectrogram of a waveform.

    Args:
      read_samples: gives samples start..stop-1, with 0 for those outside of the waveform: [stop - start].
      num_samples: the length of the waveform.
      setting: what its mel spectrogram is.
      where, argument: the function that is given the waveform, and what it calls it, for messages.
    Raises:
      DataError: if the waveform is shorter than one window.
    """

    def __init__(
        self,
        read_samples: Callable[[int, int], np.ndarray],
        num_samples: int,
        setting: MelSetting,
        where: str,
        argument: str,
    ):
        if num_samples < setting.window:
            rule = f"must have at least {setting.window:,} samples, one window of the mel spectrogram"
            raise DataError(where, argument, rule, f"{num_samples:,}")
        self._read, self._setting, self.num_frames = read_samples, setting, setting.num_frames(num_samples)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames start..stop-1: float32 [stop - start, num_mels]."""
        hop, pad = self._setting.hop, self._setting.padding
        return log_mel_of_padded(self._read(start * hop - pad, stop * hop + pad), self._setting)


class FramesOfArray(Frames):
    """Frames [num_frames, channels] that are in memory."""

    def __init__(self, frames: np.ndarray):
        self._frames, self.num_frames = np.asarray(frames, np.float32), len(frames)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames start..stop-1."""
        return self._frames[start:stop]


def of_array(samples: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """What reads pieces of a waveform [num], with 0 outside of it."""

    def read(start: int, stop: int) -> np.ndarray:
        inside = samples[max(start, 0) : max(stop, 0)]
        before = min(max(-start, 0), stop - start)
        return np.pad(inside, (before, stop - start - before - len(inside)))

    return read


def read_mel(path: Path, setting: MelSetting, where: str) -> FramesOfArray:
    """Reads a mel spectrogram, with the setting by which it was made, from an .npz file.

    Such a file is written by `np.savez(path, mel=mel, **dataclasses.asdict(setting))`, with mel [frames, num_mels].

    Raises:
      DataError: if the file cannot be read, lacks a key, holds a mel spectrogram of another setting, or one that
        no waveform of at least one window has.
    """
    wanted = dataclasses.asdict(setting)
    fix = "Write np.savez(path, mel=mel, **dataclasses.asdict(setting)), with a MelSetting of jflows.data.audio."
    arrays = _arrays(path, where, fix)
    if set(arrays) != {OF_MEL, *wanted}:
        rule, got = f"must have the keys {', '.join((OF_MEL, *wanted))}", f"{', '.join(sorted(arrays))} in {path}"
        raise DataError(where, "mel", rule, got, fix)
    for name, value in wanted.items():
        if arrays[name].shape != () or arrays[name] != value:
            rule = f"must be made with {name}={value}, as those that the run was trained on"
            raise DataError(where, "mel", rule, f"{name}={arrays[name]} in {path}")
    mel = arrays[OF_MEL]
    _check_values(mel, setting, where, path)
    return FramesOfArray(mel)


def _check_values(mel: np.ndarray, setting: MelSetting, where: str, path: Path) -> None:
    """Raises unless an array holds the log mels of some waveform of at least one window."""
    if mel.ndim != 2 or mel.shape[1] != setting.num_mels or mel.dtype.kind != "f":
        rule = f"must hold floats [frames, {setting.num_mels}] under the key {OF_MEL}"
        raise DataError(where, "mel", rule, f"{mel.dtype} of shape {mel.shape} in {path}")
    if len(mel) * setting.hop < setting.window:
        rule = f"must have at least {-(-setting.window // setting.hop)} frames, one window of the mel spectrogram"
        raise DataError(where, "mel", rule, f"{len(mel)} in {path}")
    low, high = setting.log_range
    least, most = float(mel.min()), float(mel.max())  # NaN if one is, which no comparison lets pass
    if not low - TOLERANCE <= least <= most <= high + TOLERANCE:
        rule = f"must hold natural logarithms between {low:.4g} and {high:.4g}, as waveforms in [-1, 1] have"
        raise DataError(where, "mel", rule, f"{least:.4g} to {most:.4g} in {path}", "Neither decibels nor scaled ones.")


def _arrays(path: Path, where: str, fix: str) -> Mapping[str, Any]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # of damaged files: OSError, ValueError, BadZipFile, AttributeError, TokenError, ...
        known = error.strerror if isinstance(error, OSError) else None
        reason = known or f"no .npz archive, or a damaged one ({type(error).__name__})"
        rule = "must be an .npz file that can be read"
        raise DataError(where, "mel", rule, f"{path}: {reason}", fix) from error

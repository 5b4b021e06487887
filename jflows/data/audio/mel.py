"""Mel spectrograms: short-time Fourier transform, Slaney's filterbank, log compression; pure functions in NumPy.

    S = |STFT(x)|,   mel = log(max(F S, floor))

Features are computed on the host, where data are read, so they are NumPy. Read next:
`jflows/data/known/speech_espeak.py`, whose contexts they are.
"""

import dataclasses
import functools
from typing import Annotated

import numpy as np

from jflows.errors import InvalidValueError
from jflows.options import Checked, Count, NotNegative, Option, Positive

MEL_HZ = 200 / 3  # Hz of one mel below LOG_FROM, where Slaney's scale is linear
LOG_FROM = 1000.0  # Hz, above which it is logarithmic
LOG_STEP = np.log(6.4) / 27  # of log Hz for one mel there: 27 mels from 1,000 Hz to 6,400 Hz
MOST_VALUES = 2**24  # of framed samples that are in memory at once


@dataclasses.dataclass(frozen=True)
class MelSetting(Checked):
    """All that decides what a mel spectrogram of a waveform is; two spectrograms compare under one setting only.

    Frame f is centred on the samples f * hop, ..., (f + 1) * hop - 1: its window begins (window - hop) / 2 samples
    before them, and samples outside of the waveform are 0. So a waveform of n samples has ceil(n / hop) frames, and a
    piece of the spectrogram belongs to one piece of the waveform.

    Source: Slaney 1998, "Auditory Toolbox" (scale and area normalisation of the filters); the defaults are those of
    Prenger et al. 2018, arXiv:1811.00002, section 4, whose rate is 22,050 Hz.

    Args:
      rate: samples per second.
      window: samples of one window, and size of the transform.
      hop: samples from one window to the next.
      num_mels: number of filters.
      low, high: frequencies in Hz where the first filter begins and the last one ends.
      floor: magnitudes below it count as this much, so that silence has a logarithm.
    Raises:
      InvalidValueError: if the window is shorter than the hop or differs from it by an odd number, if low < high <=
        rate / 2 does not hold, or if filters are so narrow that one holds no frequency of the transform.
    """

    rate: Count = 16_000
    window: Count = 1024
    hop: Count = 256
    num_mels: Count = 80
    low: Annotated[float, Option(low=0)] = 0.0
    high: Positive = 8000.0
    floor: Positive = 1e-5

    def _check(self) -> None:
        if self.window < self.hop or (self.window - self.hop) % 2:
            rule = f"must be at least hop={self.hop}, and differ from it by an even number"
            raise InvalidValueError("MelSetting", "window", rule, repr(self.window))
        if not self.low < self.high <= self.rate / 2:
            rule = f"must lie above low={self.low:g}, and be at most half of rate={self.rate}"
            raise InvalidValueError("MelSetting", "high", rule, repr(self.high))
        empty = np.flatnonzero(filterbank(self).sum(axis=1) == 0)
        if empty.size:
            rule = f"must leave a frequency of the transform to each filter; filter {empty[0]} has none"
            raise InvalidValueError("MelSetting", "num_mels", rule, repr(self.num_mels), "Lower it, or raise {window}.")

    @property
    def padding(self) -> int:
        """Samples by which the window of a frame reaches beyond the `hop` samples of the frame, on either side."""
        return (self.window - self.hop) // 2

    @property
    def log_range(self) -> tuple[float, float]:
        """The least and a bound of the largest log mel of waveforms in [-1, 1]: magnitudes are below sum_n w[n]."""
        largest = filterbank(self).sum(axis=1).max() * hann(self.window).sum()
        return float(np.log(self.floor)), float(np.log(max(largest, self.floor)))

    def num_frames(self, num_samples: NotNegative) -> int:
        """The number of frames of so many samples: ceil(num_samples / hop)."""
        return -(-num_samples // self.hop)


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 Hz / 200 mels below 1,000 Hz, logarithmic above. [...] -> [...]."""
    hz = np.asarray(hz, np.float64)
    above = LOG_FROM / MEL_HZ + np.log(np.maximum(hz, LOG_FROM) / LOG_FROM) / LOG_STEP
    return np.where(hz < LOG_FROM, hz / MEL_HZ, above)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `hz_to_mel`. [...] -> [...]."""
    mel = np.asarray(mel, np.float64)
    above = LOG_FROM * np.exp(LOG_STEP * np.maximum(mel - LOG_FROM / MEL_HZ, 0))
    return np.where(mel < LOG_FROM / MEL_HZ, mel * MEL_HZ, above)


@functools.cache
def filterbank(setting: MelSetting) -> np.ndarray:
    """Triangular filters between neighbours of equal distance in mels, each of area 1 Hz: [num_mels, window // 2 + 1].

    Filter m rises from f_m to f_m+1 and falls to f_m+2, where its height is 2 / (f_m+2 - f_m).
    """
    low, high = hz_to_mel(np.array([setting.low, setting.high]))
    ends = mel_to_hz(np.linspace(low, high, setting.num_mels + 2))
    frequencies = np.fft.rfftfreq(setting.window, 1 / setting.rate)
    left, middle, right = ends[:-2, None], ends[1:-1, None], ends[2:, None]
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    filters = np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
    filters.setflags(write=False)
    return filters


def hann(window: int) -> np.ndarray:
    """The periodic Hann window 0.5 - 0.5 cos(2 pi n / window): [window]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def stft(samples: np.ndarray, setting: MelSetting) -> np.ndarray:
    """The Fourier transform of each windowed frame, see `MelSetting` for where frames lie.

    Shapes:
      samples: float [num] -> complex128 [frames, window // 2 + 1].
    """
    num, frames = len(samples), setting.num_frames(len(samples))
    padded = np.pad(np.asarray(samples, np.float64), (setting.padding, frames * setting.hop - num + setting.padding))
    return _transformed(padded, frames, setting)


def istft(spectrum: np.ndarray, setting: MelSetting) -> np.ndarray:
    """The waveform whose transform is nearest to a spectrum in least squares: exact for one that `stft` gave.

        x[t] = sum_f w[t - f hop] y_f[t - f hop] / sum_f w[t - f hop]^2,     y_f the inverse transform of frame f

    Source: Griffin and Lim 1984, IEEE TASSP 32(2), eq. 6.

    Shapes:
      spectrum: complex [frames, window // 2 + 1] -> float64 [frames * hop].
    """
    window, hop, pad, frames = setting.window, setting.hop, setting.padding, len(spectrum)
    hann_window, pieces = hann(window), np.fft.irfft(spectrum, window)
    total, weight = np.zeros((2, frames * hop + 2 * pad))
    for frame in range(frames):
        total[frame * hop : frame * hop + window] += hann_window * pieces[frame]
        weight[frame * hop : frame * hop + window] += hann_window**2
    kept = slice(pad, pad + frames * hop)
    return total[kept] / np.maximum(weight[kept], 1e-12)  # 0 only where a window of one hop begins


def log_mel(samples: np.ndarray, setting: MelSetting) -> np.ndarray:
    """The mel spectrogram of a waveform, as the logarithm of magnitudes.

    Shapes:
      samples: float [num], in [-1, 1] -> float32 [ceil(num / hop), num_mels].
    """
    num, frames = len(samples), setting.num_frames(len(samples))
    padded = np.pad(np.asarray(samples, np.float64), (setting.padding, frames * setting.hop - num + setting.padding))
    return log_mel_of_padded(padded, setting)


def log_mel_of_padded(padded: np.ndarray, setting: MelSetting) -> np.ndarray:
    """`log_mel` of frames whose samples have their neighbours, `setting.padding` of them, on both sides.

    Shapes:
      padded: float [frames * hop + 2 * padding] -> float32 [frames, num_mels].
    """
    frames, at_once = (len(padded) - 2 * setting.padding) // setting.hop, max(1, MOST_VALUES // setting.window)
    found = np.empty((frames, setting.num_mels), np.float32)
    for first in range(0, frames, at_once):
        last = min(first + at_once, frames)
        magnitude = np.abs(_transformed(padded[first * setting.hop :], last - first, setting))
        found[first:last] = compressed(magnitude @ filterbank(setting).T, setting)
    return found


def compressed(magnitude: np.ndarray, setting: MelSetting) -> np.ndarray:
    """log(max(magnitude, floor)); of any shape."""
    return np.log(np.maximum(magnitude, setting.floor))


def _transformed(padded: np.ndarray, frames: int, setting: MelSetting) -> np.ndarray:
    """The transforms of the first `frames` windows of a padded waveform."""
    starts = np.arange(frames)[:, None] * setting.hop
    return np.fft.rfft(padded[starts + np.arange(setting.window)] * hann(setting.window), axis=-1)

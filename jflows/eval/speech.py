"""What a vocoder is compared with, and by: Griffin and Lim's algorithm, and the distance of mel spectrograms."""

import numpy as np

from jflows.data.audio import MelSetting, filterbank, istft, stft
from jflows.data.audio.frames import Frames
from jflows.options import Count, Seed, check_call

UNMIXING_STEPS = 100  # of the updates that turn mels into magnitudes
PIECE = 4096  # frames that are compared at once
SMALL = 1e-12  # keeps quotients finite where both parts are 0


def log_mel_distance(one: Frames, other: Frames) -> float:
    """The mean |a - b| over frames and channels of two mel spectrograms, in nats; of their common length."""
    num, total, count = min(one.num_frames, other.num_frames), 0.0, 0
    for start in range(0, num, PIECE):
        stop = min(start + PIECE, num)
        difference = np.abs(one.read(start, stop).astype(np.float64) - other.read(start, stop))
        total, count = total + difference.sum(), count + difference.size
    return total / count


def magnitudes(log_mels: np.ndarray, setting: MelSetting) -> np.ndarray:
    """Magnitudes S >= 0 whose mels F S are nearest to the given ones, in least squares.

        S <- S * (F^T m) / (F^T F S)

    Source: Lee and Seung 2001, "Algorithms for non-negative matrix factorization", eq. 4.

    Shapes:
      log_mels: [frames, num_mels] -> float64 [frames, window // 2 + 1].
    """
    filters, mels = filterbank(setting), np.exp(np.asarray(log_mels, np.float64))
    target, product = mels @ filters, filters.T @ filters
    found = np.where(target > 0, target, 0) / max(product.sum() / len(product), SMALL)
    for _ in range(UNMIXING_STEPS):
        found *= target / np.maximum(found @ product, SMALL)
    return found


def griffin_lim(
    log_mels: np.ndarray,
    setting: MelSetting,
    num_iterations: Count = 60,
    momentum: float = 0.99,
    seed: Seed = 0,
) -> np.ndarray:
    """A waveform with this mel spectrogram, by phases that agree with each other as well as can be.

        c_n = STFT(ISTFT(S exp(i angle(t_n-1)))),   t_n = c_n + momentum (c_n - c_n-1)

    Source: Griffin and Lim 1984, IEEE TASSP 32(2), section III; momentum: Perraudin et al. 2013, "A fast Griffin-Lim
    algorithm". The magnitudes S are those of `magnitudes`.

    Args:
      log_mels: logarithms of mels, [frames, num_mels].
      setting: by which they were made.
      num_iterations: number of rounds.
      momentum: 0 is the algorithm of 1984.
      seed: seed of the phases to begin with.
    Returns:
      float64 [frames * hop].
    """
    check_call("griffin_lim", griffin_lim, {"num_iterations": num_iterations, "seed": seed})
    size = magnitudes(log_mels, setting)
    turned = size * np.exp(2j * np.pi * np.random.default_rng(seed).random(size.shape))
    before = np.zeros_like(turned)
    for _ in range(num_iterations):
        agreeing = stft(istft(size * _phases(turned), setting), setting)
        turned, before = agreeing + momentum * (agreeing - before), agreeing
    return istft(size * _phases(turned), setting)


def _phases(spectrum: np.ndarray) -> np.ndarray:
    return spectrum / np.maximum(np.abs(spectrum), SMALL)

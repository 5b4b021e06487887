"""Audio on the host, in NumPy: mel spectrograms, WAV files, and where mel spectrograms of vocoders come from."""

from jflows.data.audio.mel import MelSetting, filterbank, istft, log_mel, stft

__all__ = ["MelSetting", "filterbank", "istft", "log_mel", "stft"]

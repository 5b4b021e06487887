"""WAV files of one channel and 16 bits: read from any place, and written piece by piece, in flat memory."""

import contextlib
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jflows.errors import DataError

FULL_SCALE = 2**15  # of 16-bit samples, which stand for numbers in [-1, 1)
CHANNELS, BYTES = 1, 2
_CONVERT = "Convert it, such as by `sox in.wav -r {} -c 1 -b 16 out.wav`."


class WavFile:
    """An open WAV file, from which samples are read from any place.

    Args:
      path: the file.
      rate: the rate that it must have, in Hz.
      where: name of the function that is given the file, for messages.
    Raises:
      DataError: if it cannot be read, or is not of one channel, 16 bits and this rate.
    """

    def __init__(self, path: Path, rate: int, where: str):
        fix = _CONVERT.format(rate)
        try:
            self._file = wave.open(str(path), "rb")  # noqa: SIM115 - closed by `close`
        except (OSError, EOFError, wave.Error) as error:
            rule = "must be a WAV file of uncompressed samples that can be read"
            reason = (error.strerror if isinstance(error, OSError) else str(error)) or "it is cut off"
            raise DataError(where, "input", rule, f"{path}: {reason}", fix) from error
        found = self._file.getparams()
        rules = (
            ("must have one channel", found.nchannels == CHANNELS, f"{found.nchannels} channels"),
            ("must have 16 bits a sample", found.sampwidth == BYTES, f"{8 * found.sampwidth} bits"),
            (f"must have {rate:,} samples a second", found.framerate == rate, f"{found.framerate:,}"),
        )
        for rule, holds, got in rules:
            if not holds:
                self.close()
                raise DataError(where, "input", rule, f"{got} in {path}", fix)
        self._path, self._where = path, where
        self.num_samples = found.nframes

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start..stop-1 as numbers in [-1, 1), with 0 for those outside of the file: float32 [stop - start]."""
        first, last = min(max(start, 0), self.num_samples), min(max(stop, 0), self.num_samples)
        self._file.setpos(first)
        found = np.frombuffer(self._file.readframes(last - first), "<i2")
        if len(found) != last - first:
            rule, got = f"must hold the {self.num_samples:,} samples that its head states", f"fewer in {self._path}"
            raise DataError(self._where, "input", rule, got, "It is cut off; copy it again.")
        samples = np.zeros(stop - start, np.float32)
        samples[first - start : first - start + len(found)] = found / np.float32(FULL_SCALE)
        return samples

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class WavWriter:
    """An open WAV file to which samples are appended.

    Attributes:
      num_samples: the number of samples so far.
      num_clipped: how many of them lay outside of [-1, 1) and were moved to its ends.
    """

    def __init__(self, file: wave.Wave_write):
        self._file, self.num_samples, self.num_clipped = file, 0, 0

    def write(self, samples: np.ndarray) -> None:
        """Appends numbers in [-1, 1), [num], rounded to 16 bits."""
        levels = np.rint(np.asarray(samples, np.float64) * FULL_SCALE)
        kept = np.clip(levels, -FULL_SCALE, FULL_SCALE - 1)
        self.num_samples += len(kept)
        self.num_clipped += int(np.sum(kept != levels))
        self._file.writeframesraw(kept.astype("<i2").tobytes())


@contextlib.contextmanager
def writing(path: Path, rate: int) -> Iterator[WavWriter]:
    """Opens a WAV file to write, of one channel and 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(CHANNELS)
        file.setsampwidth(BYTES)
        file.setframerate(rate)
        yield WavWriter(file)

"""`Speech`: sentences spoken by a synthesiser and cut into clips, each with its mel spectrogram."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jflows.data.audio import MelSetting, log_mel
from jflows.data.kinds import WAVEFORMS, Kind
from jflows.data.protocols.base import KnownData, Places
from jflows.data.splits import SPLITS, split_rows
from jflows.data.store import espeak
from jflows.data.store.archives import Archive
from jflows.data.waveforms import WaveformData
from jflows.typing import Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Speech(KnownData):
    """Sentences spoken by all voices at each use, which takes seconds, and cut into clips of one length.

    Attributes:
      sentences: the sentences of "train" and of "test".
      voices: voices of eSpeak NG, each of which speaks all sentences.
      mel: the setting of the mel spectrograms, which are made before clips are cut, so that they have no edges.
      frames: number of frames of one clip; what is left over at the end of a sentence is dropped.
      noise: deviation of the normal noise that is added, without which silence would have an infinite density.
    """

    kind: ClassVar[Kind] = WAVEFORMS

    sentences: Mapping[str, tuple[str, ...]]
    voices: tuple[str, ...]
    mel: MelSetting
    frames: int
    noise: float

    @property
    def archive(self) -> Archive:
        """The archive of the synthesiser."""
        return espeak.ARCHIVE

    @property
    def event_shape(self) -> Shape:
        """(samples,) of one clip."""
        return (self.frames * self.mel.hop,)

    @property
    def context_shape(self) -> Shape:
        """(frames, mels)."""
        return (self.frames, self.mel.num_mels)

    @property
    def protocol(self) -> str:
        """A sentence that says which rows are "train", "validation" and "test"."""
        numbers = {split: len(sentences) for split, sentences in self.sentences.items()}
        return (
            f"Clips of {self.event_shape[0]:,} samples of {numbers['train']} sentences are for training and those of "
            f"{numbers['test']} others for testing, each spoken by {len(self.voices)} voices; the last "
            f"`num_validation` training clips are the validation split. Normal noise of deviation {self.noise:g} is "
            "added, from a seed for each split."
        )

    def spoken(self, split: str) -> list[np.ndarray]:
        """The waveforms of all sentences of "train" or "test", each by all voices in turn, with noise: float32 [num].

        Raises:
          DataError: if the synthesiser cannot be fetched, or does not run on this machine.
        """
        pairs = [(voice, sentence) for sentence in self.sentences[split] for voice in self.voices]
        random = np.random.RandomState(SPLITS.index(split))  # RandomState: its stream is frozen for all numpy versions
        found = espeak.spoken(pairs, self.mel.rate, "load")
        return [(x + self.noise * random.standard_normal(len(x))).astype(np.float32) for x in found]

    def load(self, split: str, num_validation: int, options: Mapping[str, Any], places: Places) -> WaveformData:
        """Speaks one split and cuts it into clips; see `KnownData.load`."""
        del options, places
        source = "test" if split == "test" else "train"
        clips, contexts = zip(*map(self._cut, self.spoken(source)), strict=True)
        x, context = np.concatenate(clips), np.concatenate(contexts)
        rows = slice(None) if split == "test" else slice(*split_rows(split, len(x), num_validation))
        return WaveformData(self.name, x[rows], context[rows], self.mel)

    def _cut(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clips [num, samples] of a waveform, one after the other, and their mel spectrograms [num, frames, mels]."""
        (size,) = self.event_shape
        num, mel = len(samples) // size, log_mel(samples, self.mel)
        return samples[: num * size].reshape(num, size), mel[: num * self.frames].reshape(num, *self.context_shape)

"""`Vocoder`: a trained flow of waveforms that turns recordings, mel spectrograms or texts into speech of any length."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jflows.data.audio import MelSetting
from jflows.data.audio.frames import Frames, FramesOfArray, FramesOfSamples, of_array, read_mel
from jflows.data.audio.wav import WavFile, writing
from jflows.data.store import espeak
from jflows.errors import InvalidValueError, path_of
from jflows.eval.speech import griffin_lim, log_mel_distance
from jflows.eval.speech_figure import speech_figure
from jflows.eval.vocoding import vocoded
from jflows.flows import Flow
from jflows.flows.door import check_temperature
from jflows.flows.presets.waveglow import CONTEXT_RADIUS, radius, waveglow
from jflows.options import Count, Seed, check_call
from jflows.runs import presets
from jflows.runs.files import saving
from jflows.runs.reports.report import save_figure
from jflows.runs.trained import TrainedRun

ReadSamples = Callable[[int, int], np.ndarray]
"""Gives samples start..stop-1 of a waveform, with 0 outside of it."""
VOICE = "en-us"
TEMPERATURE = 0.7
CHUNK_SECONDS = 4.0  # of a chunk, if none is given
SHOWN_SECONDS = 8.0  # of a waveform, at most, in a picture
ITERATIONS = 60  # of Griffin and Lim's algorithm in pictures


class Vocoded(NamedTuple):
    """What was written, and how.

    Attributes:
      path: the WAV file.
      num_samples: its length.
      num_clipped: samples that lay outside of [-1, 1), and were moved to its ends.
      rate: samples per second.
      compute_seconds: time that drawing took, as the chunks after the first tell, which waits for compilation.
      distance: the mean distance of the log mels from those that were given, in nats.
    """

    path: Path
    num_samples: int
    num_clipped: int
    rate: int
    compute_seconds: float
    distance: float

    @property
    def speed(self) -> float:
        """Seconds of sound for each second of computing; NaN of a sound of a single chunk, whose time is unknown."""
        return self.num_samples / self.rate / self.compute_seconds


@dataclasses.dataclass(frozen=True)
class Vocoder:
    """A trained flow of waveforms, ready for other lengths than it was trained on.

    Args:
      run: a run of the preset `waveglow` on data with mel spectrograms.
    Raises:
      InvalidValueError: if the run is one of another preset, or of data whose contexts are no mel spectrograms.
    """

    run: TrainedRun

    def __post_init__(self):
        name = presets.name_of(self.run.stored.recipe.flow)
        if name != waveglow.__name__:
            fix = "Train one by `jflows train waveglow_espeak`."
            raise InvalidValueError("vocode", "run", "must be one of waveglow", f"{self.run.directory} of {name}", fix)
        if "mel" not in self.run.stored.facts:
            rule = "must be one of data that say how their mel spectrograms were made"
            got = f"{self.run.directory} of {self.run.stored.recipe.data.name!r}"
            raise InvalidValueError("vocode", "run", rule, got, "Give WaveformData the setting `mel`.")

    @functools.cached_property
    def setting(self) -> MelSetting:
        """The setting of the mel spectrograms that the run was trained on."""
        return MelSetting(**self.run.stored.facts["mel"])

    @property
    def halo(self) -> int:
        """How many frames to either side of a frame its samples depend on."""
        values = presets.values_of(self.run.stored.recipe.flow)
        steps = radius(values["num_levels"], values["num_steps"], values["num_layers"])
        return math.ceil(steps * values["group"] / self.setting.hop) + CONTEXT_RADIUS

    def build(self, num_frames: int) -> Flow:
        """The flow for waveforms of so many frames; all take the variables of the run."""
        shape, context = (num_frames * self.setting.hop,), (num_frames, self.setting.num_mels)
        flow = presets.built(self.run.stored.recipe.flow, shape, context_shape=context)
        assert isinstance(flow, Flow)
        return flow

    def samples(
        self, frames: Frames, *, temperature: float = TEMPERATURE, seed: Seed = 0, chunk: Count | None = None
    ) -> Iterator[np.ndarray]:
        """Draws the waveform for some frames, in pieces: see `jflows.eval.vocoding.vocoded`.

        Args:
          temperature: factor of the noise; below 1, the waveform has less noise than the density.
          chunk: frames that are drawn at once; None takes four seconds.
        Raises:
          InvalidValueError: if an argument is out of range.
        """
        check_call("vocode", Vocoder.samples, {"seed": seed, "chunk": chunk})
        check_temperature("vocode", temperature)
        chunk = chunk or math.ceil(CHUNK_SECONDS * self.setting.rate / self.setting.hop)
        options = {"halo": self.halo, "chunk": chunk, "temperature": temperature}
        return vocoded(self.build, self.run.variables, frames, jax.random.key(seed), **options)

    @contextlib.contextmanager
    def recording(self, path: str | Path) -> Iterator[tuple[Frames, ReadSamples]]:
        """The frames of a WAV file, and what reads its samples, while the file is open.

        Raises:
          DataError: if the file is not of one channel, 16 bits and the rate of the run, or shorter than one window.
        """
        file = WavFile(path_of("vocode", "input", path), self.setting.rate, "vocode")
        with contextlib.closing(file):
            yield FramesOfSamples(file.read, file.num_samples, self.setting, "vocode", "input"), file.read

    @contextlib.contextmanager
    def source(
        self,
        input: str | Path | None = None,
        mel: str | Path | None = None,
        text: str | None = None,
        voice: str | None = None,
    ) -> Iterator[tuple[Frames, ReadSamples | None]]:
        """The frames of one of three sources, and what reads the samples of the original, None of a mel spectrogram.

        Args:
          input: a WAV file, see `recording`.
          mel: an .npz file, see `mel`.
          text: a text, see `spoken`.
          voice: the voice of the text; None takes `VOICE`.
        """
        if input is not None:
            with self.recording(input) as found:
                yield found
        elif mel is not None:
            yield self.mel(mel), None
        else:
            samples = self.spoken(text or "", voice or VOICE)
            yield self.frames_of(samples, "text"), of_array(samples)

    def mel(self, path: str | Path) -> FramesOfArray:
        """The frames in an .npz file; see `jflows.data.audio.frames.read_mel`."""
        return read_mel(path_of("vocode", "mel", path), self.setting, "vocode")

    def spoken(self, text: str, voice: str = VOICE) -> np.ndarray:
        """A text as the synthesiser speaks it: float32 [num]."""
        return espeak.spoken([(voice, text)], self.setting.rate, "vocode")[0]

    def frames_of(self, samples: np.ndarray, argument: str = "samples") -> FramesOfSamples:
        """The frames of a waveform [num] in memory."""
        return FramesOfSamples(of_array(samples), len(samples), self.setting, "vocode", argument)

    def save(
        self,
        frames: Frames,
        path: Path,
        *,
        temperature: float = TEMPERATURE,
        seed: Seed = 0,
        chunk: Count | None = None,
    ) -> Vocoded:
        """Writes the waveform for some frames as a WAV file, piece by piece, and measures what came out."""
        started, setting = time.perf_counter(), self.setting
        compiled, drawn = started, 0
        with saving(path) as partial, writing(partial, setting.rate) as writer:
            for piece in self.samples(frames, temperature=temperature, seed=seed, chunk=chunk):
                writer.write(piece)
                if not drawn:
                    compiled = time.perf_counter()
                drawn += 1
        seconds = (time.perf_counter() - compiled) * drawn / (drawn - 1) if drawn > 1 else math.nan
        with self.recording(path) as (own, _):
            distance = log_mel_distance(own, frames)
        return Vocoded(path, writer.num_samples, writer.num_clipped, setting.rate, seconds, distance)

    def draw(self, path: Path, frames: Frames, out: Path, original: ReadSamples | None = None) -> dict[str, float]:
        """Draws the first seconds of a WAV file that `save` wrote, beside the original and Griffin and Lim's algorithm.

        Args:
          path: the WAV file.
          frames: what it was drawn from.
          out: the picture to write.
          original: reads samples of the original; None where there is none.
        Returns:
          The distances of the log mels of what is drawn from those of `frames`, in nats, by name.
        """
        num = min(frames.num_frames, math.ceil(SHOWN_SECONDS * self.setting.rate / self.setting.hop))
        mels, size = frames.read(0, num), num * self.setting.hop
        with self.recording(path) as (_, read):
            shown = {"flow": read(0, size)}
        shown |= {f"Griffin-Lim, {ITERATIONS} iterations": griffin_lim(mels, self.setting, ITERATIONS)}
        given = FramesOfArray(mels)
        distances = {name: log_mel_distance(self.frames_of(samples), given) for name, samples in shown.items()}
        words = {f"{name}, distance {distances[name]:.3f} nats": samples for name, samples in shown.items()}
        every = ({} if original is None else {"original": original(0, size)}) | words
        save_figure(speech_figure(every, self.setting), out)
        return distances

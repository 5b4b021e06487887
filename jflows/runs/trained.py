"""`TrainedRun`: scores, samples, latent paths and reconstructions of a trained flow, from its run directory alone."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jflows.data import Data
from jflows.data.base import check_is_data
from jflows.errors import DataError, InvalidValueError, path_of
from jflows.eval import Evaluation
from jflows.eval.memory import check_memory
from jflows.eval.sampling import sample_in_chunks
from jflows.flows.door import check_temperature
from jflows.flows.programs import PLATFORMS
from jflows.options import Count, Seed, check_call
from jflows.runs.contexts import Given, contexts_in_words, contexts_of
from jflows.runs.directory import load, step_of
from jflows.runs.exported import ExportedRun, export_run
from jflows.runs.pictures import PicturesOfRun
from jflows.runs.reports import clusters, component_samples, pairs, rows, samples
from jflows.runs.reports.report import KEY_SEED
from jflows.runs.running import Progress, scored
from jflows.runs.scores_of_run import ScoresOfRun
from jflows.runs.stored import ENSEMBLE, read_recipe

IMAGE_TEMPERATURE = 0.7  # of samples of images, as in the pictures of Kingma and Dhariwal 2018, section 5
IMAGE_SUFFIXES = (".png", ".npy")
"""The suffixes of files of samples, by the kind of data that a density models."""


BYTES = 4  # of a number of a sample, at least one of them for each row


@dataclasses.dataclass(frozen=True)
class TrainedRun(ScoresOfRun, PicturesOfRun):
    """A trained flow and the recipe that it came from, opened by `TrainedRun.open`.

    Attributes:
      directory: the run directory.
      density, variables: the flow and its collections, as `jflows.load` gives them.
      stored: the content of config.json.
      weights, step: which weights these are, "ema" or "params", and of which step; None before the first checkpoint.
    """

    @classmethod
    def open(cls, run: str | Path, *, weights: str = "ema", checkpoint: str | int = "auto") -> "TrainedRun":
        """Reads a run directory; see `jflows.load` for `weights` and `checkpoint`.

        Raises:
          RunError: if the directory is missing or damaged.
        """
        stored = read_recipe(run)
        density, variables = load(run, weights=weights, checkpoint=checkpoint)
        step, _ = step_of(run, checkpoint)
        return cls(path_of("load", "run", run), density, variables, stored, weights, step)

    def evaluate(
        self, data: Data, *, num_draws: Count = 1, batch_size: Count = 250, seed: Seed = 0, progress: Progress = None
    ) -> Evaluation:
        """The score of all rows; see `jflows.eval.evaluate`.

        Raises:
          InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range.
          DataError: if the score is NaN.
        """
        check_is_data("evaluate", "data", data)
        self.check_columns(data, "evaluate")
        given = {"num_draws": num_draws, "batch_size": batch_size, "seed": seed}
        check_call("evaluate", TrainedRun.evaluate, given)
        options: Any = {"seed": seed, "num_draws": num_draws, "progress": progress}
        found = scored(self.density, self.variables, data, batch_size, **options)
        if math.isnan(found.nats):
            rule, fix = "must have scores that are numbers, by this flow", "Choose another {checkpoint}, or train anew."
            raise DataError("evaluate", "data", rule, f"NaN for {data.name!r}", fix)
        return found

    def clusters(self, data: Data, batch_size: int = 250) -> dict[str, Any] | None:
        """The shares of components and their agreement with labels; None without components.

        It is None for the mixture of an ensemble too, whose members are no clusters.
        """
        if clusters.NAME not in self.density.reports or ENSEMBLE in self.stored.facts:
            return None
        return clusters.summary(clusters.report_on(self.density, self.variables, data, batch_size))

    def given_contexts(self, given: Given) -> np.ndarray:
        """Contexts as `sample` takes them, as an array: [num, *context_shape], where num is 1 for a single one.

        Raises:
          InvalidValueError, DataError: if they cannot be read, or do not suit the flow.
        """
        reading = self.density.reading
        if reading.context != "vectors" or reading.context_shape is None:
            rule, fix = "is for flows that are conditioned on contexts", "Leave it out, or train with {context=a,b}."
            raise InvalidValueError("sample", "context", rule, None, fix)
        return contexts_of(given, reading.context_shape, self.context_columns, self.stored.recipe.data)

    def contexts(self, num: int, label: int | None = None, context: Given | None = None) -> np.ndarray | None:
        """The contexts of `num` samples, as `sample` chooses them; None for a flow without a context."""
        if context is not None:
            own = self.given_contexts(context)
            if len(own) not in (1, num):
                rule, fix = "must be one for all samples, or one for each", "Leave out {num}, or change it."
                raise InvalidValueError("sample", "context", rule, f"{len(own)} for num={num}", fix)
            return np.broadcast_to(own, (num, *own.shape[1:]))
        data = self.data() if self.density.reading.context == "vectors" else None
        if data is not None and data.weight is not None:
            data = data.drawn_by_weight(num, KEY_SEED)
        return samples.contexts(self.density, data, num, label)

    def sample(
        self,
        num: int,
        *,
        temperature: float | None = None,
        label: int | None = None,
        context: Given | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Draws `num` samples: [num, *event_shape].

        Args:
          temperature: factor of the latent's deviation; None takes 0.7 for images and 1 for tables.
          label: class of a conditional flow, or component of a mixture; None draws all classes of a flow in turn.
          context: one for all samples, or one for each: an array [c] or [num, c], a value for each name, such as
            `{"a": 1.0, "b": 2.0}`, or the path of a table with columns of these names. None takes those of the run's
            test rows in turn, drawn by weight where rows have weights.
          seed: seed of the noise.
        Raises:
          InvalidValueError, DataError: if there is no such class or component, or contexts do not fit.
        """
        size = num * math.prod(self.density.event_shape) * BYTES
        fix = "Ask for fewer, or write them to a file: `sample_in_chunks`, `save_samples`."
        check_memory("sample", "num", size, f"{num} samples", num, fix, host=True)
        given: Any = {"temperature": temperature, "label": label, "context": context, "seed": seed}
        return np.concatenate(list(self.sample_in_chunks(num, **given)))

    def sample_in_chunks(
        self,
        num: int,
        *,
        temperature: float | None = None,
        label: int | None = None,
        context: Given | None = None,
        seed: int = 0,
        chunk_size: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The samples that `sample` draws, `chunk_size` at a time, in memory that does not grow with `num`.

        They have the same bits for every `chunk_size`, see `jflows.eval.sample_in_chunks`; None takes a small one.
        """
        check_call("sample", _sampled, {"num": num, "seed": seed, "chunk_size": chunk_size})
        temperature = self.temperature if temperature is None else temperature
        check_temperature("sample", temperature)
        component = label if component_samples.NAME in self.density.reports else None
        if component is not None:
            component_samples.check_component(self.density, component)
        own, key = self.contexts(num, label, context) if component is None else None, jax.random.key(seed)
        return sample_in_chunks(self.density, self.variables, key, num, own, temperature, chunk_size, component)

    @property
    def temperature(self) -> float:
        """The default temperature of samples: 0.7 for images, 1 for tables."""
        return IMAGE_TEMPERATURE if self.density.reading.kind.has_pixels else 1.0

    @property
    def _suffixes(self) -> tuple[str, ...]:
        """The endings of files that samples can be written to, the default first."""
        return IMAGE_SUFFIXES if self.density.reading.kind.has_pixels else rows.SUFFIXES

    def check_samples(self, path: Path | None = None, columns: int | None = None, num: int = 1) -> None:
        """Raises `InvalidValueError` if `save_samples` cannot write samples to this path, or with these columns."""
        kind = self.density.reading.kind
        if path is not None and path.suffix.lower() not in self._suffixes:
            rule = f"must end in {' or '.join(self._suffixes)} for {'images' if kind.has_pixels else 'a table'}"
            raise InvalidValueError("sample", "out", rule, str(path))
        is_picture = kind.has_pixels and (path is None or path.suffix.lower() == ".png")
        if columns is not None and not is_picture:
            rule = f"is for a picture of images, not for {'an array' if kind.has_pixels else 'a table'}"
            raise InvalidValueError("sample", "columns", rule, columns, "Leave it out.")
        if is_picture and num > samples.MOST_IMAGES:
            rule, fix = f"must be at most {samples.MOST_IMAGES:,} in one picture", "Write them to a .npy file by {out}."
            raise InvalidValueError("sample", "num", rule, num, fix)

    def save_samples(
        self,
        drawn: np.ndarray | Iterable[np.ndarray],
        path: Path | None = None,
        columns: int | None = None,
        context: np.ndarray | None = None,
        num: int | None = None,
    ) -> Path:
        """Writes samples as a grid of images (.png), as rows of a table (.csv), or as an array (.npy).

        Args:
          drawn: the samples, or their chunks, as `sample_in_chunks` gives them; an array is written as they come.
          num: the number of all samples, which chunks do not tell.
          path: the file to write; None takes sample.png or sample.csv in the run directory.
          columns: images per row of the grid; None chooses a number.
          context: contexts of the samples, [num, c], which a .csv file gets as further columns, and a .npy file not.
        Raises:
          InvalidValueError: if the suffix does not suit the samples, or `columns` is given for a table.
        """
        if isinstance(drawn, np.ndarray):
            drawn, num = [drawn], len(drawn)
        if num is None:
            raise InvalidValueError("save_samples", "num", "must be given with samples in chunks", None)
        self.check_samples(path, columns, num)
        path = self.directory / f"sample{self._suffixes[0]}" if path is None else path
        if path.suffix.lower() == ".png":
            samples.save_grid(np.concatenate(list(drawn)), path, samples.pixel_bits(self.density), columns)
        else:
            names = self.stored.facts.get("columns", ())
            rows.save_rows(drawn, num, names, path, context, self.context_columns)
        return path

    def save_temperatures(
        self,
        temperatures: Sequence[float],
        num: int,
        path: Path | None = None,
        *,
        label: int | None = None,
        context: Given | None = None,
        seed: int = 0,
    ) -> Path:
        """Draws `num` images at each temperature from the same noise, one row for each, and returns the path.

        Args:
          path: the .png file to write; None takes sample.png in the run directory.
          label, context, seed: see `sample`.
        Raises:
          InvalidValueError: if the run is one of tables, or the picture would be too large; and see `sample`.
        """
        if not self.density.reading.kind.has_pixels:
            rule, got = "must be a single number for a table", ", ".join(f"{each:g}" for each in temperatures)
            raise InvalidValueError("sample", "temperature", rule, got, "Draw one file for each.")
        self.check_samples(path, None, num * len(temperatures))
        if path is not None and path.suffix.lower() != ".png":
            raise InvalidValueError("sample", "out", "must end in .png with several temperatures", str(path))
        given: Any = {"label": label, "context": context, "seed": seed}
        drawn = [self.sample(num, temperature=temperature, **given) for temperature in temperatures]
        path = self.directory / f"sample{self._suffixes[0]}" if path is None else path
        samples.save_temperatures(drawn, temperatures, path, samples.pixel_bits(self.density))
        return path

    def pairs(
        self,
        data: Data,
        path: Path | None = None,
        *,
        columns: Sequence[str] = (),
        context: Given | None = None,
        num: Count = pairs.NUM,
        seed: Seed = 0,
    ) -> Path:
        """Draws samples beside rows of a table, pair by pair of columns, and returns the path.

        Args:
          path: the .png file to write; None takes pairs.png in the run directory.
          columns: names of the columns to draw, see `jflows.eval.pairs_figure`.
          context: the context of all samples, or of each, as `sample` takes it; None takes those of the data.
          num: number of samples.
          seed: seed of their noise.
        Raises:
          InvalidValueError: if the run is not one of tables, or columns or contexts do not fit.
        """
        check_is_data("pairs", "data", data)
        check_call("pairs", TrainedRun.pairs, {"num": num, "seed": seed})
        if not pairs.can(self.density, data):
            fix = "Try `jflows sample`."
            got = f"{self.directory}, of {self.density.reading.kind.plural}"
            raise InvalidValueError("pairs", "run", "must be that of a table", got, fix)
        path = self.directory / pairs.FILE if path is None else path
        own, words = None, ""
        if context is not None:
            own = self.contexts(num, context=context)
            words = contexts_in_words(self.given_contexts(context), self.context_columns)
        options: Any = {"columns": columns, "num": num, "context": own, "given": words}
        key, title = jax.random.key(seed), self.directory.resolve().name
        pairs.draw_pairs(self.density, self.variables, key, data, path, title=title, **options)
        return path

    def export(
        self,
        out: str | Path | None = None,
        *,
        platforms: Sequence[str] = PLATFORMS,
        batch_size: Count | None = None,
    ) -> ExportedRun:
        """Writes log-density and sampling as StableHLO, to be run without jflows; see `export_run`."""
        out = None if out is None else path_of("export", "out", out)
        return export_run(self, out, platforms=platforms, batch_size=batch_size)


def _sampled(num: Count, seed: Seed, chunk_size: Count | None) -> None:
    """The declared types of what `TrainedRun.sample` takes."""

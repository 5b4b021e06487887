"""`TrainedRun`: what can be asked of a run directory alone: scores, samples, paths in latent space, reconstructions."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jflows.data import Data
from jflows.errors import DataError, InvalidValueError
from jflows.eval import Evaluation
from jflows.flows import Density
from jflows.runs.data import NOUNS, as_read
from jflows.runs.directory import load
from jflows.runs.reports import clusters, component_samples, interpolation, reconstruction, rows, samples
from jflows.runs.running import Progress, scored
from jflows.runs.stored import StoredRecipe, read_recipe
from jflows.typing import Variables

IMAGE_TEMPERATURE = 0.7  # of samples of images, as in the pictures of Kingma and Dhariwal 2018, section 5
SUFFIXES = {"images": (".png",), "table": rows.SUFFIXES, "none": rows.SUFFIXES}
"""Of files of samples, by the kind of what a density models."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained flow and the recipe that it came from. Made by `TrainedRun.open`.

    Attributes:
      directory: of the run.
      density, variables: as `jflows.load` gives them.
      stored: the content of config.json.
    """

    directory: Path
    density: Density
    variables: Variables
    stored: StoredRecipe

    @classmethod
    def open(cls, run: str | Path, *, weights: str = "ema", checkpoint: str | int = "auto") -> "TrainedRun":
        """Reads a run directory; see `jflows.load` for `weights` and `checkpoint`.

        Raises:
          RunError: if the directory is missing or damaged.
        """
        stored = read_recipe(run)
        density, variables = load(run, weights=weights, checkpoint=checkpoint)
        return cls(Path(run), density, variables, stored)

    @property
    def noun(self) -> str:
        """What its examples are called: images or rows."""
        return NOUNS[self.density.reading.kind]

    def data(self, name: str | None = None, split: str = "test") -> Data:
        """Rows that the density is asked about, checked to fit it.

        Args:
          name: a data set or a path; None for the data of the run.
          split: "train", "validation" or "test".
        Raises:
          DataError: if they cannot be had, or do not fit.
        """
        config = self.stored.recipe.data
        if name is not None:
            columns = tuple(self.stored.facts.get("columns", ())) if Path(name).expanduser().is_file() else ()
            config = dataclasses.replace(config, name=name, columns=columns)  # by name, in whatever order they are
        try:
            data = config.load(split)
        except InvalidValueError as error:
            if error.settings != ("columns",):
                raise
            rule = f"must have the columns of the run, {', '.join(self.stored.facts.get('columns', ()))}"
            raise DataError("run", "data", rule, error.got, "Rename them.") from error
        except DataError as error:
            if name is not None:
                raise
            fix = f"{error.fix} Or name other data by {{data}}."
            raise DataError(error.where, error.settings, error.rule, error.got, fix.strip()) from error
        self.density.reading.check(data, "run")
        return data

    def evaluate(
        self, data: Data, *, num_draws: int = 1, batch_size: int = 250, seed: int = 0, progress: Progress = None
    ) -> Evaluation:
        """The score of all rows; see `jflows.eval.evaluate`."""
        options: Any = {"seed": seed, "num_draws": num_draws, "progress": progress}
        return scored(self.density, self.variables, data, batch_size, **options)

    def clusters(self, data: Data, batch_size: int = 250) -> dict[str, Any] | None:
        """How components share out the rows, and how they agree with labels; None of a density without components."""
        if clusters.NAME not in self.density.reports:
            return None
        return clusters.summary(clusters.report_on(self.density, self.variables, data, batch_size))

    def sample(
        self, num: int, *, temperature: float | None = None, label: int | None = None, seed: int = 0
    ) -> np.ndarray:
        """Draws [num, *event_shape].

        Args:
          temperature: None for 0.7 of images, 1 of tables.
          label: class of a conditional flow, None for all in turn; or component of a mixture.
          seed: of the noise.
        Raises:
          InvalidValueError: if there is no such class or component.
        """
        temperature = self.temperature if temperature is None else temperature
        key, density = jax.random.key(seed), self.density
        if label is not None and component_samples.NAME in density.reports:
            return component_samples.samples_of(density, self.variables, key, num, label, temperature)
        data = self.data() if density.reading.context == "vectors" else None
        context = samples.contexts(density, data, num, label)
        return samples.draw(density, self.variables, key, num, context, temperature)

    @property
    def temperature(self) -> float:
        """Of samples, unless asked otherwise."""
        return IMAGE_TEMPERATURE if self.density.reading.kind == "images" else 1.0

    def check_samples(self, path: Path | None = None, columns: int | None = None) -> None:
        """Raises `InvalidValueError` if samples cannot be written so; see `save_samples`."""
        kind = self.density.reading.kind
        suffixes, what = SUFFIXES[kind], "images" if kind == "images" else "a table"
        if path is not None and path.suffix.lower() not in suffixes:
            raise InvalidValueError("sample", "out", f"must end in {' or '.join(suffixes)} for {what}", str(path))
        if columns is not None and kind != "images":
            raise InvalidValueError("sample", "columns", "is for images, not for a table", columns, "Leave it out.")

    def save_samples(self, drawn: np.ndarray, path: Path | None = None, columns: int | None = None) -> Path:
        """Writes samples as a grid of images (.png) or rows of a table (.csv, .npy), and returns the path.

        Args:
          path: None for sample.png or sample.csv in the run.
          columns: images per row.
        Raises:
          InvalidValueError: if the suffix is not for such samples, or columns are asked of a table.
        """
        self.check_samples(path, columns)
        kind = self.density.reading.kind
        path = self.directory / f"sample{SUFFIXES[kind][0]}" if path is None else path
        if kind == "images":
            samples.save_grid(drawn, path, samples.pixel_bits(self.density), columns)
        else:
            rows.save_rows(drawn, self.stored.facts.get("columns", ()), path)
        return path

    def interpolate(self, data: Data, path: Path | None = None, **options: Any) -> Path:
        """Writes paths in latent space between pairs of images; see `interpolation.draw_paths` for the options."""
        self.check_pictures()
        path = self.directory / interpolation.FILE if path is None else path
        interpolation.draw_paths(self.density, self.variables, as_read(data, self.density), path, **options)
        return path

    def reconstruct(self, data: Data, path: Path | None = None, **options: Any) -> tuple[Path, float]:
        """Writes images and decode(encode(images)); the path, and the largest error in pixel levels."""
        self.check_pictures()
        path = self.directory / reconstruction.FILE if path is None else path
        read = as_read(data, self.density)
        return path, reconstruction.draw_errors(self.density, self.variables, read, path, **options)

    def check_pictures(self) -> None:
        """Raises `InvalidValueError` unless latent paths and reconstructions can be drawn as images."""
        kind, encodes = self.density.reading.kind, self.density.encodes
        if not encodes or kind != "images":
            rule = "must be that of a flow of images, to draw them"
            what = f"a {'flow' if encodes else 'mixture'} of {'images' if kind == 'images' else 'tables'}"
            got = f"{self.directory}, {what}"
            raise InvalidValueError("pictures", "run", rule, got, "Try `jflows sample`.")

"""`TrainedRun`: scores, samples, latent paths and reconstructions of a trained flow, from its run directory alone."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jflows.data import KNOWN, Data
from jflows.data.dataset import check_is_data
from jflows.data.load import options_of
from jflows.data.splits import ALL
from jflows.errors import DataError, InvalidValueError, check_choice
from jflows.eval import Auroc, Evaluation, auroc, row_scores
from jflows.flows import Density
from jflows.options import Count, Seed, check_call, path_of
from jflows.runs.contexts import Given, contexts_of
from jflows.runs.data import NOUNS, DataConfig, as_read, batches_of, checksum
from jflows.runs.directory import load
from jflows.runs.reports import clusters, component_samples, interpolation, pairs, reconstruction, rows, samples
from jflows.runs.reports.report import KEY_SEED
from jflows.runs.running import Progress, scored
from jflows.runs.stored import StoredRecipe, read_recipe
from jflows.train.progress import counting
from jflows.typing import Variables

IMAGE_TEMPERATURE = 0.7  # of samples of images, as in the pictures of Kingma and Dhariwal 2018, section 5
SUFFIXES = {"images": (".png",), "table": rows.SUFFIXES, "none": rows.SUFFIXES}
"""The suffixes of files of samples, by the kind of data that a density models."""


SCORE_NAMES = {"nats": "log_prob_nats", "bits_per_dim": "bits_per_dim"}
NAMED_ROWS = 5  # at most, in an error about rows
COUNT_ALIKE = "none"
"""In the place of a column of weights: all rows count alike."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained flow and the recipe that it came from, opened by `TrainedRun.open`.

    Attributes:
      directory: the run directory.
      density, variables: the flow and its collections, as `jflows.load` gives them.
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
        return cls(path_of("load", "run", run), density, variables, stored)

    @property
    def noun(self) -> str:
        """The noun for the run's examples: images or rows."""
        return NOUNS[self.density.reading.kind]

    def split_of(self, name: str | None) -> str:
        """The rows that are used unless told otherwise: all of a file, the test rows of other data."""
        return "test" if name is None or name in KNOWN else ALL

    def taken(self, name: str | None, split: str | None) -> str:
        """The rows that were used, in words: "test images", or "rows" of a file of which all are taken."""
        split = split or self.split_of(name)
        return self.noun if split == ALL else f"{split} {self.noun}"

    def data(self, name: str | None = None, split: str | None = None, weight: str | None = None) -> Data:
        """Loads rows to score or to draw, and checks that they fit the density.

        Columns of another file, contexts and weights among them, are found by the names that they had in training.

        Args:
          name: the name of a data set or a path; None for the data of the run.
          split: "train", "validation", "test" or, of a file, "all"; None takes that of `split_of`.
          weight: the column that holds weights; None takes that of the run, and "none" counts all rows alike.
        Raises:
          DataError: if the data cannot be loaded, or do not fit.
        """
        config, split = self._config_for(name, weight), split or self.split_of(name)
        try:
            data = config.load(split)
        except InvalidValueError as error:
            if error.settings == ("weight",) and weight is None:
                raise self._without_weights(config.name) from error
            if error.settings not in (("columns",), ("context",)):
                raise
            wanted = self.stored.facts.get("columns" if error.settings == ("columns",) else "context", ())
            what = "columns" if error.settings == ("columns",) else "columns of contexts"
            rule = f"must have the {what} of the run, {', '.join(wanted)}"
            raise DataError("run", "data", rule, error.got, "Rename them.") from error
        except DataError as error:
            if name is not None:
                raise
            fix = f"{error.fix} Or name other data by {{data}}."
            raise DataError(error.where, error.settings, error.rule, error.got, fix.strip()) from error
        if name is None and config.name not in KNOWN:
            own = self.stored.recipe.data
            self._check_unchanged(own, {split: data} if own == config else {})
        wanted = tuple(self.stored.facts.get("columns", data.columns))
        if data.columns != wanted:  # or a column would be scored as another
            rule = f"must have the columns of the run, {', '.join(wanted)}"
            raise DataError(
                "run", "data", rule, ", ".join(data.columns) or f"{data.name!r} without columns", "Rename them."
            )
        if weight == COUNT_ALIKE:
            data = data.take(np.arange(len(data)), weight=None)
        elif data.weight is None and self.stored.facts.get("weighted"):
            raise self._without_weights(data.name)
        self.density.reading.check(data, "run")
        return data

    def _config_for(self, name: str | None, weight: str | None) -> DataConfig:
        """The data of the run, or other data with the columns of the run; options that other data lack are dropped."""
        config, facts = self.stored.recipe.data, self.stored.facts
        if name is None and weight is None:
            return config
        taken = options_of(config.name if name is None else name)
        given = {"columns": tuple(facts.get("columns", ())), "context": self.context_columns}
        given |= {"separator": config.separator, "decimal": config.decimal, "header": config.header}
        default = {"columns": (), "context": ()}
        given = {option: value if option in taken else default.get(option) for option, value in given.items()}
        if weight is None:
            given["weight"] = config.weight if "weight" in taken else None
        else:
            given["weight"] = None if weight == COUNT_ALIKE else weight
        if name is not None:
            given |= {"name": name, "test_data": ""}
            given |= {"num_validation": 0} if name in KNOWN and KNOWN[name].has_validation else {}
        return dataclasses.replace(config, **given)

    def _without_weights(self, name: str) -> DataError:
        column = self.stored.recipe.data.weight
        rule = "must have weights, as the data of the run have" + (f" in the column {column!r}" if column else "")
        fix = f"Name another column by {{weight}}, or pass {{weight={COUNT_ALIKE}}} to count all rows alike."
        return DataError("run", "data", rule, f"{name!r} without them", fix)

    def _check_unchanged(self, config: DataConfig, loaded: dict[str, Data]) -> None:
        """Raises `DataError` if the run's files hold other rows now: those to test on may be among those trained on."""
        for split, name, what in (("train", "data_crc32", "trained"), ("test", "test_crc32", "tested")):
            wanted, path = self.stored.facts.get(name), (split == "test" and config.test_data) or config.name
            if wanted is not None and wanted != checksum(loaded.get(split) or config.load(split)):
                rule, got = f"must hold the rows that the run was {what} on", f"other rows in {path}"
                fix = "Restore the file, or name it by {data}, which scores all of its rows."
                raise DataError("run", "data", rule, got, fix)

    def evaluate(
        self, data: Data, *, num_draws: Count = 1, batch_size: Count = 250, seed: Seed = 0, progress: Progress = None
    ) -> Evaluation:
        """The score of all rows; see `jflows.eval.evaluate`.

        Raises:
          InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range.
          DataError: if the score is NaN.
        """
        check_is_data("evaluate", "data", data)
        given = {"num_draws": num_draws, "batch_size": batch_size, "seed": seed}
        check_call("evaluate", TrainedRun.evaluate, given)
        options: Any = {"seed": seed, "num_draws": num_draws, "progress": progress}
        found = scored(self.density, self.variables, data, batch_size, **options)
        if math.isnan(found.nats):
            rule, fix = "must have scores that are numbers, by this flow", "Choose another {checkpoint}, or train anew."
            raise DataError("evaluate", "data", rule, f"NaN for {data.name!r}", fix)
        return found

    def clusters(self, data: Data, batch_size: int = 250) -> dict[str, Any] | None:
        """The shares of components and their agreement with labels; None for a density without components."""
        if clusters.NAME not in self.density.reports:
            return None
        return clusters.summary(clusters.report_on(self.density, self.variables, data, batch_size))

    def scores(
        self, data: Data, *, num_draws: int = 1, batch_size: int = 250, seed: int = 0, progress: Progress = None
    ) -> np.ndarray:
        """The score of every row in order, float64 [num]: log density in nats of rows, bits per dimension of images.

        Rows outside of the support of the density have a score of -inf nats. Weights play no part, and rows of weight 0
        are scored like others. The scores of a run are those whose mean `evaluate` gives.

        Raises:
          DataError: if a score is NaN; the message names the rows.
        """
        alike = data.take(np.arange(len(data)), weight=None)
        batches, key = batches_of(alike, batch_size, self.density), jax.random.key(seed)
        shown = contextlib.nullcontext() if progress is False else counting("scoring", len(data), NOUNS[data.kind])
        found = np.empty(len(data))
        with shown as on_batch:
            done = 0
            for part in row_scores(self.density, self.variables, batches, key, num_draws):
                found[done : done + len(part)] = part
                done += len(part)
                if on_batch is not None:
                    on_batch(done)
        bad = np.flatnonzero(np.isnan(found))
        if bad.size:
            rows = ", ".join(map(str, bad[:NAMED_ROWS])) + (", ..." if bad.size > NAMED_ROWS else "")
            rule, fix = "must have no row whose score is NaN", "Leave these rows out, or train with smaller steps."
            raise DataError("score", "data", rule, f"{bad.size} of {len(data):,} in {data.name!r}: rows {rows}", fix)
        return found

    def save_scores(self, scores: np.ndarray, path: Path | None = None) -> Path:
        """Writes one score a line below its name, log_prob_nats or bits_per_dim, and returns the path.

        Args:
          path: the .csv file to write; None takes scores.csv in the run directory.
        """
        path = self.directory / "scores.csv" if path is None else path
        rows.save_scores(scores, SCORE_NAMES[self.density.unit.key], path)
        return path

    def tell_apart(self, scores: np.ndarray, others: np.ndarray, data: Data, other_data: Data) -> Auroc:
        """How well the scores of two data sets tell their rows apart, by `jflows.eval.auroc` with their weights.

        Its value is the probability that a row of `data` is the more likely one.
        """
        sign = -1 if self.density.unit.lower_is_better else 1
        return auroc(sign * scores, sign * others, data.weight, other_data.weight)

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

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The names of the contexts that the run was trained with; () where they have none."""
        return tuple(self.stored.facts.get("context", ()))

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
        temperature = self.temperature if temperature is None else temperature
        key, density = jax.random.key(seed), self.density
        if label is not None and component_samples.NAME in density.reports:
            return component_samples.samples_of(density, self.variables, key, num, label, temperature)
        return samples.draw(density, self.variables, key, num, self.contexts(num, label, context), temperature)

    def label_of(self, name: str) -> int:
        """The number of a class, or of a component of a mixture, from its name or number as text.

        Raises:
          InvalidValueError: if it is neither the name of a class, nor a whole number where classes have no names.
        """
        names = self.stored.facts.get("class_names", [])
        if names and self.density.reading.context == "labels":
            check_choice("sample", "label", name, names)
            return names.index(name)
        if not name.isdecimal():
            raise InvalidValueError("sample", "label", "must be the number of a class or of a component", repr(name))
        return int(name)

    @property
    def temperature(self) -> float:
        """The default temperature of samples: 0.7 for images, 1 for tables."""
        return IMAGE_TEMPERATURE if self.density.reading.kind == "images" else 1.0

    def check_samples(self, path: Path | None = None, columns: int | None = None) -> None:
        """Raises `InvalidValueError` if `save_samples` cannot write samples to this path, or with these columns."""
        kind = self.density.reading.kind
        suffixes, what = SUFFIXES[kind], "images" if kind == "images" else "a table"
        if path is not None and path.suffix.lower() not in suffixes:
            raise InvalidValueError("sample", "out", f"must end in {' or '.join(suffixes)} for {what}", str(path))
        if columns is not None and kind != "images":
            raise InvalidValueError("sample", "columns", "is for images, not for a table", columns, "Leave it out.")

    def save_samples(
        self,
        drawn: np.ndarray,
        path: Path | None = None,
        columns: int | None = None,
        context: np.ndarray | None = None,
    ) -> Path:
        """Writes samples as a grid of images (.png) or rows of a table (.csv, .npy), and returns the path.

        Args:
          path: the file to write; None takes sample.png or sample.csv in the run directory.
          columns: images per row of the grid; None chooses a number.
          context: contexts of the samples, [num, c], which a .csv file gets as further columns, and a .npy file not.
        Raises:
          InvalidValueError: if the suffix does not suit the samples, or `columns` is given for a table.
        """
        self.check_samples(path, columns)
        kind = self.density.reading.kind
        path = self.directory / f"sample{SUFFIXES[kind][0]}" if path is None else path
        if kind == "images":
            samples.save_grid(drawn, path, samples.pixel_bits(self.density), columns)
        else:
            names = [*self.stored.facts.get("columns", ())] or [f"x{i}" for i in range(drawn.shape[-1])]
            if context is not None and path.suffix.lower() == ".csv":
                context = context.reshape(len(context), -1)
                names += self.context_columns or [f"context{i}" for i in range(context.shape[1])]
                drawn = np.concatenate([drawn, context], axis=1)
            rows.save_rows(drawn, names, path)
        return path

    def pairs(
        self,
        data: Data,
        path: Path | None = None,
        *,
        columns: Sequence[str] = (),
        context: Given | None = None,
        num: int = pairs.NUM,
        seed: int = 0,
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
        if not pairs.can(self.density, data):
            fix = "Try `jflows sample`."
            raise InvalidValueError("pairs", "run", "must be that of a table", f"{self.directory}, of images", fix)
        path = self.directory / pairs.FILE if path is None else path
        own, words = None, ""
        if context is not None:
            own, words = self.contexts(num, context=context), self._in_words(context)
        options: Any = {"columns": columns, "num": num, "context": own, "given": words}
        key, title = jax.random.key(seed), self.directory.resolve().name
        pairs.draw_pairs(self.density, self.variables, key, data, path, title=title, **options)
        return path

    def _in_words(self, context: Given) -> str:
        own = self.given_contexts(context)
        if len(own) > 1 or own.ndim != 2 or not self.context_columns:
            return "given contexts"
        return ", ".join(f"{name}={value:.4g}" for name, value in zip(self.context_columns, own[0], strict=True))

    def interpolate(self, data: Data, path: Path | None = None, **options: Any) -> Path:
        """Writes paths in latent space between pairs of images; see `interpolation.draw_paths` for the options."""
        self.check_pictures()
        path = self.directory / interpolation.FILE if path is None else path
        interpolation.draw_paths(self.density, self.variables, as_read(data.counted(), self.density), path, **options)
        return path

    def reconstruct(self, data: Data, path: Path | None = None, **options: Any) -> tuple[Path, float]:
        """Writes images and decode(encode(images)); returns the path, and the largest error in pixel levels."""
        self.check_pictures()
        path = self.directory / reconstruction.FILE if path is None else path
        read = as_read(data.counted(), self.density)
        return path, reconstruction.draw_errors(self.density, self.variables, read, path, **options)

    def check_pictures(self) -> None:
        """Raises `InvalidValueError` unless the run is a flow of images, whose latent paths can be drawn."""
        kind, encodes = self.density.reading.kind, self.density.encodes
        if not encodes or kind != "images":
            rule = "must be that of a flow of images, to draw them"
            what = f"a {'flow' if encodes else 'mixture'} of {'images' if kind == 'images' else 'tables'}"
            got = f"{self.directory}, {what}"
            raise InvalidValueError("pictures", "run", rule, got, "Try `jflows sample`.")

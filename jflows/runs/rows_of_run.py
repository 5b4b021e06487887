"""`RowsOfRun`: the data that a trained run scores and draws: its own, or others with the same columns.

Read next: `jflows/runs/pictures.py` and `jflows/runs/trained.py`, which add pictures, then scores and samples.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jflows.data import KNOWN, Data
from jflows.data.base import check_same_columns
from jflows.data.load import options_of
from jflows.data.splits import ALL
from jflows.errors import DataError, InvalidValueError, check_choice
from jflows.flows import Density
from jflows.runs.data import DataConfig, checksum
from jflows.runs.stored import StoredRecipe
from jflows.typing import Variables

COUNT_ALIKE = "none"
"""In the place of a column of weights: all rows count alike."""


@dataclasses.dataclass(frozen=True)
class RowsOfRun:
    """A trained flow with its recipe, by which rows are loaded; see `TrainedRun`."""

    directory: Path
    density: Density
    variables: Variables
    stored: StoredRecipe
    weights: str
    step: int | None

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The names of the contexts that the run was trained with; () where they have none."""
        return tuple(self.stored.facts.get("context", ()))

    @property
    def noun(self) -> str:
        """The noun for the run's examples: images or rows."""
        return self.density.reading.kind.rows

    def split_of(self, name: str | None) -> str:
        """The rows that are used unless told otherwise: all of a file, the test rows of other data."""
        return "test" if name is None or name in KNOWN else ALL

    def taken(self, name: str | None, split: str | None) -> str:
        """The rows that were used, in words: "test images", or "rows" of a file of which all are taken."""
        split = split or self.split_of(name)
        return self.noun if split == ALL else f"{split} {self.noun}"

    def data(
        self,
        name: str | None = None,
        split: str | None = None,
        weight: str | None = None,
        *,
        beyond_support: bool = False,
        attributes: str | None = None,
    ) -> Data:
        """Loads rows to score or to draw, and checks that they fit the density.

        Columns of another file, contexts and weights among them, are found by the names that they had in training.

        Args:
          name: the name of a data set or a path; None for the data of the run.
          split: "train", "validation", "test" or, of a file, "all"; None takes that of `split_of`.
          weight: the column that holds weights; None takes that of the run, and "none" counts all rows alike.
          attributes: the path of a .csv file with attributes of the images of a folder; None takes that of the run with
            its own data, and none with others.
          beyond_support: whether to take rows of density 0 too, see `Reading.beyond_support`; `scores` does.
        Raises:
          DataError: if the data cannot be loaded, or do not fit.
        """
        split = split or self.split_of(name)
        config = self._config_for(name, weight, attributes, split)
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
            got = f"{config.name} without {error.got}"
            raise DataError("run", "data", rule, got, f"{error.fix} Rename them.".strip()) from error
        except DataError as error:
            if name is not None or attributes is not None:  # which may be at fault
                raise
            own = "These are the run's own data; name others by {data}, of which {split} takes a part."
            fix = f"{error.fix} {own}"
            raise DataError(error.where, error.settings, error.rule, error.got, fix.strip()) from error
        if name is None and config.name not in KNOWN:
            own = self.stored.recipe.data
            self._check_unchanged(own, {split: data} if own == config else {})
        self.check_columns(data, "run")
        if weight == COUNT_ALIKE:
            data = data.take(np.arange(len(data)), weight=None)
        elif data.weight is None and self.stored.facts.get("weighted"):
            raise self._without_weights(data.name)
        reading = self.density.reading
        (reading.beyond_support() if beyond_support else reading).check(data, "run")
        return data

    def label_of(self, name: str, where: str = "sample") -> int:
        """The number of a class, or of a component of a mixture, from its name or number as text.

        Raises:
          InvalidValueError: if it is neither the name of a class, nor a whole number where classes have no names.
        """
        names = self.stored.facts.get("class_names", [])
        if names and self.density.reading.context == "labels":
            check_choice(where, "label", name, names)
            return names.index(name)
        if not name.isdecimal():
            raise InvalidValueError(where, "label", "must be the number of a class or of a component", repr(name))
        return int(name)

    def check_columns(self, data: Data, where: str) -> None:
        """Raises `DataError` unless named columns are those of the run in its order, or one is taken for another."""
        facts = self.stored.facts
        check_same_columns(data, where, "data", facts.get("columns", ()), facts.get("context", ()))

    def _config_for(self, name: str | None, weight: str | None, attributes: str | None, split: str) -> DataConfig:
        """The data of the run, or other data with the columns of the run; options that other data lack are dropped."""
        config, facts = self.stored.recipe.data, self.stored.facts
        if name is not None or attributes is not None:
            config = dataclasses.replace(config, attributes=attributes or "")
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
            own_validation = name in KNOWN and KNOWN[name].has_validation
            given |= {"num_validation": 0} if own_validation or split == "train" else {}
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

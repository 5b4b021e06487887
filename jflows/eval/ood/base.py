"""`Measure`: a number for each row that says how unusual it is, and `Evidence`, from which it is computed.

Read next: `jflows/eval/ood/typicality.py`, the first measure that mends what likelihood alone gets wrong.
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.flows import Density
from jflows.options import Checked

TRAINING, BACKGROUND, ENSEMBLE, LATENT, IMAGES = NEEDS = ("training", "background", "ensemble", "latent", "images")
"""What measures can need beside the log densities of the rows: see the attributes of `Evidence`."""


class Evidence(NamedTuple):
    """What is known of some rows, as arrays; a measure reads `log_prob`, and what it names in `needs`.

    Attributes:
      log_prob: log densities of the rows by the density itself, in nats: [num].
      num_dims: number of dimensions of a row.
      training: log densities of rows that the density was trained on, in nats: [num_training].
      training_weight: how much each of these rows counts; None counts all alike.
      background: log densities of the rows by a density of their background, in nats: [num].
      ensemble: log densities of the rows by at least two densities, in nats: [num_models, num].
      norms: distances of the latents of the rows from the origin: [num].
      base_norms: distances of draws of the base from the origin: [num_draws].
      images: the rows as the integers that the density reads, uint8: [num, height, width, channels].
    """

    log_prob: np.ndarray
    num_dims: int
    training: np.ndarray | None = None
    training_weight: np.ndarray | None = None
    background: np.ndarray | None = None
    ensemble: np.ndarray | None = None
    norms: np.ndarray | None = None
    base_norms: np.ndarray | None = None
    images: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Measure(Checked, abc.ABC):
    """A number for each row, larger the more the row is out of distribution.

    A subclass is a frozen dataclass whose fields are its options, each declared once: `Annotated[type, Option(...)]`.
    It writes `__call__`, and hands arrays to a pure function of its module, which a notebook can call without it.

    Attributes:
      name: the name by which `jflows score --measure` chooses the measure.
      unit: the unit of its numbers in words.
      needs: what it reads from the evidence beside `log_prob`, of `NEEDS`.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @property
    def rows_per_value(self) -> int:
        """How many rows are judged together, with one number for all of them; 1 judges each row alone."""
        return 1

    @property
    def training_rows(self) -> int:
        """How many training rows it needs the log densities of; 0 unless `needs` names them."""
        return 0

    @property
    def column(self) -> str:
        """Name of the measure with its unit, for the head of a file."""
        return f"{self.name}_{self.unit.replace('/', '_per_')}"

    def check(self, density: Density) -> None:
        """Raises `InvalidValueError` if the density cannot give what the measure needs; nothing is computed for it."""
        if LATENT in self.needs and not density.encodes:
            rule = f"must not be {self.name!r} for a mixture of flows, which has no single latent space"
            raise InvalidValueError("score", "measure", rule, None, "Choose another {measure}, such as typicality.")
        if IMAGES in self.needs and density.reading.num_bits is None:
            rule = f"must not be {self.name!r} for a table: what is compressed are the integers of images"
            raise InvalidValueError("score", "measure", rule, None, "Choose another {measure}, such as typicality.")

    @abc.abstractmethod
    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The numbers of the rows, float64 [num // rows_per_value]."""


def numbers(where: str, argument: str, values: ArrayLike | None, num: int | None = None, axes: int = 1) -> np.ndarray:
    """Log densities or the like as float64; raises `InvalidValueError` for other shapes, for NaN, or for none."""
    array: Any = np.asarray(math.nan if values is None else values, np.float64)
    right = array.ndim == axes and array.size and (num is None or array.shape[-1] == num)
    if not right or np.isnan(array).any():
        shape = ("models", *(("num",) if num is None else (str(num),)))[-axes:]
        rule = f"must be numbers [{', '.join(shape)}] without NaN"
        got = "None" if values is None else f"shape {array.shape}" + ("" if not right else " with NaN")
        raise InvalidValueError(where, argument, rule, got)
    return array

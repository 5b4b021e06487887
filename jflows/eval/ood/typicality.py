"""`typicality`: whether the log density of rows is what it usually is, and not merely high."""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.ood.base import TRAINING, Evidence, Measure, numbers
from jflows.options import Count, Option, checked


@checked
def typicality(log_prob: ArrayLike, entropy: float, group: Count = 1) -> np.ndarray:
    """The distance of the mean surprise of `group` rows from the entropy.

        t = |-1/M sum_m log p(x_m) - H|                      [nats per event]

    In many dimensions, draws of a density almost never lie where it is highest: their surprise -log p(x) is close to
    the entropy H. Rows are unusual if their surprise is far from it on either side. The more rows of one kind are
    judged together, the surer the answer.

    Source: Nalisnick et al. 2019, arXiv:1906.02994, section 3.1, where H is the mean over training rows.

    Args:
      log_prob: log densities in nats.
      entropy: H in nats, such as the mean of -log p(x) over training rows.
      group: M; rows are taken M at a time in their order, and those that are left over at the end are not judged.
    Shapes:
      log_prob: [num] -> [num // group]; infinite where a row of the group has density 0.
    Raises:
      InvalidValueError: if log densities are NaN or fewer than `group`, or the entropy is not finite.
    Example:
      >>> typicality([-3.0, -5.0, -9.0, -7.0, 0.0], entropy=4.0, group=2)
      array([0., 4.])
    """
    surprise = -numbers("typicality", "log_prob", log_prob)
    if not np.isfinite(entropy):
        raise InvalidValueError("typicality", "entropy", "must be finite", entropy, "Leave out rows of density 0.")
    if len(surprise) < group:
        rule = f"must be at most {len(surprise)}, the number of rows"
        raise InvalidValueError("typicality", "group", rule, group)
    whole = surprise[: len(surprise) // group * group].reshape(-1, group)
    return np.abs(whole.mean(axis=1) - entropy)


@dataclasses.dataclass(frozen=True)
class Typicality(Measure):
    """|mean of -log p(x) - H|, with H the mean over training rows, see `typicality`."""

    name: ClassVar[str] = "typicality"
    unit: ClassVar[str] = "nats"
    needs: ClassVar[tuple[str, ...]] = (TRAINING,)

    group: Annotated[
        int,
        Option(
            "Number of rows that measure=typicality judges together, in their order. More rows of one kind make the "
            "answer surer, and give one number for all of them.",
            low=1,
        ),
    ] = 1
    num_train: Annotated[
        int,
        Option(
            "Number of training rows by which measure=typicality estimates the entropy; they are drawn at random, and "
            "scored each time. More of them take longer and make it surer.",
            low=2,
        ),
    ] = 5000

    @property
    def rows_per_value(self) -> int:
        """How many rows are judged together, with one number for all of them."""
        return self.group

    @property
    def training_rows(self) -> int:
        """The number of rows for the entropy."""
        return self.num_train

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The distances of groups of rows in nats: [num // group]."""
        training = numbers("typicality", "training", evidence.training)
        entropy = -float(np.average(training, weights=evidence.training_weight))
        return typicality(evidence.log_prob, entropy, self.group)

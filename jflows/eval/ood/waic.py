"""`waic`: likelihood by an ensemble, less what its members disagree about."""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.ood.base import ENSEMBLE, Evidence, Measure, numbers


def waic(log_probs: ArrayLike) -> np.ndarray:
    """The negative of the Watanabe-Akaike information criterion of each row.

        w = -(mean_k log p_k(x) - var_k log p_k(x))          [log densities in nats]

    Densities that were trained from different seeds agree where they have seen data, and less elsewhere.

    Source: Choi et al. 2018, arXiv:1810.01392, section 3, with the opposite sign. The variance is divided by K - 1, as
    ensembles are small.

    Shapes:
      log_probs: [num_models, num], num_models >= 2 -> [num]; infinite where any of the densities is 0.
    Raises:
      InvalidValueError: if there are fewer than two densities, or log densities are NaN.
    """
    array = numbers("waic", "log_probs", log_probs, axes=2)
    if len(array) < 2:
        raise InvalidValueError("waic", "log_probs", "must be those of at least 2 densities", f"{len(array)}")
    supported = np.isfinite(array).all(axis=0)
    safe = np.where(supported, array, 0.0)
    return np.where(supported, safe.var(axis=0, ddof=1) - safe.mean(axis=0), np.inf)


@dataclasses.dataclass(frozen=True)
class Waic(Measure):
    """-(mean - variance) of log p_k(x) over an ensemble, see `waic`."""

    name: ClassVar[str] = "waic"
    unit: ClassVar[str] = "nats"
    needs: ClassVar[tuple[str, ...]] = (ENSEMBLE,)

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The criterion of each row, negated: [num]."""
        return waic(numbers("waic", "log_probs", evidence.ensemble, len(evidence.log_prob), axes=2))

"""`likelihood_ratio`: the likelihood of what is particular in a row, with that of its background taken away."""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from jflows.eval.ood.base import BACKGROUND, Evidence, Measure, numbers


def likelihood_ratio(log_prob: ArrayLike, background: ArrayLike) -> np.ndarray:
    """How much more likely a row is by a density of backgrounds than by the density itself.

        r = log p_background(x) - log p(x)                   [nats per event]

    Much of the likelihood of an image is that of its background, such as large dark areas, which unusual images may
    have too. It cancels if the second density has learned the background alone: from images of which some pixels are
    replaced by random ones, as `jflows train --mutate` does.

    Source: Ren et al. 2019, arXiv:1906.02845, equation 3, with the opposite sign.

    Shapes:
      log_prob, background: [num] -> [num]; infinite where the density itself is 0.
    Raises:
      InvalidValueError: if log densities are NaN, or not as many by both.
    """
    own = numbers("likelihood_ratio", "log_prob", log_prob)
    other = numbers("likelihood_ratio", "background", background, len(own))
    with np.errstate(invalid="ignore"):  # inf - inf, where the first density decides
        return np.where(np.isneginf(own), np.inf, other - own)


@dataclasses.dataclass(frozen=True)
class LikelihoodRatio(Measure):
    """log p_background(x) - log p(x), see `likelihood_ratio`."""

    name: ClassVar[str] = "likelihood_ratio"
    unit: ClassVar[str] = "nats"
    needs: ClassVar[tuple[str, ...]] = (BACKGROUND,)

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The ratio of each row in nats: [num]."""
        return likelihood_ratio(evidence.log_prob, numbers("likelihood_ratio", "background", evidence.background))

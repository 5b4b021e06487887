"""`Likelihood`: how surprising a row is by the density alone, which is what the other measures improve on."""

import dataclasses
from typing import ClassVar

import numpy as np

from jflows.eval.ood.base import Evidence, Measure


@dataclasses.dataclass(frozen=True)
class Likelihood(Measure):
    """-log p(x): low likelihood taken for a sign that a row is unusual.

    Deep densities of images can give *higher* likelihoods to images of another kind, if these are simpler: a flow of
    CIFAR-10 prefers SVHN. Compare it with the other measures before you rely on it.

    Source: Nalisnick et al. 2019, arXiv:1810.09136, which shows where it fails.
    """

    name: ClassVar[str] = "likelihood"
    unit: ClassVar[str] = "nats"

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """-log p(x) of each row in nats: [num]."""
        return -np.asarray(evidence.log_prob, np.float64)

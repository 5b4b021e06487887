"""`remove`: density surgery, by which latents of one kind, such as a class, are taken out of the base of a flow.

    gone = remove(lambda u: table.probabilities(u)[:, 4], base_draws)
    kept = base_draws[gone.accepts(base_draws)]
    gone.log_prob(u, base_log_prob)

The flow itself is not trained again: its base is multiplied by how little a latent belongs to what is removed.
"""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError, InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import bad_rows, real_array, real_numbers
from jflows.options import Option, Seed, checked

LEAST_DRAWS = 100
Probability = Callable[[np.ndarray], np.ndarray]
"""Latents [num, *latent_shape] -> the probability that each is of what is removed, [num]."""


class Removed(NamedTuple):
    """A base without what was removed; made by `remove`.

        p'(u) = p(u) a(u) / Z,   a(u) = 1 - strength r(u),   Z = E_p a(u)

    Attributes:
      probability: r.
      strength: share of the density that is taken away where r = 1.
      log_normaliser: ln Z in nats, at most 0; the share of draws of the base that are kept is Z.
      standard_error: the standard error of `log_normaliser`, which comes from draws.
    """

    probability: Probability
    strength: float
    log_normaliser: float
    standard_error: float

    def acceptance(self, latents: ArrayLike) -> np.ndarray:
        """a(u) of latents: [num, *latent_shape] -> float64 [num].

        Raises:
          InvalidValueError: if `probability` does not give a number in [0, 1] for each latent, or there are no latents.
        """
        u = _checked("Removed.acceptance", "latents", latents)
        found = real_numbers("remove", "probability", self.probability(u), f"must give {len(u)} numbers in [0, 1]")
        if found.shape != (len(u),) or not ((found >= 0) & (found <= 1)).all():
            got = f"shape {found.shape}" if found.shape != (len(u),) else f"{found.min():g} to {found.max():g}"
            raise InvalidValueError("remove", "probability", f"must give {len(u)} numbers in [0, 1]", got)
        return 1 - self.strength * found

    def log_prob(self, latents: ArrayLike, base_log_prob: ArrayLike) -> np.ndarray:
        """ln p'(u) in nats, given ln p(u) under the base, [num]: float64 [num].

        Raises:
          InvalidValueError: if there is not one ln p(u) for each latent; see `acceptance`.
        """
        accepted, rule = np.log(self.acceptance(latents)), "must be numbers [num], one for each latent"
        base = real_numbers("Removed.log_prob", "base_log_prob", base_log_prob, rule)
        if base.shape != accepted.shape:
            raise InvalidValueError("Removed.log_prob", "base_log_prob", rule, f"{base.shape} for {len(accepted)}")
        return base + accepted - self.log_normaliser

    @checked
    def accepts(self, latents: ArrayLike, seed: Seed = 0) -> np.ndarray:
        """Which draws of the base to keep, by rejection, so that those kept follow p': bool [num]."""
        accepted = self.acceptance(latents)
        return np.random.RandomState(seed % 2**32).uniform(size=len(accepted)) < accepted


@checked
def remove(
    probability: Probability, draws: ArrayLike, strength: Annotated[float, Option(above=0, below=1)] = 0.99
) -> Removed:
    """Takes latents of one kind out of a base, and estimates the normaliser from draws of it.

    Rows of other kinds gain -ln Z nats, about the share that is removed, and lose at most -ln(1 - strength) where they
    are taken for what is removed: a strength of 1 would make them impossible.

    Args:
      probability: r(u), such as the posterior of a class by its normal; see `jflows.eval.coherence.class_table`.
      draws: draws of the base, [num, *latent_shape].
      strength: share of the density that is taken away where r = 1.
    Raises:
      InvalidTypeError: if `probability` is no function.
      InvalidValueError: if `probability` gives no numbers in [0, 1], draws are not finite, or strength is out of range.
      DataError: if there are fewer than 100 draws.
    """
    if not callable(probability):
        rule = "must be a function of latents"
        raise InvalidTypeError("remove", "probability", rule, kind_of(probability), "Write lambda u: ...")
    u = _checked("remove", "draws", draws)
    if len(u) < LEAST_DRAWS:
        raise DataError("remove", "draws", f"must be at least {LEAST_DRAWS}", f"{len(u)}")
    accepted = Removed(probability, strength, 0.0, 0.0).acceptance(u)
    mean = float(accepted.mean())
    error = float(accepted.std(ddof=1)) / math.sqrt(len(u)) / mean
    return Removed(probability, strength, math.log(mean), error)


def _checked(where: str, argument: str, latents: ArrayLike) -> np.ndarray:
    """The latents as they are; raises unless they are finite numbers [num, *latent_shape]."""
    rule = "must be numbers [num, *latent_shape]"
    u = real_array(where, argument, latents, rule)
    if u.ndim < 2 or not u.size:
        raise InvalidValueError(where, argument, rule, f"shape {u.shape}")
    bad = bad_rows(u.reshape(len(u), -1))
    if bad:
        raise InvalidValueError(where, argument, "must be finite", bad, "Leave these rows out.")
    return u

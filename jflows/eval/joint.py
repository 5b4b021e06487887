"""`joint_normal`: flows of two domains, such as images and a few numbers, joined by a normal over their latents.

    joint = joint_normal(latents_of_images, latents_of_numbers)
    joint.second_given_first(z).draw(100)         # latents of numbers, for each image
    joint.first_given_second(v).draw(9)           # latents of images, for each row of numbers

Each flow turns its own domain into latents that are close to normal, so a normal over both at once is a joint model: it
conditions either way in closed form, and neither flow is trained again. Everything is NumPy in float64.
"""

import math
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError, InvalidValueError
from jflows.eval.arrays import bad_rows, real_numbers, spread_of
from jflows.options import Count, Option, Seed, Temperature, checked

LEAST_ROWS = 20
MOST_DIMENSIONS = 4096  # of both latents together
SHRINKAGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
Shrinkage = Annotated[float, Option(above=0, high=1)]


class ConditionalNormal(NamedTuple):
    """Normals of one covariance, one for each row that was conditioned on.

    Attributes:
      mean: float64 [num, dim].
      factor: the lower triangular L of the covariance L L^T, [dim, dim].
    """

    mean: np.ndarray
    factor: np.ndarray

    @checked
    def draw(self, num: Count = 1, temperature: Temperature = 1.0, seed: Seed = 0) -> np.ndarray:
        """Draws `num` latents for each row, with deviations times a temperature: float64 [num, rows, dim]."""
        noise = np.random.RandomState(seed % 2**32).standard_normal((num, *self.mean.shape))
        return self.mean + temperature * noise @ self.factor.T

    def log_prob(self, latents: ArrayLike) -> np.ndarray:
        """ln p of one latent for each row, in nats: [num, dim] -> float64 [num].

        Raises:
          InvalidValueError: if the shape is not that of `mean`.
        """
        from scipy.linalg import solve_triangular

        z = _flat("ConditionalNormal.log_prob", "latents", latents)
        if z.shape != self.mean.shape:
            rule = f"must be of the shape {self.mean.shape}, one for each row"
            raise InvalidValueError("ConditionalNormal.log_prob", "latents", rule, f"{z.shape}")
        whitened = solve_triangular(self.factor, (z - self.mean).T, lower=True)
        constant = np.log(np.diag(self.factor)).sum() + 0.5 * z.shape[1] * math.log(2 * math.pi)
        return -0.5 * (whitened**2).sum(axis=0) - constant


class JointNormal(NamedTuple):
    """A normal over the latents of two domains; made by `joint_normal`.

    Attributes:
      mean: float64 [first + second].
      covariance: float64 [first + second, first + second].
      num_first: the number of dimensions of the first domain.
      shrinkage: how far correlations were moved towards 0, 0 to 1.
    """

    mean: np.ndarray
    covariance: np.ndarray
    num_first: int
    shrinkage: float

    def second_given_first(self, first: ArrayLike) -> ConditionalNormal:
        """The latents of the second domain, given those of the first, [num, first].

            mean = m_2 + S_21 S_11^-1 (z_1 - m_1),   covariance = S_22 - S_21 S_11^-1 S_12

        Raises:
          InvalidValueError: if the shape does not fit, or numbers are not finite.
        """
        return self._given(slice(None, self.num_first), slice(self.num_first, None), "first", first)

    def first_given_second(self, second: ArrayLike) -> ConditionalNormal:
        """The latents of the first domain, given those of the second, [num, second]; see `second_given_first`."""
        return self._given(slice(self.num_first, None), slice(None, self.num_first), "second", second)

    def _given(self, known: slice, wanted: slice, argument: str, latents: ArrayLike) -> ConditionalNormal:
        z = _flat("JointNormal", argument, latents)
        if z.shape[1:] != self.mean[known].shape:
            rule = f"must have {len(self.mean[known])} dimensions, as those fitted to"
            raise InvalidValueError("JointNormal", argument, rule, f"shape {z.shape}")
        own, across = self.covariance[known, known], self.covariance[wanted, known]
        weights = np.linalg.solve(own, across.T).T
        covariance = self.covariance[wanted, wanted] - weights @ across.T
        factor = np.linalg.cholesky(0.5 * (covariance + covariance.T))
        return ConditionalNormal(self.mean[wanted] + (z - self.mean[known]) @ weights.T, factor)


@checked
def joint_normal(first: ArrayLike, second: ArrayLike, shrinkage: Shrinkage | None = None) -> JointNormal:
    """Fits a normal to the latents of pairs, with correlations shrunk towards 0.

        correlation = (1 - shrinkage) correlation of the pairs + shrinkage I

    In many dimensions the correlations of few pairs are mostly chance, and conditioning on them adds up their errors.
    Shrinkage by the error of the covariance as a whole, as Ledoit and Wolf choose it, is too strong here: latents of a
    good flow are nearly independent of each other, and what the two domains share is lost first.

    Args:
      first, second: the latents of the two members of each pair, [num, dim] each, or [num, *latent_shape].
      shrinkage: above 0, so that the covariance has an inverse, and at most 1; None takes the value, of a few, by which
        the two domains say most about each other in the last fifth of the pairs, after a fit to the others: by
        ln p(second | first) - ln p(second). Pairs should be in no order.
    Raises:
      InvalidValueError: if shrinkage is out of range, numbers of rows differ, numbers are not finite, or there
        are more than 4,096 dimensions.
      DataError: if there are fewer than 20 pairs, or a dimension is constant.
    Example:
      >>> shared = np.random.RandomState(0).standard_normal((5000, 1))
      >>> joint = joint_normal(shared, 2 * shared)
      >>> joint.second_given_first([[1.0]]).mean.round(1)
      array([[2.]])
    """
    one, two = _flat("joint_normal", "first", first), _flat("joint_normal", "second", second)
    if len(one) != len(two):
        raise InvalidValueError("joint_normal", "second", f"must be of the {len(one)} rows of `first`", f"{len(two)}")
    both = np.concatenate([one, two], axis=1)
    if both.shape[1] > MOST_DIMENSIONS:
        rule = f"must have at most {MOST_DIMENSIONS:,} dimensions with those of `second`"
        raise InvalidValueError("joint_normal", "first", rule, f"{both.shape[1]:,}", "Join parts of the latents.")
    if len(both) < LEAST_ROWS:
        raise DataError("joint_normal", "first", f"must have at least {LEAST_ROWS} rows", f"{len(both)}")
    spread = spread_of(both)
    if not (spread > 0).all():
        got = f"{int((spread == 0).sum())} dimensions that are constant, the first {int(np.argmin(spread))}"
        raise DataError("joint_normal", "first", "must vary in each dimension, as `second` must", got)
    scaled = (both - both.mean(axis=0)) / spread
    chosen = _best_shrinkage(scaled, one.shape[1]) if shrinkage is None else shrinkage
    correlation = _shrunk(scaled, chosen)
    return JointNormal(both.mean(axis=0), correlation * np.outer(spread, spread), one.shape[1], chosen)


def _shrunk(scaled: np.ndarray, shrinkage: float) -> np.ndarray:
    return (1 - shrinkage) * scaled.T @ scaled / len(scaled) + shrinkage * np.eye(scaled.shape[1])


def _best_shrinkage(scaled: np.ndarray, num_first: int) -> float:
    cut = len(scaled) - len(scaled) // 5
    held_out = scaled[cut:]

    def information(shrinkage: float) -> float:
        """The mean of ln p(second | first) - ln p(second), which is the same the other way round."""
        fitted = JointNormal(np.zeros(scaled.shape[1]), _shrunk(scaled[:cut], shrinkage), num_first, shrinkage)
        one, two = held_out[:, :num_first], held_out[:, num_first:]
        factor = np.linalg.cholesky(fitted.covariance[num_first:, num_first:])
        alone = ConditionalNormal(np.zeros_like(two), factor)
        return float((fitted.second_given_first(one).log_prob(two) - alone.log_prob(two)).mean())

    return max(SHRINKAGES, key=information)


def _flat(where: str, argument: str, latents: ArrayLike) -> np.ndarray:
    rule = "must be numbers of the shape [num, dim]"
    z = real_numbers(where, argument, latents, rule)
    if z.ndim < 2 or not math.prod(z.shape[1:]):
        raise InvalidValueError(where, argument, rule, f"{z.shape}")
    z = z.reshape(len(z), math.prod(z.shape[1:]))
    bad = bad_rows(z)
    if bad:
        raise InvalidValueError(where, argument, "must be finite", bad)
    return z

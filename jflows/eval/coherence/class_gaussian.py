"""`GaussianGamma`: normals of latents, dimension by dimension, with the conjugate posterior of mean and precision.

Everything is NumPy in float64, as ln p of a latent sums tens of thousands of terms of images. Read next: `report.py`.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.arrays import real_array
from jflows.options import Counts, Option, Positive, checked
from jflows.typing import Shape

LOG_2PI = float(np.log(2 * np.pi))
ENTRIES_PER_CALL = 2**23  # of rows by entries, so that float64 copies stay at 64 MB


class MapNormal(NamedTuple):
    """Independent normals at the joint mode of the posterior: `mean` and `precision`, each as in `GaussianGamma`."""

    mean: np.ndarray
    precision: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviations, 1 / sqrt(precision)."""
        return self.precision**-0.5

    def log_prob(self, latents: ArrayLike) -> np.ndarray:
        """The sum over entries of log N(z; mean, 1 / precision), in nats.

        Shapes:
          latents: [num, *latent_shape] -> float64 [num], or [num, num_classes] for normals of classes.
        Raises:
          InvalidValueError: if the shape does not fit.
        """
        constant = 0.5 * (np.log(self.precision) - LOG_2PI)
        return _summed(
            "MapNormal.log_prob",
            latents,
            self.mean,
            lambda z, own: constant[own] - 0.5 * self.precision[own] * (z - self.mean[own]) ** 2,
        )


class StudentT(NamedTuple):
    """Independent Student t: `degrees` of freedom, `location` and `scale`, each as in `GaussianGamma`."""

    degrees: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    def log_prob(self, latents: ArrayLike) -> np.ndarray:
        """The sum over entries of log t(z), in nats; shapes and errors are those of `MapNormal.log_prob`."""
        from scipy.special import gammaln

        half = 0.5 * (self.degrees + 1)
        constant = gammaln(half) - gammaln(0.5 * self.degrees) - np.log(self.scale)
        constant -= 0.5 * np.log(np.pi * self.degrees)

        def terms(z: np.ndarray, own: Any) -> np.ndarray:
            squared = ((z - self.location[own]) / self.scale[own]) ** 2
            return constant[own] - half[own] * np.log1p(squared / self.degrees[own])

        return _summed("StudentT.log_prob", latents, self.location, terms)


class GaussianGamma(NamedTuple):
    """The posterior of mean mu and precision tau of a normal, in every dimension by itself; made by `gaussian_gamma`.

        p(mu, tau) = N(mu; mean, 1 / (strength tau)) Gamma(tau; shape, rate)

    Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", section 3.

    Attributes:
      mean: where mu is expected.
      strength: how many latents the knowledge of mu is worth, lambda.
      shape, rate: a and b of the gamma distribution of tau; `rate` is in units of squared latents.
    Shapes:
      all four float64, [*latent_shape], or [num_classes, *latent_shape] with one posterior for each class.
    """

    mean: np.ndarray
    strength: np.ndarray
    shape: np.ndarray
    rate: np.ndarray

    def update(self, batch: ArrayLike, label: ArrayLike | None = None) -> "GaussianGamma":
        """The posterior after a further batch of n latents with the mean m and the variance s2 (over n).

            mean'     = (strength mean + n m) / (strength + n)
            strength' = strength + n
            shape'    = shape + n / 2
            rate'     = rate + (n s2 + strength n (m - mean)^2 / (strength + n)) / 2

        Batches one after the other give the posterior of all their rows at once, to 1e-10 in float64.

        Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", eqs. 85 to 89.

        Args:
          batch: latents [num, *latent_shape]; none leave the posterior as it is.
          label: of posteriors of classes, the class of each row, int [num]; rows with a negative one are passed over.
        Raises:
          InvalidValueError: if latents are not finite, the shapes do not fit, labels are missing or not known, or
            labels are given to the posterior of one class.
        """
        where = "GaussianGamma.update"
        rows = real_array(where, "batch", batch)
        if label is None:
            _check_latents(where, "batch", rows, self.mean.shape)
            return self._updated(rows)
        number = np.asarray(label)
        if self.mean.ndim < 2:
            rule = "must be None for the posterior of one class"
            raise InvalidValueError(
                where, "label", rule, f"shape {number.shape}", "Pass num_classes to gaussian_gamma."
            )
        _check_latents(where, "batch", rows, self.mean.shape[1:])
        if number.shape != (len(rows),) or number.dtype.kind not in "ui" or (number >= len(self.mean)).any():
            got = f"{number.dtype} of shape {number.shape}" + (f", up to {number.max()}" if number.size else "")
            rule = f"must be integers of shape ({len(rows)},) below {len(self.mean)}"
            raise InvalidValueError(where, "label", rule, got)
        of_classes = [
            GaussianGamma(*(part[own] for part in self))._updated(rows[number == own]) for own in range(len(self.mean))
        ]
        return GaussianGamma(*(np.stack(part) for part in zip(*of_classes, strict=True)))

    def _updated(self, rows: np.ndarray) -> "GaussianGamma":
        num = len(rows)
        if not num:
            return self
        mean = rows.mean(axis=0, dtype=np.float64)
        scatter = np.zeros_like(mean)  # n s2, around the mean of the batch so that large means cost no digits
        for part in _parts(rows):
            scatter += np.square(part - mean).sum(axis=0)
        strength = self.strength + num
        apart = self.strength * num * (mean - self.mean) ** 2 / strength
        return GaussianGamma(
            (self.strength * self.mean + num * mean) / strength,
            strength,
            self.shape + 0.5 * num,
            self.rate + 0.5 * (scatter + apart),
        )

    @property
    def map_normal(self) -> MapNormal:
        """The normals at the mode of p(mu, tau): mean, and precision (shape - 1/2) / rate.

        Raises:
          InvalidValueError: if a shape is at most 1/2, where the density of tau has no mode: a class without rows.
        """
        if (self.shape <= 0.5).any():
            rule = "must have a shape above 1/2 in each class, for a mode"
            got = f"{float(self.shape.min()):g}"
            raise InvalidValueError(
                "GaussianGamma.map_normal", "shape", rule, got, "Update it with a row of each class."
            )
        return MapNormal(self.mean, (self.shape - 0.5) / self.rate)

    @property
    def predictive(self) -> StudentT:
        """The distribution of a further latent, with mu and tau integrated out.

            t of 2 shape degrees of freedom at mean, scale^2 = rate (strength + 1) / (shape strength)

        Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", eq. 100.
        """
        scale = np.sqrt(self.rate * (self.strength + 1) / (self.shape * self.strength))
        return StudentT(2 * self.shape, self.mean, scale)


@checked
def gaussian_gamma(
    latent_shape: Counts,
    num_classes: Annotated[int | None, Option(low=1)] = None,
    *,
    mean: Annotated[float, Option()] = 0.0,
    strength: Positive = 1.0,
    shape: Positive = 0.001,
    rate: Positive = 0.001,
) -> GaussianGamma:
    """The prior, the same in every dimension: by default it says nothing of the precision, and is one latent at 0.

    Args:
      latent_shape: the shape of one latent.
      num_classes: number of classes, each with a posterior of its own; None for a single one.
      mean, strength, shape, rate: the fields of `GaussianGamma`: mu0 = 0, lambda0 = 1, a0 = b0 = 0.001.
    Raises:
      InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range.
    Example:
      >>> posterior = gaussian_gamma((1,)).update(np.array([[1.0], [3.0]]))
      >>> posterior.mean, posterior.strength, posterior.shape  # (0 + 1 + 3) / 3, 1 + 2, 0.001 + 2 / 2
      (array([1.33333333]), array([3.]), array([1.001]))
    """
    whole = tuple(latent_shape) if num_classes is None else (num_classes, *latent_shape)
    return GaussianGamma(*(np.full(whole, float(value)) for value in (mean, strength, shape, rate)))


def _check_latents(where: str, argument: str, rows: np.ndarray, latent_shape: Shape) -> None:
    if not rows.ndim or rows.shape[1:] != latent_shape or rows.dtype.kind not in "fiu":
        rule = f"must be numbers of shape [num, {', '.join(map(str, latent_shape))}]"
        raise InvalidValueError(where, argument, rule, f"{rows.dtype} of shape {rows.shape}")
    for start, part in zip(_starts(rows), _parts(rows), strict=True):
        bad = np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(axis=1))
        if bad.size:
            got = f"NaN or infinite entries in row {start + bad[0]}"
            raise InvalidValueError(where, argument, "must be finite", got, "Leave such rows out.")


def _starts(rows: np.ndarray) -> range:
    return range(0, len(rows), max(1, ENTRIES_PER_CALL // max(1, rows[:1].size)))


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    starts = _starts(rows)
    return (rows[start : start + starts.step].astype(np.float64) for start in starts)


def _summed(where: str, latents: ArrayLike, like: np.ndarray, terms: Callable[[np.ndarray, Any], np.ndarray]):
    """Sums `terms(latents, class)` over entries, for each class if `like` has one axis more than a latent."""
    rows = real_array(where, "latents", latents)
    of_classes = like.ndim > 1 and rows.ndim == like.ndim
    _check_latents(where, "latents", rows, like.shape[1:] if of_classes else like.shape)
    found = np.empty((len(rows), len(like)) if of_classes else (len(rows),))
    for start, part in zip(_starts(rows), _parts(rows), strict=True):
        sums = lambda own, part=part: terms(part, own).reshape(len(part), -1).sum(axis=1)
        own = np.stack([sums(number) for number in range(len(like))], axis=-1) if of_classes else sums(...)
        found[start : start + len(part)] = own
    return found

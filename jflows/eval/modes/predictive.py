"""What Student's t says of modes: nothing. The conjugate predictive beside the MAP normal, and a fitted t.

Both are here since latents were once to be judged by them; `report.py` holds the tests that do see modes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import real_numbers
from jflows.eval.coherence.class_gaussian import LOG_2PI, GaussianGamma, StudentT
from jflows.eval.modes.gain import LEAST_VALUES
from jflows.options import AtLeastTwo, Seed, checked

LEAST_DEGREES, MOST_DEGREES = 0.5, 1000.0  # of a fitted t, which is a normal at the upper end
ENTRIES_PER_CALL = 2**21
SERIES_FROM = 16.0


class PredictiveDivergence(NamedTuple):
    """KL(t || MAP normal) in nats, see `predictive_divergence`.

    Attributes:
      dims, dims_standard_error: the divergence of each dimension and its standard error, [*latent_shape].
      total, standard_error: the divergence of all dimensions together, which are independent, and its standard error.
    """

    dims: np.ndarray
    dims_standard_error: np.ndarray
    total: float
    standard_error: float


@checked
def predictive_divergence(
    posterior: GaussianGamma, *, num_draws: AtLeastTwo = 10_000, seed: Seed = 0
) -> PredictiveDivergence:
    """How far the posterior predictive is from the normal at the mode of the posterior: KL(t || normal).

        KL = E[r - 1 - log r],   r = normal(z) / t(z),   z ~ t

    E[r] = 1, so that this is E[log t - log normal], by terms that are none of them negative: its standard error falls
    with the divergence itself, as 1 / n^2. The t has 2 shape degrees of freedom, the number of latents plus 0.002 by
    the default prior, and scale^2 precision = (shape - 1/2) (strength + 1) / (shape strength). So the divergence is a
    function of the number of latents alone, the same for one mode and for two, and vanishes as they become many: it
    measures how little is known, not the shape of what is known.

    Source: Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", eqs. 85 to 100 (the posterior).

    Args:
      posterior: the posterior of one class, see `jflows.eval.coherence.gaussian_gamma`.
      num_draws: number of draws of each dimension; the terms have long tails, so that few draws give too small errors.
      seed: seed of the draws.
    Raises:
      InvalidTypeError: if the posterior is not a `GaussianGamma`.
      InvalidValueError: if it has seen no latents, so that there is no mode.
    """
    if not isinstance(posterior, GaussianGamma):
        rule, fix = "must be a GaussianGamma", "Call gaussian_gamma(latent_shape).update(latents)."
        raise InvalidTypeError("predictive_divergence", "posterior", rule, kind_of(posterior), fix)
    normal, t = posterior.map_normal, posterior.predictive
    half = 0.5 * t.degrees
    constant = _log_gamma_half_step(half) - 0.5 * np.log(np.pi * t.degrees) - np.log(t.scale)
    normal_constant = 0.5 * (np.log(normal.precision) - LOG_2PI)
    random, size = np.random.RandomState(seed % 2**32), max(1, ENTRIES_PER_CALL // max(1, t.degrees.size))
    first, second = np.zeros_like(half), np.zeros_like(half)
    for start in range(0, num_draws, size):
        v = random.standard_t(t.degrees, (min(size, num_draws - start), *t.degrees.shape))
        of_t = constant - (half + 0.5) * np.log1p(v**2 / t.degrees)
        log_ratio = normal_constant - 0.5 * normal.precision * (t.scale * v) ** 2 - of_t
        terms = np.expm1(log_ratio) - log_ratio
        first, second = first + terms.sum(axis=0), second + (terms**2).sum(axis=0)
    mean = first / num_draws
    variance = np.maximum(second / num_draws - mean**2, 0) / (num_draws - 1)
    return PredictiveDivergence(mean, np.sqrt(variance), float(mean.sum()), float(np.sqrt(variance.sum())))


def fit_student_t(values: ArrayLike) -> StudentT:
    """Student's t of largest likelihood for numbers [num]: degrees of freedom in [0.5, 1000], location and scale.

    It has one mode at any degrees of freedom: of two modes, it fits the wide normal that covers both, at 1000.

    Raises:
      InvalidValueError: if there are fewer than 20 numbers, they are not finite, or all are equal.
    """
    from scipy.optimize import minimize
    from scipy.stats import t

    array = _checked_numbers("fit_student_t", values)
    centre, spread = np.median(array), array.std()
    scaled = (array - centre) / spread

    def nll(at: np.ndarray) -> float:
        return -float(np.mean(t.logpdf(scaled, 1 / at[0], at[1], np.exp(at[2]))))

    bounds = [(1 / MOST_DEGREES, 1 / LEAST_DEGREES), (None, None), (-10.0, 10.0)]
    ends = [minimize(nll, (start, 0.0, 0.0), method="L-BFGS-B", bounds=bounds) for start in (0.3, 0.02)]
    inverse, location, log_scale = min(ends, key=lambda end: float(end.fun)).x
    return StudentT(np.asarray(1 / inverse), centre + spread * location, np.asarray(spread * np.exp(log_scale)))


def student_gain(values: ArrayLike) -> float:
    """How much better a t describes numbers [num] than a normal, in nats for each: each half by fits to the other."""
    from scipy.stats import norm, t

    array = _checked_numbers("student_gain", values)
    half, found = len(array) // 2, []
    for fit, new in ((array[:half], array[half:]), (array[half:], array[:half])):
        own = fit_student_t(fit)
        of_t = t.logpdf(new, own.degrees, own.location, own.scale)
        found.append(float(np.mean(of_t - norm.logpdf(new, fit.mean(), fit.std()))))
    return float(np.mean(found))


def _log_gamma_half_step(x: np.ndarray) -> np.ndarray:
    """log Gamma(x + 1/2) - log Gamma(x), as `jflows.ops.special.log_gamma_half_step`, in float64 on the host."""
    from scipy.special import gammaln

    r = 1 / x
    series = 0.5 * np.log(x) - r / 8 + r**3 / 192 - r**5 / 640 + 17 * r**7 / 14336
    return np.where(x >= SERIES_FROM, series, gammaln(x + 0.5) - gammaln(x))


def _checked_numbers(where: str, values: ArrayLike) -> np.ndarray:
    rule = f"must be at least {LEAST_VALUES} finite numbers [num], not all equal"
    array = real_numbers(where, "values", values, rule)
    if array.ndim != 1 or len(array) < LEAST_VALUES or not np.isfinite(array).all() or array.min() == array.max():
        raise InvalidValueError(where, "values", rule, f"shape {array.shape}")
    return array

"""How much better two normals describe numbers than one, on numbers that they were not fitted to."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.arrays import real_numbers
from jflows.ops import varying
from jflows.typing import Array

LEAST_VALUES = 20
STEPS = 30  # of EM
BLOCKS = (
    256  # of neighbouring numbers, which belong to a component with one probability: EM need not see each by itself
)
FLOOR = 0.05  # of the deviation of all numbers: a component on a single number would have an unbounded likelihood
LEAST_DEVIATION = 1e-15  # of one normal and of each of two: its square is a float32, so that equal numbers gain 0
LOG_2PI = math.log(2 * math.pi)
SPLITS = (0.5, 0.15, 0.85)  # quantiles at which components are told apart at the start; the best end is kept


class TwoNormals(NamedTuple):
    """Mixtures of two normals, one for each row: `share`, `mean` and `deviation` of each component, [k, 2] each."""

    share: Array
    mean: Array
    deviation: Array

    def log_prob(self, values: Array) -> Array:
        """Log densities in nats: [k, num] -> [k, num]."""
        scaled = (values[:, None] - self.mean[..., None]) / self.deviation[..., None]
        each = jnp.log(self.share / self.deviation)[..., None] - 0.5 * (LOG_2PI + scaled**2)
        return jax.nn.logsumexp(each, axis=1)


def fit_two_normals(values: np.ndarray) -> TwoNormals:
    """The mixture of two normals of largest likelihood, for each row of numbers [k, num], by 30 steps of EM.

    Source: Dempster, Laird and Rubin 1977, Journal of the Royal Statistical Society B 39, section 4.3. Differs: of more
    than 256 numbers, neighbours share their responsibilities, and enter by their count, mean and variance.
    """
    in_order, num = np.sort(values, axis=1), values.shape[1]
    starts = np.unique(np.linspace(0, num, BLOCKS, endpoint=False).astype(int))
    counts = np.diff([*starts, num])
    means, squares = (np.add.reduceat(part, starts, axis=1) / counts for part in (in_order, in_order**2))
    return _fitted(means, np.maximum(squares - means**2, 0), counts / num)


@jax.jit
def _fitted(values: Array, variances: Array, weights: Array) -> TwoNormals:
    """EM on blocks: means and variances [k, blocks], and the share of the numbers that are in each [blocks]."""
    centre = values @ weights
    spread = ((values - centre[:, None]) ** 2 + variances) @ weights
    floor = jnp.maximum(FLOOR**2 * spread[:, None], LEAST_DEVIATION**2)

    def mixture(first: Array) -> TwoNormals:
        """The mixture whose components have these parts [k, blocks] of the numbers, and their complement."""
        parts = weights * jnp.stack([first, 1 - first], axis=1)
        counts = jnp.maximum(parts.sum(axis=-1), 1e-6)
        mean = jnp.sum(parts * values[:, None], axis=-1) / counts
        squares = (values[:, None] - mean[..., None]) ** 2 + variances[:, None]
        variance = jnp.maximum(jnp.sum(parts * squares, axis=-1) / counts, floor)
        return TwoNormals(counts / counts.sum(axis=1, keepdims=True), mean, jnp.sqrt(variance))

    def step(_: Array, first: Array) -> Array:
        now = mixture(first)
        scaled = (values[:, None] - now.mean[..., None]) / now.deviation[..., None]
        each = jnp.log(now.share / now.deviation)[..., None] - 0.5 * scaled**2
        return jax.nn.sigmoid(each[:, 0] - each[:, 1])

    below = jnp.cumsum(weights) - 0.5 * weights
    starts = jnp.stack([jnp.broadcast_to(below <= split, values.shape) for split in SPLITS]).astype(values.dtype)
    ends = jax.vmap(lambda first: mixture(varying.fori_loop(0, STEPS, step, first)))(starts)
    best = jnp.argmax(jax.vmap(lambda end: end.log_prob(values) @ weights)(ends), axis=0)
    return jax.tree.map(lambda part: jnp.take_along_axis(part, best[None, :, None], axis=0)[0], ends)


def gains(values: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The mean of log p_2 - log p_1 over new numbers, of two normals and of one that were fitted to others.

    Args:
      values: numbers to fit to, [k, num].
      new: numbers to try, [k, num_new].
    Returns:
      [k], nats for each number; of numbers from a normal, it is mostly below 0, and of numbers that are all equal 0.
    """
    deviation = np.maximum(values.std(axis=1), LEAST_DEVIATION)
    return np.asarray(_gains(fit_two_normals(values), values.mean(axis=1), deviation, new))


@jax.jit
def _gains(two: TwoNormals, mean: Array, deviation: Array, new: Array) -> Array:
    one = -0.5 * (LOG_2PI + ((new - mean[:, None]) / deviation[:, None]) ** 2) - jnp.log(deviation[:, None])
    return jnp.mean(two.log_prob(new) - one, axis=1)


def crossed_gains(values: np.ndarray) -> np.ndarray:
    """`gains` of each half of the numbers, in their order, by fits to the other half: [k, num] -> [k]."""
    half = values.shape[1] // 2
    first, second = values[:, :half], values[:, half:]
    return 0.5 * (gains(first, second) + gains(second, first))


def mixture_gain(values: ArrayLike) -> float:
    """How much better two normals describe numbers [num] than one, in nats for each: each half by fits to the other.

    Numbers are taken in their order, which must say nothing of them. Shift and scale do not change the gain.

    Raises:
      InvalidValueError: if there are fewer than 20 numbers, or they are not finite.
    """
    rule = f"must be at least {LEAST_VALUES} finite numbers [num]"
    array = real_numbers("mixture_gain", "values", values, rule)
    if array.ndim != 1 or len(array) < LEAST_VALUES or not np.isfinite(array).all():
        raise InvalidValueError("mixture_gain", "values", rule, f"shape {array.shape}")
    centred = array - array.mean()  # float32 would round numbers that are far from 0
    return float(crossed_gains((centred / (np.abs(centred).max() or 1.0))[None])[0])

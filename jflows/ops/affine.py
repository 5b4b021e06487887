"""Scales and shifts: how a raw network output becomes a scale, and the statistics that whiten a batch.

Direction: scales multiply on the way from data x to latent z, so the inverse map divides by them. That is why every
scale here is stated with its interval, and why the default is bounded away from zero.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jflows.errors import InvalidValueError
from jflows.ops.numerics import promoting
from jflows.typing import Array

SCALE_KINDS = ("tanh", "sigmoid", "exp")
SIGMOID_OFFSET = 2.0  # Glow's published code: sigmoid(s + 2), which starts at 0.88
CONSTANT_ULPS = 4  # a deviation of so few units of rounding of a channel's largest element is that of a constant
HUGE = 2.0**64  # numbers beyond this are scaled before they are summed
ILL_CONDITIONED = 2.0**-10  # deviation below which, relative to the largest element, the rounding of the mean counts


def bounded_log_scale(raw: Array, kind: str, max_log_scale: float) -> Array:
    """log of the scale that multiplies x, from an unbounded network output.

    | kind | scale | interval |
    |---|---|---|
    | "tanh" | exp(m tanh(raw / m)), m = max_log_scale | [exp(-m), exp(m)] |
    | "sigmoid" | sigmoid(raw + 2) (Kingma and Dhariwal 2018, published code) | (0, 1) |
    | "exp" | exp(raw) (Dinh et al. 2017) | (0, inf) |

    Shapes:
      raw: any -> the same.
    """
    if kind == "tanh":
        return _within(raw, max_log_scale)
    if kind == "sigmoid":
        return jax.nn.log_sigmoid(raw + SIGMOID_OFFSET)
    return raw


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _within(raw: Array, bound: float) -> Array:
    """bound * tanh(raw / bound). Its own rule keeps one array for the backward pass, where that of tanh keeps two."""
    return bound * jnp.tanh(raw / bound)


@_within.defjvp
@promoting
def _within_jvp(bound, primals, tangents):
    y = _within(primals[0], bound)
    tanh = y / bound
    return y, (1 - tanh) * (1 + tanh) * tangents[0]


@jax.custom_jvp
def shifted_and_scaled(x: Array, shift: Array, log_scale: Array) -> Array:
    """(x + shift) exp(log_scale), whose backward pass keeps the result, and not what comes before it.

    In a stack of couplings, the next layer keeps the result anyway. All three have one shape.
    """
    return (x + shift) * jnp.exp(log_scale)


@shifted_and_scaled.defjvp
@promoting
def _shifted_and_scaled_jvp(primals, tangents):
    z = shifted_and_scaled(*primals)
    x_dot, shift_dot, log_scale_dot = tangents
    return z, jnp.exp(primals[2]) * (x_dot + shift_dot) + z * log_scale_dot


@jax.custom_jvp
def scaled(values: Array, log_scale: Array) -> Array:
    """values * exp(log_scale), in two steps: the scale itself may be too large or too small for its type.

    Columns of deviation 1e38 have the scale 1e-38, which XLA takes for 0 in float32. Shapes broadcast. The gradient of
    the scale is one sum over the batch, and not one for each step.
    """
    half = jnp.exp(0.5 * log_scale)
    return values * half * half


@scaled.defjvp
@promoting
def _scaled_jvp(primals, tangents):
    y = scaled(*primals)
    return y, scaled(tangents[0], primals[1]) + y * tangents[1]


def whitening(x: Array) -> tuple[Array, Array]:
    """Per-channel `(shift, log_scale)` for which (x + shift) * exp(log_scale) has mean 0 and deviation 1.

    A constant channel is centred and keeps scale 1: its log_scale is 0, which that of no other channel is. Constant is
    a channel whose deviation is within `CONSTANT_ULPS` units of rounding of its largest element: no absolute number is
    too small, as the unit of a column is arbitrary.

    Shapes:
      x: [..., channels] -> [channels], [channels].
    Numerics: float32 deviations from 1e-35 to 1e38 are found; XLA takes a mean below 1e-38 for 0. x + shift is exact
      where x is within a factor 2 of the mean. NaN stays NaN.
    """
    mean, deviation = _moments(x)
    return -mean.astype(x.dtype), _negative_log(deviation, constant_channels(x), x.dtype)


def constant_channels(x: Array) -> Array:
    """Which channels are constant up to rounding: [..., channels] -> bool [channels]."""
    limits = jnp.finfo(x.dtype)
    largest = jnp.max(jnp.abs(x), axis=tuple(range(x.ndim - 1))).astype(jnp.promote_types(x.dtype, jnp.float32))
    return _moments(x)[1] <= jnp.maximum(CONSTANT_ULPS * float(limits.eps) * largest, float(limits.tiny))


def whitening_by(mean: Array | np.ndarray, deviation: Array | np.ndarray, dtype) -> tuple[Array, Array]:
    """`whitening` from statistics that are known: constants of `dtype`.

    Here a channel is constant if its deviation is within `CONSTANT_ULPS` units of rounding, in `dtype`, of its mean.

    Shapes:
      mean, deviation: [channels] -> [channels], [channels].
    """
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    limits = jnp.finfo(dtype)
    mean, deviation = jnp.asarray(mean), jnp.asarray(deviation)
    constant = deviation <= jnp.maximum(CONSTANT_ULPS * float(limits.eps) * jnp.abs(mean), float(limits.tiny))
    return -mean.astype(dtype), _negative_log(deviation, constant, dtype)


def _negative_log(deviation: Array, constant: Array, dtype) -> Array:
    """-log of the deviation; exactly 0 for constant channels, and for them alone: so they are known afterwards."""
    log_scale = -jnp.log(jnp.where(constant, 1, deviation)).astype(dtype)
    # The smallest normal number changes nothing: its exponential is 1.
    return jnp.where(~constant & (log_scale == 0), jnp.finfo(dtype).tiny, log_scale).astype(dtype)


def check_statistics(where: str, mean: Array | np.ndarray, deviation: Array | np.ndarray) -> None:
    """Refuses statistics that `whitening_by` cannot use; of traced ones only the shapes are known.

    Raises:
      InvalidValueError: if they are not vectors of one size, not finite, or a deviation is negative.
    """
    shapes = np.shape(mean), np.shape(deviation)
    if len(shapes[0]) != 1 or shapes[0] != shapes[1]:
        raise InvalidValueError(where, ("mean", "deviation"), "must both be [channels]", f"{shapes[0]} and {shapes[1]}")
    if isinstance(mean, Tracer) or isinstance(deviation, Tracer):
        return
    if not np.all(np.isfinite(mean)):
        raise InvalidValueError(where, "mean", "must be finite", mean)
    if not np.all(np.isfinite(deviation)) or np.any(np.less(deviation, 0)):
        raise InvalidValueError(where, "deviation", "must be finite and at least 0", deviation)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and deviation per channel: [..., channels] -> [channels], [channels], float32 or wider."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # Powers of two change no digit. They keep sums of huge numbers, and squares of tiny and huge ones, from becoming 0
    # or infinite.
    huge = _power_of_two_below(jnp.max(jnp.abs(x), axis=axes) / HUGE)
    average = lambda values: jnp.mean(values / huge, axis=axes) * huge
    mean = average(x)
    centred = x - mean
    unit = _power_of_two_below(jnp.max(jnp.abs(centred), axis=axes))
    deviation = jnp.std(x / unit, axis=axes) * unit
    # The mean of many numbers is rounded by more than one unit: here that is much of the deviation.
    ill = deviation < ILL_CONDITIONED * jnp.max(jnp.abs(x), axis=axes)
    refined = jnp.std(centred / unit, axis=axes) * unit
    return jnp.where(ill, mean + average(centred), mean), jnp.where(ill, refined, deviation)


def _power_of_two_below(size: Array) -> Array:
    """The largest power of two up to `size`, or 1 where that is 0 or too small to divide by."""
    limits = jnp.finfo(size.dtype)
    exponent = jnp.frexp(size)[1] - 1
    return jnp.where(
        size >= float(limits.tiny), jnp.ldexp(jnp.ones_like(size), jnp.minimum(exponent, limits.maxexp - 1)), 1
    )

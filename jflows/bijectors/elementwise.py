"""Elementwise affine maps with their own parameters or parameters read from the context."""

import math

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import Bijector
from jflows.errors import InvalidValueError, check_positive
from jflows.ops.affine import bounded_log_scale
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.typing import Array


class ChannelAffine(Bijector):
    """A learned shift and scale per channel, moved by the context if there is one: Glow's top prior.

        z = (x + shift(context)) * exp(log_scale(context))
        log_det = positions * sum_c log_scale_c              [nats per event]

    Standardising the top latents by a learned mean and deviation is the same as giving them a learned normal prior,
    but leaves the base at N(0, I). Shift and log-scale are linear in the context and start at zero.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, the learned and class-conditional prior of the published code.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
      max_log_scale: the log-scale stays within +- this, in nats per element.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
    """

    event_ndims: int = 1
    max_log_scale: float = 4.0

    def __post_init__(self):
        check_positive("ChannelAffine", "max_log_scale", self.max_log_scale)
        super().__post_init__()

    @property
    def x_event_ndims(self) -> int:
        return self.event_ndims

    z_event_ndims = x_event_ndims

    @nn.compact
    def _shift_and_log_scale(self, values: Array, context: Array | None) -> tuple[Array, Array]:
        channels = values.shape[-1]
        raw = self.param("prior", nn.initializers.zeros, (2 * channels,), values.dtype)
        if context is not None:
            zeros = nn.initializers.zeros
            dense = nn.Dense(2 * channels, use_bias=False, kernel_init=zeros, param_dtype=values.dtype)
            raw = raw + dense(context.astype(values.dtype))
            raw = raw.reshape(*raw.shape[:-1], *(1,) * (self.event_ndims - 1), 2 * channels)
        shift, raw_log_scale = jnp.split(raw, 2, axis=-1)
        return shift, bounded_log_scale(raw_log_scale, "tanh", self.max_log_scale)

    def _log_det(self, values: Array, log_scale: Array) -> Array:
        return sum_event(jnp.broadcast_to(log_scale, values.shape), self.event_ndims)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(z, context)
        return z * jnp.exp(-log_scale) - shift, -self._log_det(z, log_scale)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(x, context)
        return (x + shift) * jnp.exp(log_scale), self._log_det(x, log_scale)


class CentredPixels(Bijector):
    """Pixels in [0, 2^num_bits) from centred values in [-0.5, 0.5).

        x = 2^num_bits (z + 0.5)
        log_det (inverse) = -D num_bits log 2                [nats per event]

    Args:
      num_bits: 1 to 8 (16 for scientific images).
    Shapes:
      x: [*batch, height, width, channels] <-> z: the same; log_det: [*batch].
    """

    num_bits: int = 8

    x_event_ndims = z_event_ndims = 3  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        _check_num_bits("CentredPixels", self.num_bits)
        super().__post_init__()

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = math.prod(z.shape[-3:]) * self.num_bits * math.log(2)
        return (z + 0.5) * 2**self.num_bits, constant_log_det(z, 3, log_det)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = -math.prod(x.shape[-3:]) * self.num_bits * math.log(2)
        return x / 2**self.num_bits - 0.5, constant_log_det(x, 3, log_det)


class LogitPixels(Bijector):
    """Pixels in (0, 2^num_bits) from all reals, by a logit that stays clear of both ends.

        z = logit(p),  p = alpha + (1 - 2 alpha) x / 2^num_bits
        log_det (inverse) = sum_i -log p_i - log(1 - p_i) + D (log(1 - 2 alpha) - num_bits log 2)   [nats per event]

    The logit spreads the pixel values at both ends of the range, so that a black background of deviation 1/900 and
    strokes of deviation 1/3 get comparable scales. A small alpha spreads more. `1 - p` is computed from x, not from p,
    so that it keeps its digits near white.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4.1; two-sided as in Papamakarios et al. 2017,
    arXiv:1705.07057, section E.2: the one-sided form rounds to logit(1) = inf in float32 for small alpha.

    Args:
      num_bits: 1 to 8 (16 for scientific images).
      alpha: in (0, 0.5); 0.05 in RealNVP, 1e-6 for MNIST in MAF.
    Shapes:
      x: [*batch, height, width, channels] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if alpha or num_bits is out of range.
    Numerics: values outside [0, 2^num_bits] give NaN, which is left visible.
    """

    num_bits: int = 8
    alpha: float = 0.05

    x_event_ndims = z_event_ndims = 3  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        _check_num_bits("LogitPixels", self.num_bits)
        if not 0 < self.alpha < 0.5:
            raise InvalidValueError("LogitPixels", "alpha", "must lie in (0, 0.5)", repr(self.alpha))
        super().__post_init__()

    def _log_probabilities(self, x: Array) -> tuple[Array, Array]:
        unit = x / 2**self.num_bits
        slope = 1 - 2 * self.alpha
        return jnp.log(self.alpha + slope * unit), jnp.log(self.alpha + slope * (1 - unit))

    def _log_det(self, log_p: Array, log_not_p: Array) -> Array:
        constant = math.log(1 - 2 * self.alpha) - self.num_bits * math.log(2)
        return sum_event(constant - log_p - log_not_p, 3)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_p, log_not_p = -jnp.logaddexp(0.0, -z), -jnp.logaddexp(0.0, z)
        # tanh form: exact at both ends, where sigmoid(z) - alpha would cancel.
        unit = 0.5 + 0.5 * jnp.tanh(0.5 * z) / (1 - 2 * self.alpha)
        return unit * 2**self.num_bits, -self._log_det(log_p, log_not_p)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_p, log_not_p = self._log_probabilities(x)
        return log_p - log_not_p, self._log_det(log_p, log_not_p)


def _check_num_bits(where: str, num_bits: int) -> None:
    if not 1 <= num_bits <= 16:
        raise InvalidValueError(where, "num_bits", "must be 1 to 16", repr(num_bits))

"""A scale and a shift per channel, set from the first batch: learned on (`ActNorm`) or fixed (`Standardize`)."""

import abc
import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.bijectors.initialised import check_channels
from jflows.ops import affine
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.options import Ndims
from jflows.typing import Array


class _Whitening(SameShape):
    """Per-channel affine map, initialised from data; a subclass says where the statistics are kept."""

    event_ndims: Ndims = 1

    @abc.abstractmethod
    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        """The variable of this name, created by `init`."""

    @nn.compact
    def _shift_and_log_scale(self, values: Array, forward: bool) -> tuple[Array, Array]:
        if self.is_initializing():
            shift, log_scale = affine.whitening(values)
            if forward:  # x = z exp(-log_scale) - shift: whiten x instead of z
                shift, log_scale = -shift * jnp.exp(log_scale), -log_scale
        else:
            shift = log_scale = jnp.zeros(values.shape[-1:], values.dtype)  # shapes only, for Linen's check
        stored = (self._stored("shift", lambda: shift), self._stored("log_scale", lambda: log_scale))
        return check_channels(self, values.shape[-1], stored[0]), stored[1]

    def _log_det(self, values: Array, log_scale: Array) -> Array:
        positions = math.prod(values.shape[-self.event_ndims : -1])
        return constant_log_det(values, self.event_ndims, positions * sum_event(log_scale, 1))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(z, forward=True)
        return z * jnp.exp(-log_scale) - shift, -self._log_det(z, log_scale)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(x, forward=False)
        return (x + shift) * jnp.exp(log_scale), self._log_det(x, log_scale)


class ActNorm(_Whitening):
    """Per-channel affine map, initialised from data so that its output has mean 0 and deviation 1, then learned.

        z = (x + shift) * exp(log_scale)
        log_det = positions * sum_c log_scale_c              [nats per event; positions = event size / channels]

    `init` whitens the output of the direction it runs: `method="inverse_and_log_det"` whitens z (the usual case),
    `method="forward_and_log_det"` whitens x. The statistics are taken once, in `init`; `apply` only reads them, so a
    restored checkpoint is never initialised again.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.1.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `params`: shift [channels], log_scale [channels].
    Numerics: float32 round trip about 1e-6.
    """

    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        return self.param(name, lambda _: init())


class Standardize(_Whitening):
    """`ActNorm` whose statistics stay those of the data that `init` saw: they are `constants`, never trained.

        z = (x - mean) / std = (x + shift) * exp(log_scale)

    The usual first step on tables. Its log-det counts, so densities are those of the unscaled data.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `constants`: shift [channels], log_scale [channels].
    Numerics: a constant column is scaled by 1e6, not by infinity.
    """

    @nn.compact
    def use(self, mean, deviation, dtype) -> None:
        """Sets the statistics; temporary."""
        self.variable("constants", "shift", lambda: -jnp.asarray(mean, dtype))
        self.variable("constants", "log_scale", lambda: -jnp.log(jnp.asarray(deviation, dtype)))

    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        return self.variable("constants", name, init).value

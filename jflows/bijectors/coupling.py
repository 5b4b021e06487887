"""Couplings: one half of the channels decides how the other half is mapped."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import Bijector
from jflows.bijectors.inner import InnerMap
from jflows.errors import InvalidValueError
from jflows.ops.numerics import sum_event, zero_log_det
from jflows.typing import Array, Shape


class Coupling(Bijector):
    """Maps the second half of the channels elementwise, with parameters computed from the first half.

        z_kept = x_kept
        z_changed = g(x_changed; conditioner(x_kept, context))
        log_det = sum_i log|dg/dx_i|                         [nats per event]

    The conditioner runs once, and only the changed half is computed; both directions cost the same. To let every
    channel change, alternate couplings with `InvertibleLinear`, `Reverse` or `RandomPermutation`.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.2.

    Args:
      conditioner: a network with `__call__(x_kept, num_features, context)`, such as `jflows.nn.ConvNet`.
      inner: the elementwise map g, such as `Affine()` or `Shift()`.
      event_ndims: 1 for vectors, 3 for images; the last axis, of size n, is cut into n - n // 2 and n // 2.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if the last axis has size 1: there is nothing to condition on.
    """

    conditioner: nn.Module
    inner: InnerMap
    event_ndims: int = 1

    @property
    def x_event_ndims(self) -> int:
        return self.event_ndims

    z_event_ndims = x_event_ndims

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape; the last axis must have at least two channels."""
        return _check_channels("Coupling", x_event_shape)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """As `z_event_shape`."""
        return self.z_event_shape(z_event_shape)

    def _split(self, values: Array, context: Array | None) -> tuple[Array, Array, Array]:
        num_changed = values.shape[-1] // 2
        kept, changed = values[..., :-num_changed], values[..., -num_changed:]
        num_params = self.inner.num_params
        raw = self.conditioner(kept, num_params * num_changed, context)
        return kept, changed, raw.reshape(*raw.shape[:-1], num_params, num_changed)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        z_kept, z_changed, params = self._split(z, context)
        x_changed, log_det = self.inner.forward_and_log_det(z_changed, params)
        return jnp.concatenate([z_kept, x_changed], axis=-1), sum_event(log_det, self.event_ndims)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        x_kept, x_changed, params = self._split(x, context)
        z_changed, log_det = self.inner.inverse_and_log_det(x_changed, params)
        return jnp.concatenate([x_kept, z_changed], axis=-1), sum_event(log_det, self.event_ndims)


class AdditiveTwoWay(Bijector):
    """The reversible residual block of RevNets: each half is shifted by a network of the other; log_det = 0.

        z_1 = x_1 + F(x_2, context)
        z_2 = x_2 + G(z_1, context)

    Two additive couplings in one, cut into the same halves for odd sizes too. Inside
    `Repeat(..., backprop="invertible")` it trains without stored activations, as RevNets do.

    Source: Gomez et al. 2017, arXiv:1707.04585, eq. 6.

    Args:
      first: F, a network with `__call__(x_2, num_features, context)`, such as `jflows.nn.MLP`.
      second: G, likewise; another instance.
      event_ndims: 1 for vectors, 3 for images; the last axis, of size n, is cut into n - n // 2 and n // 2.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if both networks are one instance, or if the last axis has size 1.
    """

    first: nn.Module
    second: nn.Module
    event_ndims: int = 1

    def __post_init__(self):
        if self.first is self.second:
            rule, fix = "must be two instances; one would share its parameters", "Create one network per half."
            raise InvalidValueError("AdditiveTwoWay", "first, second", rule, type(self.first).__name__, fix)
        super().__post_init__()

    @property
    def x_event_ndims(self) -> int:
        return self.event_ndims

    z_event_ndims = x_event_ndims

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape; the last axis must have at least two channels."""
        return _check_channels("AdditiveTwoWay", x_event_shape)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """As `z_event_shape`."""
        return self.z_event_shape(z_event_shape)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        z_1, z_2 = jnp.split(z, [z.shape[-1] - z.shape[-1] // 2], axis=-1)
        x_2 = z_2 - self.second(z_1, z_2.shape[-1], context)
        x_1 = z_1 - self.first(x_2, z_1.shape[-1], context)
        return jnp.concatenate([x_1, x_2], axis=-1), zero_log_det(z, self.event_ndims)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        x_1, x_2 = jnp.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)
        z_1 = x_1 + self.first(x_2, x_1.shape[-1], context)
        z_2 = x_2 + self.second(z_1, x_2.shape[-1], context)
        return jnp.concatenate([z_1, z_2], axis=-1), zero_log_det(x, self.event_ndims)


def _check_channels(where: str, event_shape: Shape) -> Shape:
    if event_shape[-1] < 2:
        fix = "Squeeze first, or use an elementwise bijector."
        raise InvalidValueError(where, "x", "must have at least 2 channels", f"shape {event_shape}", fix)
    return tuple(event_shape)

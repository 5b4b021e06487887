"""Couplings: one part of an event stays unchanged, and decides how the other part is mapped."""

from typing import Annotated

import jax.numpy as jnp
import numpy as np

from jflows.bijectors.base import SameShape
from jflows.bijectors.inner import Inner
from jflows.errors import InvalidValueError
from jflows.modules import Network, check_conditioner
from jflows.ops.masks import MASK_KINDS, cut, join, make_mask
from jflows.ops.numerics import sum_event, zero_log_det
from jflows.options import Ndims, Option, Seed
from jflows.typing import Array, Shape

FEW_PARAMS = 2
"""An inner map with more, such as a spline, sees an image as one vector: of few channels, no loop would vectorise."""


class Coupling(SameShape):
    """Maps one part of an event elementwise, with parameters computed from the other part.

        z_kept = x_kept
        z_changed = g(x_changed; conditioner(x_kept, context))
        log_det = sum_i log|dg/dx_i|                         [nats per event]

    The conditioner runs once, and only the changed part is mapped, so both directions cost the same. The conditioner
    sees the kept channels alone or, with a mask of single pixels ("checkerboard"), the whole image with zeros in place
    of the changed pixels. To let every element change, alternate `flip`, or put a permutation between couplings.

    Source: Dinh et al. 2014, arXiv:1410.8516, section 3.2; Dinh et al. 2017, arXiv:1605.08803, sections 3.2 and 3.4.

    Args:
      conditioner: a network with `__call__(x_kept, num_features, context)`, such as `jflows.nn.ConvNet`.
      inner: the elementwise map g, such as `Affine()` or `RationalQuadraticSpline()`.
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
      mask: which elements are kept, see `jflows.ops.make_mask`; "channel" keeps the first n - n // 2 channels.
      flip: whether to swap the kept and the changed part.
      seed: seed of the mask "random".
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if the last axis has size 1 (there is nothing to condition on), or the mask does not fit.
    """

    conditioner: Network
    inner: Inner
    event_ndims: Ndims = 1
    mask: Annotated[str, Option(choices=MASK_KINDS)] = "channel"
    flip: bool = False
    seed: Seed = 0

    def _check(self) -> None:
        check_conditioner("Coupling", "conditioner", self.conditioner, self.event_ndims)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape, if the mask divides it."""
        if self.mask == "channel":
            return _check_channels("Coupling", x_event_shape)
        self._mask(x_event_shape)
        return tuple(x_event_shape)

    def _mask(self, event_shape: Shape) -> np.ndarray:
        """Over whole channels, [channels], or over single elements, [*event]."""
        masked_shape = event_shape[-1:] if self.mask == "channel" else event_shape
        return make_mask(self.mask, masked_shape, self.flip, self.seed)

    def _couple(self, values: Array, context: Array | None, forward: bool) -> tuple[Array, Array]:
        batch_ndims, num_params = values.ndim - self.event_ndims, self.inner.num_params
        mask = self._mask(values.shape[batch_ndims:])
        kept, changed = cut(values, mask)
        shape = changed.shape
        if mask.ndim == 1:
            raw = self.conditioner(kept, num_params * shape[-1], context)
            params = raw.reshape(*raw.shape[:-1], num_params, shape[-1])
            if num_params > FEW_PARAMS and not self.inner.by_column:
                params = jnp.moveaxis(params, -2, batch_ndims)
                params = params.reshape(*params.shape[: batch_ndims + 1], -1)
                changed = changed.reshape(*shape[:batch_ndims], -1)
        else:
            channels = values.shape[-1]
            raw = self.conditioner(jnp.where(mask, values, 0), num_params * channels, context)
            raw = raw.reshape(*raw.shape[:-1], num_params, channels)
            params = cut(jnp.moveaxis(raw, -2, batch_ndims), mask)[1]
        run = self.inner.forward_and_log_det if forward else self.inner.inverse_and_log_det
        changed, log_slope = run(changed, params)
        return join(kept, changed.reshape(shape), mask), sum_event(log_slope, log_slope.ndim - batch_ndims)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self._couple(z, context, forward=True)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self._couple(x, context, forward=False)


class AdditiveTwoWay(SameShape):
    """The reversible residual block of RevNets: each half is shifted by a network of the other; log_det = 0.

        z_1 = x_1 + F(x_2, context)
        z_2 = x_2 + G(z_1, context)

    It holds two additive couplings, which cut an event into the same halves, for odd sizes too. Inside
    `Repeat(..., backprop="invertible")` it trains without stored activations, as RevNets do.

    Source: Gomez et al. 2017, arXiv:1707.04585, eq. 6.

    Args:
      first: F, a network with `__call__(x_2, num_features, context)`, such as `jflows.nn.MLP`.
      second: G, another instance of such a network, with `__call__(z_1, num_features, context)`.
      event_ndims: 1 for vectors, 3 for images; the last axis, of size n, is cut into n - n // 2 and n // 2.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if both networks are one instance, or if the last axis has size 1.
    """

    first: Network
    second: Network
    event_ndims: Ndims = 1

    def _check(self) -> None:
        check_conditioner("AdditiveTwoWay", "first", self.first, self.event_ndims)
        check_conditioner("AdditiveTwoWay", "second", self.second, self.event_ndims)
        if self.first is self.second:
            rule, fix = "must be two instances; one would share its parameters", "Create one network per half."
            raise InvalidValueError("AdditiveTwoWay", ("first", "second"), rule, type(self.first).__name__, fix)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape; the last axis must have at least two channels."""
        return _check_channels("AdditiveTwoWay", x_event_shape)

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
        fix = "Squeeze images first; for vectors of size 1 use Elementwise(inner)."
        raise InvalidValueError(where, "x", "must have at least 2 channels", f"shape {event_shape}", fix)
    return tuple(event_shape)

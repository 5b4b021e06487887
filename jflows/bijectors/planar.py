"""Planar, radial and Sylvester flows: contractions and expansions along a few directions, with a learned context."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape, report_largest
from jflows.bijectors.context import moved_by_context
from jflows.ops import planar as ops
from jflows.ops.numerics import sum_event
from jflows.options import Fraction
from jflows.typing import Array

MIN_ALPHA = 1e-3  # of the radial flow, in units of z


class Planar(SameShape):
    """Shears space along one vector, by an amount that depends on the position along another.

        x = z + u^ tanh(w^T z + b),   w^T u^ >= min_slope - 1
        log_det = log(1 + w^T u^ tanh'(w^T z + b))           [nats per event]

    The explicit direction is z -> x, which serves variational inference; for data use `Inverse(Planar())`. The other
    direction solves one scalar equation per example. With a context, w, u and b are linear in it (amortised). u starts
    at zero, which gives the identity.

    Source: Rezende and Mohamed 2015, arXiv:1505.05770, eqs. 10-12 and appendix A.1. Differs: see
    `jflows.ops.planar.planar_direction`.

    Args:
      min_slope: in (0, 1): lengths along w shrink at most to this share.
    Shapes:
      z: [*batch, dim] <-> x: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
      `params`: w, u [dim], b [].
    Raises:
      InvalidValueError: if min_slope is not in (0, 1).
    Numerics: x -> z amplifies rounding by up to 1 / min_slope; its residual max|f(z) - x| is sown as
      "inverse_residual" in "intermediates".
    """

    min_slope: Fraction = 1e-3

    event_ndims: ClassVar[int] = 1
    allows_invertible_backprop: ClassVar[bool] = False

    @nn.compact
    def _params(self, values: Array, context: Array | None) -> tuple[Array, Array, Array, Array]:
        dim, dtype = values.shape[-1], values.dtype
        own = {
            "w": self.param("w", nn.initializers.normal(dim**-0.5), (dim,), dtype),
            "u": self.param("u", nn.initializers.zeros, (dim,), dtype),
            "b": self.param("b", nn.initializers.zeros, (), dtype),
        }
        params = moved_by_context(own, context)
        direction, slope = ops.planar_direction(params["w"], params["u"], self.min_slope)
        return params["w"], direction, params["b"], slope

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        w, u, b, slope = self._params(z, context)
        position = ops.along(w, z) + b
        return z + u * jnp.tanh(position)[..., None], _wide(ops.tanh_shear_log_slope(position, slope))

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        w, u, b, slope = self._params(x, context)
        # w^T x + b = (w^T z + b) + w^T u^ tanh(w^T z + b): one equation for w^T z + b.
        position = ops.tanh_shear_inverse(ops.along(w, x) + b, slope)
        z = x - u * jnp.tanh(position)[..., None]
        residual = z + u * jnp.tanh(ops.along(w, z) + b)[..., None] - x
        report_largest(self, "inverse_residual", residual)
        return z, -_wide(ops.tanh_shear_log_slope(position, slope))


class Radial(SameShape):
    """Contracts or expands space around a learned point.

        x = z + beta (z - z_0) / (alpha + r),   r = |z - z_0|,   alpha > 0,   beta >= (min_slope - 1) alpha
        log_det = (dim - 1) log(1 + beta / (alpha + r)) + log(1 + beta alpha / (alpha + r)^2)    [nats per event]

    Both directions are explicit: the inverse is a quadratic equation for r. With a context, z_0, alpha and beta depend
    on it through their raw values, linearly. beta starts at zero, which gives the identity.

    Source: Rezende and Mohamed 2015, arXiv:1505.05770, eq. 14 and appendix A.2. Differs: beta is alpha times a raw
    value, so that the strength does not depend on the width, and stays above -alpha by min_slope.

    Args:
      min_slope: in (0, 1): lengths shrink at most to this share.
    Shapes:
      z: [*batch, dim] <-> x: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
      `params`: centre [dim], raw_alpha [], raw_beta [].
    Raises:
      InvalidValueError: if min_slope is not in (0, 1).
    """

    min_slope: Fraction = 1e-3

    event_ndims: ClassVar[int] = 1

    @nn.compact
    def _params(self, values: Array, context: Array | None) -> tuple[Array, Array, Array]:
        dim, dtype = values.shape[-1], values.dtype
        own = {
            "centre": self.param("centre", nn.initializers.normal(1.0), (dim,), dtype),
            "raw_alpha": self.param("raw_alpha", nn.initializers.zeros, (), dtype),
            "raw_beta": self.param("raw_beta", nn.initializers.zeros, (), dtype),
        }
        params = moved_by_context(own, context)
        alpha = ops.positive(params["raw_alpha"], MIN_ALPHA)
        return params["centre"], alpha, ops.positive(params["raw_beta"], self.min_slope)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_det = ops.radial_forward(z, *self._params(z, context))
        return x, _wide(log_det)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_det = ops.radial_inverse(x, *self._params(x, context))
        return z, _wide(log_det)


def _wide(log_det: Array) -> Array:
    return sum_event(log_det, 0)  # float32 or wider

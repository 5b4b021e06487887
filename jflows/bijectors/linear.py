"""Learned linear maps over the channel axis: their base `LinearMap`, and all that are not built from rotations.

Read next: `jflows/bijectors/orthogonal.py`, the maps built from rotations; `jflows/ops/linear.py`, the algebra.
"""

import abc
import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.errors import InvalidValueError
from jflows.ops import linear
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.options import Count, Ndims
from jflows.typing import Array


class LinearMap(SameShape):
    """An invertible matrix over the last axis, the same at every position; on images, a 1x1 convolution.

        z = W x at every position
        log_det = positions * log|det W|                     [nats per event; positions = event size / channels]

    A subclass declares the field `event_ndims` and writes four hooks: its weights, the product, its inverse and the
    determinant. Where the hooks need the matrix or its inverse, they build it once for all positions and examples.
    Products ask for full float32 precision: bf16 or TF32 products, the default on accelerators, would make the round
    trip wrong in the third digit.

    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    """

    @abc.abstractmethod
    def _weights(self, channels: int, dtype: Any) -> Any:
        """Hook that creates or reads the variables, in one `nn.compact` helper."""

    @abc.abstractmethod
    def _multiply(self, weights: Any, x: Array) -> Array:
        """Hook: W x for x of shape [..., channels]."""

    @abc.abstractmethod
    def _divide(self, weights: Any, z: Array) -> Array:
        """Hook: W^-1 z for z of shape [..., channels]."""

    @abc.abstractmethod
    def _log_abs_det(self, weights: Any) -> Array | float:
        """Hook: log|det W| of one position, float32 or wider."""

    def _log_det(self, values: Array, weights: Any) -> Array:
        positions = math.prod(values.shape[-self.event_ndims : -1])
        return constant_log_det(values, self.event_ndims, positions * self._log_abs_det(weights))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        weights = self._weights(z.shape[-1], z.dtype)
        return self._divide(weights, z), -self._log_det(z, weights)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        weights = self._weights(x.shape[-1], x.dtype)
        return self._multiply(weights, x), self._log_det(x, weights)


class VolumePreservingMap(LinearMap):
    """A `LinearMap` with |det W| = 1: rotations, reflections, permutations; log_det = 0."""

    def _log_abs_det(self, weights: Any) -> float:
        return 0.0


class InvertibleLinear(LinearMap):
    """A learned invertible matrix over the last axis, in PLU form; on images this is Glow's 1x1 convolution.

        z = W x at every position,   W = P L (U + diag(s))
        log_det = positions * sum_c log|s_c|                 [nats per event; positions = event size / channels]

    P and the signs of s are drawn once and kept in `constants`; L, U and log|s| are learned and share one
    [channels, channels] leaf. W starts as a random rotation.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.2, eqs. 9-11.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: plu [channels, channels]; `constants`: sign [channels], permutation int32 [channels].
    Numerics: float32 round trip about 1e-5 while the condition number of W stays below 1e2.
    """

    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> tuple[Array, Array, Array]:
        def init():
            rotation = linear.random_rotation(self.make_rng("params"), channels, dtype)
            return linear.plu_pack(rotation)

        if self.is_initializing() and not self.has_variable("params", "plu"):
            packed, sign, permutation = init()
        else:
            packed = sign = permutation = jnp.zeros((channels, channels), dtype)  # shapes only, for Linen's check
        packed = self.param("plu", lambda _: packed)
        sign = self.variable("constants", "sign", lambda: sign).value
        permutation = self.variable("constants", "permutation", lambda: permutation.astype(jnp.int32)).value
        return packed, sign, permutation

    def _multiply(self, weights: Any, x: Array) -> Array:
        return linear.matvec(linear.plu_matrix(*weights), x)

    def _divide(self, weights: Any, z: Array) -> Array:
        return linear.matvec(linear.plu_inverse_matrix(*weights), z)

    def _log_abs_det(self, weights: Any) -> Array:
        return sum_event(jnp.diagonal(weights[0]), 1)


class DiagonalLinear(LinearMap):
    """A learned positive scale per channel, which starts at 1.

        z = exp(log_scale) x
        log_det = positions * sum_c log_scale_c              [nats per event; positions = event size / channels]

    `ActNorm` adds a shift and starts from data; `Elementwise(Affine())` adds a shift, a bound and a context.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is scaled.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `params`: log_scale [channels].
    Numerics: float32 round trip about 1e-6.
    """

    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> Array:
        return self.param("log_scale", nn.initializers.zeros, (channels,), dtype)

    def _multiply(self, weights: Any, x: Array) -> Array:
        return x * jnp.exp(weights)

    def _divide(self, weights: Any, z: Array) -> Array:
        return z * jnp.exp(-weights)

    def _log_abs_det(self, weights: Any) -> Array:
        return sum_event(weights, 1)


class TriangularLinear(LinearMap):
    """A learned triangular matrix with positive diagonal, which starts as the identity.

        z = L x at every position,   L_cc = exp(d_c)
        log_det = positions * sum_c d_c                      [nats per event; positions = event size / channels]

    With `lower=True`, channel c of z depends on channels 0..c of x. Followed by a shift, this is every multivariate
    normal: L is the inverse of the Cholesky factor of the covariance.

    Args:
      lower: whether the matrix is lower triangular; else upper.
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: triangle [channels (channels + 1) / 2], L row by row (if upper, column by column), the diagonal as its
      logarithm.
    Numerics: float32 round trip about 1e-5 while the condition number of L stays below 1e2.
    """

    lower: bool = True
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> tuple[Array, int]:
        return self.param("triangle", nn.initializers.zeros, (channels * (channels + 1) // 2,), dtype), channels

    def _multiply(self, weights: Any, x: Array) -> Array:
        triangle, channels = weights
        return linear.matvec(linear.fill_triangular(triangle, channels, self.lower), x)

    def _divide(self, weights: Any, z: Array) -> Array:
        triangle, channels = weights
        matrix = linear.fill_triangular(triangle, channels, self.lower)
        return linear.matvec(linear.triangular_inverse(matrix, self.lower), z)

    def _log_abs_det(self, weights: Any) -> Array:
        return sum_event(linear.triangular_log_diagonal(*weights), 1)


class LowRankLinear(LinearMap):
    """A positive diagonal plus a learned symmetric matrix of low rank: linear cost, always invertible.

        z = (D + U U^T) x at every position,   D = diag(exp(log_diagonal))
        log_det = positions * (sum_c log_diagonal_c + log det(I + U^T D^-1 U))      [nats per event]

    The matrix is symmetric and positive definite whatever the parameters are: no eigenvalue lies below the smallest
    of D, and I + U^T D^-1 U, which the determinant lemma and the Woodbury inverse factorise, has none below 1. Both
    directions cost channels * rank per position. To mix channels without symmetry, add another map such as
    `Householder`.

    Args:
      rank: columns of U, from 1 to the number of channels.
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: log_diagonal [channels], factor [channels, rank].
    Raises:
      InvalidValueError: if rank is not positive, or exceeds the number of channels.
    Numerics: float32 round trip about 1e-6 times the condition number.
    """

    rank: Count
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> tuple[Array, Array]:
        if self.rank > channels:
            fix = "Lower it, or use TriangularLinear or InvertibleLinear."
            rule = f"must be at most the number of channels, {channels}"
            raise InvalidValueError("LowRankLinear", "rank", rule, repr(self.rank), fix)
        log_diagonal = self.param("log_diagonal", nn.initializers.zeros, (channels,), dtype)
        # U = 0 would be a saddle point: the gradient of U U^T is zero there.
        spread = nn.initializers.normal(0.1 / math.sqrt(channels))
        return log_diagonal, self.param("factor", spread, (channels, self.rank), dtype)

    def _multiply(self, weights: Any, x: Array) -> Array:
        log_diagonal, factor = weights
        return linear.low_rank_matvec(log_diagonal, factor, x)

    def _divide(self, weights: Any, z: Array) -> Array:
        log_diagonal, factor = weights
        return linear.low_rank_solve(log_diagonal, factor, z)

    def _log_abs_det(self, weights: Any) -> Array:
        return linear.low_rank_log_det(*weights)

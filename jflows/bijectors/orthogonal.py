"""Linear maps built from rotations and reflections: orthogonal ones, and the QR and SVD forms of any matrix."""

from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.linear import LinearMap, VolumePreservingMap
from jflows.ops import linear
from jflows.ops.numerics import sum_event
from jflows.options import Count, Ndims, Option
from jflows.typing import Array

ORTHOGONAL_MAPS = {"cayley": linear.cayley, "exp": linear.skew_exp}


class Householder(VolumePreservingMap):
    """A product of learned reflections, an orthogonal matrix; log_det = 0.

        z = H_1 H_2 ... H_k x at every position,   H_i = I - 2 v_i v_i^T / |v_i|^2

    k reflections cost 2 k channels multiplications per position; the matrix itself is built only where it is cheaper.
    With k = channels every orthogonal matrix of determinant (-1)^k can be reached. The length of a vector has no
    effect, and a zero vector counts as no reflection. The vectors start in random directions.

    Source: Tomczak and Welling 2016, arXiv:1611.09630.

    Args:
      num_reflections: number of reflections, k; None takes one for each channel.
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `params`: vectors [num_reflections, channels].
    Raises:
      InvalidValueError: if num_reflections is not positive.
    Numerics: float32 round trip about 1e-6.
    """

    num_reflections: Count | None = None
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> Array:
        return _vectors(self, "vectors", self.num_reflections, channels, dtype)

    def _multiply(self, weights: Any, x: Array) -> Array:
        return linear.householder_matvec(weights, x)

    def _divide(self, weights: Any, z: Array) -> Array:
        return linear.householder_matvec(weights, z, transpose=True)


class Orthogonal(VolumePreservingMap):
    """A learned rotation, from a skew-symmetric matrix A = -A^T; log_det = 0.

        z = Q x at every position,   Q = (I + A)^-1 (I - A)  or  Q = exp(A)

    Both give determinant 1 only. "exp" reaches every rotation; "cayley" reaches those without the eigenvalue -1 (no
    half turns), with a gradient that is cheaper and vanishes as an angle nears half a turn. Q is built once for all
    positions. It starts as a random rotation with angles up to about 2 radians.

    Source: Helfrich et al. 2018, arXiv:1707.09520 (Cayley); Lezcano-Casado and Martinez-Rubio 2019, arXiv:1901.08428
    (exponential).

    Args:
      parametrisation: "cayley" or "exp".
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: skew [channels (channels - 1) / 2], the strictly lower triangle of A; none for one channel.
    Raises:
      InvalidValueError: for another parametrisation.
    Numerics: float32 round trip about 1e-6, and about 1e-5 for angles of several turns with "exp".
    """

    parametrisation: Annotated[str, Option(choices=tuple(ORTHOGONAL_MAPS))] = "cayley"
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> Array:
        if channels == 1:  # the only rotation; Orbax refuses to store a leaf without entries
            return jnp.ones((1, 1), dtype)
        # Entries of deviation 1 / sqrt(n) give A the eigenvalues +-2i at most, by the semicircle law.
        spread = nn.initializers.normal(channels**-0.5)
        entries = self.param("skew", spread, (channels * (channels - 1) // 2,), dtype)
        return ORTHOGONAL_MAPS[self.parametrisation](linear.skew_matrix(entries, channels))

    def _multiply(self, weights: Any, x: Array) -> Array:
        return linear.matvec(weights, x)

    def _divide(self, weights: Any, z: Array) -> Array:
        return linear.matvec(weights.T, z)


class QRLinear(LinearMap):
    """A learned matrix in QR form: reflections times an upper triangular matrix with positive diagonal.

        z = Q R x at every position,   Q = H_1 ... H_k,   R_cc = exp(d_c)
        log_det = positions * sum_c d_c                      [nats per event; positions = event size / channels]

    Unlike the PLU form, it has no fixed permutation. With k = channels every invertible matrix whose determinant has
    the sign of (-1)^k can be reached. The map starts as a random orthogonal matrix.

    Source: Hoogeboom et al. 2019, arXiv:1901.11137. Differs: R has a positive diagonal.

    Args:
      num_reflections: number of reflections, k; None takes one for each channel.
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: vectors [num_reflections, channels]; triangle [channels (channels + 1) / 2], the columns of R one
      after the other, the diagonal as its logarithm.
    Raises:
      InvalidValueError: if num_reflections is not positive.
    Numerics: float32 round trip about 1e-5 while the condition number of R stays below 1e2.
    """

    num_reflections: Count | None = None
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> tuple[Array, Array]:
        vectors = _vectors(self, "vectors", self.num_reflections, channels, dtype)
        return vectors, self.param("triangle", nn.initializers.zeros, (channels * (channels + 1) // 2,), dtype)

    def _multiply(self, weights: Any, x: Array) -> Array:
        vectors, triangle = weights
        return linear.matvec(linear.qr_matrix(vectors, linear.fill_triangular(triangle, x.shape[-1], False)), x)

    def _divide(self, weights: Any, z: Array) -> Array:
        vectors, triangle = weights
        upper = linear.fill_triangular(triangle, z.shape[-1], False)
        return linear.matvec(linear.qr_inverse_matrix(vectors, upper), z)

    def _log_abs_det(self, weights: Any) -> Array:
        vectors, triangle = weights
        return sum_event(linear.triangular_log_diagonal(triangle, vectors.shape[-1]), 1)


class SVDLinear(LinearMap):
    """A learned matrix by its singular values: reflections, a positive scale per channel, reflections.

        z = Q_left diag(exp(log_scale)) Q_right x at every position
        log_det = positions * sum_c log_scale_c              [nats per event; positions = event size / channels]

    The condition number is exp(max log_scale - min log_scale), so that it can be read off and controlled. With
    k = channels every matrix of positive determinant can be reached. The map starts as a random rotation.

    Source: Zhang et al. 2018, arXiv:1803.09327.

    Args:
      num_reflections: number of reflections on each side, k; None takes one for each channel.
      event_ndims: 1 for vectors, 3 for images; the last axis is mixed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
      `params`: left and right [num_reflections, channels], log_scale [channels].
    Raises:
      InvalidValueError: if num_reflections is not positive.
    Numerics: float32 round trip about 1e-6 times the condition number.
    """

    num_reflections: Count | None = None
    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> tuple[Array, Array, Array]:
        left = _vectors(self, "left", self.num_reflections, channels, dtype)
        log_scale = self.param("log_scale", nn.initializers.zeros, (channels,), dtype)
        return left, log_scale, _vectors(self, "right", self.num_reflections, channels, dtype)

    def _multiply(self, weights: Any, x: Array) -> Array:
        return linear.matvec(linear.svd_matrix(*weights), x)

    def _divide(self, weights: Any, z: Array) -> Array:
        left, log_scale, right = weights
        return linear.matvec(linear.svd_matrix(left, -log_scale, right).T, z)

    def _log_abs_det(self, weights: Any) -> Array:
        return sum_event(weights[1], 1)


def _vectors(module: LinearMap, name: str, num_reflections: int | None, channels: int, dtype: Any) -> Array:
    count = channels if num_reflections is None else num_reflections
    return module.param(name, nn.initializers.normal(1.0), (count, channels), dtype)

"""`Whiten`: ZCA, the linear map that makes data white and moves them least; its statistics are fixed, not learned."""

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.errors import InvalidValueError
from jflows.modules import check_channels
from jflows.ops.factorisations import eigh
from jflows.ops.linear import matvec
from jflows.ops.numerics import EXACT, constant_log_det, sum_event
from jflows.options import Ndims, Option
from jflows.typing import Array

Axes = tuple[Array, Array, Array]
"""Mean [size], log-scale [size] along the axes, and the axes as columns [size, size]."""


class Whiten(SameShape):
    """Brings all numbers of an event to covariance I, by the symmetric matrix that does so: ZCA.

        z = V diag(1 / sqrt(v + r)) V^T (x - mean),   covariance of x = V diag(v) V^T
        log_det = -1/2 sum_i log(v_i + r)                    [nats per event; r = regularization]

    Mean, variances v and axes V are `constants`, never trained, and the log-det counts exactly, so that densities are
    those of the data as they were. Statistics of all data are better than those of one batch: a module that knows them
    calls `use` in its `init`. If `init` runs in the direction of sampling, there are no data, and the map is the
    identity. Unlike `Standardize`, which scales channels, it mixes all numbers of an event.

    Source: Bell and Sejnowski 1997, "The independent components of natural scenes are edge filters" (ZCA); Dinh et al.
    2014, arXiv:1410.8516, section 5.1, for CIFAR-10.

    Args:
      event_ndims: 1 for vectors, 3 for images; all numbers of an event, `size` of them, are whitened together.
      regularization: r > 0, added to every variance, in units of x squared: no axis is stretched to more than
        1 / sqrt(r). For dequantized integers 1/12, the variance of the noise, is exact.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `constants`: mean, log_scale [size], axes [size, size].
    Numerics: float32 rounds z by about 1e-7 times the root of the condition number (v_max + r) / (v_min + r), and x,
      on the way back, by about 1e-6 of its deviation. Two products with a [size, size] matrix in each direction.
    """

    event_ndims: Ndims = 1
    regularization: Annotated[float, Option(above=0)] = 1e-6

    @nn.compact
    def _stored(self, first: Callable[[], Axes]) -> Axes:
        """What is stored, and first of all what `first` gives."""
        first, names = functools.cache(first), ("mean", "log_scale", "axes")
        found = [self.variable("constants", name, lambda k=k: first()[k]).value for k, name in enumerate(names)]
        return found[0], found[1], found[2]

    def use(self, mean: Any, variance: Any, axes: Any, dtype: Any) -> None:
        """Sets the statistics instead of taking those of the first batch; called in `init` before any data pass.

        Args:
          mean: mean of each number of an event, in row-major order.
          variance: variance along each axis, without the regularisation.
          axes: orthonormal axes as columns, as `numpy.linalg.eigh` gives them.
          dtype: dtype of the stored constants, which is that of the data.
        Shapes:
          mean, variance: [size], axes: [size, size].
        Raises:
          InvalidValueError: if the shapes do not fit each other.
        """
        size = np.shape(mean)
        if len(size) != 1 or np.shape(variance) != size or np.shape(axes) != size * 2:
            rule = "must be [size], [size] and [size, size]"
            got = f"{np.shape(mean)}, {np.shape(variance)} and {np.shape(axes)}"
            raise InvalidValueError("Whiten.use", ("mean", "variance", "axes"), rule, got)
        cast = lambda values: jnp.asarray(values).astype(dtype)
        self._stored(lambda: (cast(mean), cast(self._log_scale(jnp.asarray(variance))), cast(axes)))

    def _log_scale(self, variance: Array) -> Array:
        return -0.5 * jnp.log(jnp.maximum(variance, 0) + self.regularization)

    def _constants(self, values: Array, of_data: bool) -> Axes:
        batch_shape = values.shape[: values.ndim - self.event_ndims]
        size, dtype = math.prod(values.shape[len(batch_shape) :]), values.dtype
        identity = lambda: (jnp.zeros(size, dtype), jnp.zeros(size, dtype), jnp.eye(size, dtype=dtype))

        def of_batch() -> Axes:
            rows = values.reshape(-1, size)
            rows = rows.astype(jnp.promote_types(dtype, jnp.float32))
            mean = jnp.mean(rows, axis=0)
            variance, axes = eigh(jnp.matmul((rows - mean).T, rows - mean, precision=EXACT) / len(rows))
            return mean.astype(dtype), self._log_scale(variance).astype(dtype), axes.astype(dtype)

        mean, log_scale, axes = self._stored(of_batch if of_data and self.is_initializing() else identity)
        return check_channels(self, size, mean), log_scale, axes

    def _scaled(self, values: Array, log_scale: Array, axes: Array) -> Array:
        """V diag(exp(log_scale)) V^T values, for events in one row."""
        return matvec(axes, matvec(axes.T, values) * jnp.exp(log_scale))

    def _log_det(self, values: Array, log_scale: Array) -> Array:
        return constant_log_det(values, self.event_ndims, sum_event(log_scale, 1))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        mean, log_scale, axes = self._constants(z, of_data=False)
        x = self._scaled(self._rows(z), -log_scale, axes) + mean
        return x.reshape(z.shape), -self._log_det(z, log_scale)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        mean, log_scale, axes = self._constants(x, of_data=True)
        z = self._scaled(self._rows(x) - mean, log_scale, axes)
        return z.reshape(x.shape), self._log_det(x, log_scale)

    def _rows(self, values: Array) -> Array:
        """[*batch, *event] -> [*batch, size]."""
        return values.reshape(*values.shape[: values.ndim - self.event_ndims], -1)

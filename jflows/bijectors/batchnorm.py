"""Batch normalisation as a bijector: it uses the batch's statistics in training, and running averages otherwise."""

import math
from typing import Annotated, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jflows.bijectors.base import SameShape
from jflows.modules import check_channels
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.ops.varying import batch_moments
from jflows.options import Ndims, Option, Positive
from jflows.typing import Array


class BatchNorm(SameShape):
    """Normalises every channel by a mean and a variance, on the way from x to z.

        z = (x - mean) / sqrt(variance + epsilon)
        log_det = -positions / 2 sum_c log(variance_c + epsilon)   [nats per event]

    While "batch_stats" is mutable (in training, by `Flow.apply_loss`), x -> z uses mean and variance of the batch and
    updates the running averages. The examples of a batch then depend on each other, and log_det is that of the map
    with these statistics held fixed. Otherwise, and always for z -> x, the map uses the running averages and is an
    ordinary affine map. `init` starts the averages at the statistics of its batch. A learned scale and shift, as in
    MAF, is `Chain((Elementwise(Affine("exp")), BatchNorm()))`.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.7; Papamakarios et al. 2017, arXiv:1705.07057, section B.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
      momentum: decay of the running averages, in [0, 1): new = momentum * old + (1 - momentum) * batch.
      epsilon: positive number that is added to the variance.
      axis_name: axis of `jax.pmap` or `jax.shard_map` over which the statistics are averaged, in a step of your own.
        None is for one device, for `jax.jit` over a mesh, where means are global anyway, and for the steps of
        `jflows.fit`, which name their axis themselves.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `batch_stats`: mean [channels], variance [channels].
    Raises:
      InvalidValueError: if momentum or epsilon is out of range.
    """

    event_ndims: Ndims = 1
    momentum: Annotated[float, Option(low=0, below=1)] = 0.9
    epsilon: Positive = 1e-5
    axis_name: str | None = None

    # In training an output does not determine the statistics that made it.
    allows_invertible_backprop: ClassVar[bool] = False

    @nn.compact
    def _statistics(self, values: Array, forward: bool) -> tuple[Array, Array]:
        def of_batch() -> tuple[Array, Array]:
            return batch_moments(values, None if self.is_initializing() else self.axis_name)

        mean = self.variable("batch_stats", "mean", lambda: of_batch()[0])
        check_channels(self, values.shape[-1], mean.value)
        variance = self.variable("batch_stats", "variance", lambda: of_batch()[1])
        if forward or self.is_initializing() or not self.is_mutable_collection("batch_stats"):
            return mean.value, variance.value
        batch_mean, batch_variance = of_batch()
        mean.value = self.momentum * mean.value + (1 - self.momentum) * lax.stop_gradient(batch_mean)
        variance.value = self.momentum * variance.value + (1 - self.momentum) * lax.stop_gradient(batch_variance)
        return batch_mean, batch_variance

    def _log_det(self, values: Array, scale: Array) -> Array:
        positions = math.prod(values.shape[-self.event_ndims : -1])
        return constant_log_det(values, self.event_ndims, -positions * sum_event(jnp.log(scale), 1))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        mean, variance = self._statistics(z, forward=True)
        scale = jnp.sqrt(variance + self.epsilon)
        return z * scale + mean, -self._log_det(z, scale)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        mean, variance = self._statistics(x, forward=False)
        scale = jnp.sqrt(variance + self.epsilon)
        return (x - mean) / scale, self._log_det(x, scale)

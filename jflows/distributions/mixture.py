"""A learned mixture of normals, which starts at the clusters of the first batch."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.stats import norm

from jflows.distributions.base import Base
from jflows.ops.affine import constant_channels
from jflows.ops.clustering import kmeans
from jflows.ops.numerics import EXACT, sum_event
from jflows.options import Count
from jflows.typing import Array, Key, Shape


class NormalMixture(Base):
    """sum_k w_k N(mean_k, diag(exp(2 log_std_k))) with learned weights, means and deviations; no closed-form mode.

        log p(z) = log sum_k w_k exp(log N(z; mean_k, std_k)),   w = softmax(logits)          [nats per event]

    `init` through `log_prob`, as `Flow.init` does with data, runs k-means on the batch: one component per cluster,
    with its share of the points, its centre, and its deviation shrunk towards that of the batch by one pseudo-point.
    With fewer points than components, or if `init` runs in the direction of sampling, means are drawn from N(0, I).

    Temperature multiplies the deviation from the mean of the whole mixture, as for every base.

    Args:
      event_shape: shape of z.
      num_components: number of normals, K >= 1.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]; K times the memory of z is used.
      `params`: logits [K], means and log_stds, both [K, *event_shape].
    Raises:
      InvalidValueError: if num_components is below 1.
    """

    num_components: Count = 10

    @property
    def is_reparameterized(self) -> bool:
        return False  # the choice of the component has no derivative in the weights

    @nn.compact
    def _components(self, z: Array | None = None) -> tuple[Array, Array, Array]:
        shape = (self.num_components, *self.event_shape)
        logits, means, log_stds = jnp.zeros(shape[:1]), jnp.zeros(shape), jnp.zeros(shape)
        if self.is_initializing() and not self.has_variable("params", "means"):
            key = self.make_rng("params")
            means = jax.random.normal(key, shape)
            rows = None if z is None else z.reshape(-1, means[0].size)
            if rows is not None and len(rows) >= self.num_components:
                logits, means, log_stds = _fit(key, rows, self.num_components)
                means, log_stds = means.reshape(shape), log_stds.reshape(shape)
        logits = self.param("logits", lambda _: logits)
        return logits, self.param("means", lambda _: means), self.param("log_stds", lambda _: log_stds)

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws the mean + temperature * the deviation of a draw: -> [*shape, *event_shape]."""
        logits, means, log_stds = self._components()
        key_of_component, key_of_noise = jax.random.split(key)
        component = jax.random.categorical(key_of_component, logits, shape=shape)
        noise = jax.random.normal(key_of_noise, (*shape, *self.event_shape), means.dtype)
        draw = means[component] + jnp.exp(log_stds)[component] * noise
        mean = self.mean()
        return mean + temperature * (draw - mean)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        logits, means, log_stds = self._components(z)
        event_ndims = len(self.event_shape)
        standardised = (jnp.expand_dims(z, -event_ndims - 1) - means) * jnp.exp(-log_stds)
        log_probs = sum_event(norm.logpdf(standardised) - log_stds, event_ndims)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_probs, axis=-1)

    def mean(self, context: Array | None = None) -> Array:
        logits, means, _ = self._components()
        return jnp.tensordot(jax.nn.softmax(logits), means, 1, precision=EXACT)


def _fit(key: Key, rows: Array, num_components: int) -> tuple[Array, Array, Array]:
    """Logits [K], means [K, dim] and log_stds [K, dim] from the clusters of rows [count, dim]."""
    centres, cluster = kmeans(key, rows, num_components)
    members = jax.nn.one_hot(cluster, num_components, dtype=rows.dtype)
    sizes = members.sum(axis=0)
    scatter = jnp.matmul(members.T, (rows - centres[cluster]) ** 2, precision=EXACT)
    variance = (scatter + jnp.var(rows, axis=0)) / (sizes[:, None] + 1)
    return jnp.log(sizes + 1), centres, jnp.log(jnp.where(constant_channels(rows), 1, jnp.sqrt(variance)))

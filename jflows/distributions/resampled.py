"""A normal reshaped by learned rejection, which unlike a bijection of a normal can have holes and separate modes."""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.stats import norm

from jflows.distributions.base import Base
from jflows.modules import Network, check_conditioner
from jflows.ops.numerics import EXACT, sum_event
from jflows.options import Count, Option
from jflows.typing import Array, Key, Shape


class ResampledNormal(Base):
    """Proposes from N(0, I) and accepts with a learned probability a(z); the last of T tries is always accepted.

        p(z) = N(z) [a(z) (1 - r^(T-1)) / Z + r^(T-1)],   Z = E_N[a(z)],  r = 1 - Z       [density of an event]
        a(z) = sigmoid(acceptance(z))

    Z is a mean over points of N(0, I). In training these are `num_points` fresh points, from the random stream "fresh"
    (`needs_key`), which `Flow.apply_loss` gives if it has a key: a network that is trained on fixed points learns to
    reject just these, which makes Z too small and the density too large. Elsewhere, the points are those that `init`
    drew and `constants` keep: `log_prob`, and the density of samples, depend on no key. log p is then off by the
    same small number everywhere: its standard error is sqrt((1 - Z) / (Z num_points)) at most, 0.03 nats for Z = 1/2
    and 1024 points, so use more points to compare models that differ by less.

    If `acceptance` starts at zero, as every conditioner does, the base starts at N(0, I). Its gradient comes from
    `log_prob` alone, as samples are not differentiable in it. The context is not used.

    Source: Bauer and Mnih 2019, arXiv:1810.11428 (the truncated density); Stimper et al. 2022,
    arXiv:2110.15828 (as the base of a flow). Differs: stored and fresh points instead of a moving average of Z.

    Args:
      event_shape: shape of z.
      acceptance: a conditioner of vectors, such as `jflows.nn.MLP`, which sees the flattened event.
      max_tries: T >= 2; sampling evaluates the network on T proposals per sample.
      num_points: number of points that estimate Z; more cost time and memory, and make log p more exact.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]. `constants`: points [num_points, *event_shape].
    Raises:
      InvalidValueError: if max_tries is below 2, or num_points below 1.
    """

    acceptance: Network
    max_tries: Annotated[int, Option(low=2)] = 32
    num_points: Count = 1024

    def _check(self) -> None:
        check_conditioner("ResampledNormal", "acceptance", self.acceptance, event_ndims=1)

    @property
    def needs_key(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return True

    @property
    def is_reparameterized(self) -> bool:
        return False  # which try is accepted has no derivative

    @nn.compact
    def _points(self, fresh: bool = False) -> Array:
        shape = (self.num_points, *self.event_shape)
        stored = self.variable("constants", "points", lambda: jax.random.normal(self.make_rng("params"), shape)).value
        if fresh and self.has_rng("fresh") and not self.is_initializing():
            return jax.random.normal(self.make_rng("fresh"), shape, stored.dtype)
        return stored

    def _logits(self, z: Array) -> Array:
        """[*batch, *event_shape] -> [*batch]; a(z) is their sigmoid."""
        batch_shape = z.shape[: z.ndim - len(self.event_shape)]
        logits = self.acceptance(z.reshape(*batch_shape, -1), 1)[..., 0]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def _log_reject(self, points: Array) -> tuple[Array, Array, Array]:
        """log of r^(T-1), log of (1 - r^(T-1)) / Z, and the logits of the points."""
        logits = self._logits(points)
        log_r = jax.nn.logsumexp(jax.nn.log_sigmoid(-logits)) - jnp.log(len(logits))
        # (1 - r^(T-1)) / (1 - r) is the geometric sum of r^0 .. r^(T-2): nothing to divide by when Z underflows.
        return (self.max_tries - 1) * log_r, jax.nn.logsumexp(jnp.arange(self.max_tries - 1) * log_r), logits

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws the mean + temperature * the deviation of a draw: -> [*shape, *event_shape]."""
        key_of_proposals, key_of_choices = jax.random.split(key)
        proposals = jax.random.normal(key_of_proposals, (self.max_tries, *shape, *self.event_shape))
        log_accept = jax.nn.log_sigmoid(self._logits(proposals))
        log_uniform = -jax.random.exponential(key_of_choices, log_accept.shape, log_accept.dtype)
        accepted = (log_uniform < log_accept).at[-1].set(True)
        first = jnp.argmax(accepted, axis=0).reshape(1, *shape, *(1,) * len(self.event_shape))
        draw = jnp.take_along_axis(proposals, first, axis=0)[0]
        mean = self.mean()
        return mean + temperature * (draw - mean)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        log_last, log_ratio, _ = self._log_reject(self._points(fresh=True))
        log_accept = jax.nn.log_sigmoid(self._logits(z))
        log_normal = sum_event(norm.logpdf(z), len(self.event_shape))
        return log_normal + jnp.logaddexp(log_accept + log_ratio, log_last)

    def mean(self, context: Array | None = None) -> Array:
        """The mean, estimated at the stored points."""
        points = self._points()
        _, log_ratio, logits = self._log_reject(points)
        accept = jax.nn.sigmoid(logits)
        # E[a z] = E[(a - Z) z], as E[z] = 0: exactly 0 for a constant a, whatever the points.
        deviation = jnp.tensordot(accept - jnp.mean(accept), points, 1, precision=EXACT) / len(accept)
        return jnp.exp(log_ratio) * deviation

"""MADE as a base distribution: each coordinate is a mixture of normals given the coordinates before it."""

import dataclasses
import functools
import math
from statistics import NormalDist
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.scipy.stats import norm

from jflows.distributions.base import Base
from jflows.errors import InvalidValueError, kind_of
from jflows.modules import Network, check_conditioner, stated
from jflows.ops.numerics import sum_event
from jflows.ops.root_finding import solve_and_count
from jflows.options import Count, Option
from jflows.typing import Array, Key, OrderedConditioner, Shape, Variables

SPREAD = 0.8  # deviation of the starting means when there are many; KL(N(0, 1) | start) is then below 0.0024 nats
UNIT_SOFTPLUS = math.log(math.expm1(1.0))  # softplus of it is 1


class AutoregressiveMixture(Base):
    """Each coordinate is a mixture of K normals given the coordinates before it, in the order of the conditioner.

        p(z) = prod_i sum_k w_ik N(z_i; mean_ik, scale_ik)                        [density of an event]
        w_i = softmax(logits_i),  mean_ik = m_k + raw_ik,  scale_ik = min_scale + (s - min_scale) softplus(raw'_ik + c)

    with logits_i, raw_i and raw'_i the conditioner's parameters for coordinate i plus learned ones of its own,
    m_k = 0.8 Phi^-1((k - 1/2) / K), s^2 = 1 - mean_k m_k^2 and c = log(e - 1). At zero the K components thus differ, so
    that they can learn different things, and every coordinate has mean 0 and variance 1, nearly normal. `init` on 2 K
    rows or more sets the coordinates' own parameters by the quantiles of each column, so that a frequent value, which
    the network would need long to find, has a narrow component from the start.

    With `jflows.nn.MADE` as the conditioner, K = 1 is the Gaussian MADE and K = 10 the MADE MoG of the MAF paper, which
    under a MAF is MAF MoG. A sample costs a few densities if the conditioner is an `OrderedConditioner`, as MADE is;
    otherwise it costs at most one pass for each of the D coordinates.

    Temperature multiplies each coordinate's deviation from its mean given the drawn coordinates before it. `mean` is
    the draw at temperature 0, which is the mean of p only if conditional means are linear in earlier coordinates.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, section 4.1; Uria et al. 2013, arXiv:1306.0186, section 3.
    Differs: what zero parameters mean; scales are bounded below.

    Args:
      event_shape: shape of z; its D coordinates are taken in row-major order.
      conditioner: an autoregressive network of vectors, such as `jflows.nn.MADE`.
      num_components: number of normals for each coordinate, K >= 1.
      min_scale: smallest scale of a normal, in (0, 1/2); without it, one repeated value of the data makes p infinite.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch]; context: what the conditioner takes, or None. The conditioner gives
      [*batch, 3 K D] features. `params`: start [3 K, D] and those of the conditioner.
    Raises:
      InvalidTypeError: if the conditioner is not a module with `__call__(x, num_features, context)`.
      InvalidValueError: for a conditioner that is not autoregressive or not one of vectors, num_components below 1, or
        a min_scale out of range.
    Numerics: samples are differentiable with the component of each coordinate held fixed, which is the gradient of the
      distribution for K = 1 only; `log_prob` has all gradients.
    """

    conditioner: Network
    num_components: Count = 10
    min_scale: Annotated[float, Option(above=0, below=0.5)] = 1e-3

    def _check(self) -> None:
        check_conditioner("AutoregressiveMixture", "conditioner", self.conditioner, event_ndims=1)
        if not stated(self.conditioner, "is_autoregressive", True):
            got, fix = kind_of(self.conditioner), "Use MADE, or Transformer(event_ndims=1, causal=True)."
            raise InvalidValueError("AutoregressiveMixture", "conditioner", "must be autoregressive", got, fix)

    @property
    def is_reparameterized(self) -> bool:
        return False  # the choice of the component has no derivative in the weights

    @property
    def _conditionals(self) -> "_Conditionals":
        return _Conditionals(self.num_components, self.min_scale)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        z = z.reshape(*z.shape[: z.ndim - len(self.event_shape)], -1)
        params = self.conditioner(z, 3 * self.num_components * z.shape[-1], context)
        params = params.reshape(*z.shape[:-1], 3 * self.num_components, z.shape[-1])
        params = params + self._start(z, z.reshape(-1, z.shape[-1]))
        return sum_event(self._conditionals.log_prob(z, params), 1)

    @nn.compact
    def _start(self, like: Array, rows: Array | None = None) -> Array:
        """The coordinates' own parameters, [3 K, D], which `init` fits to rows [num, D] if there are enough."""
        shape = (3 * self.num_components, like.shape[-1])
        if self.is_initializing() and rows is not None and len(rows) >= 2 * self.num_components > 2:
            return self.param("start", lambda _: self._conditionals.fit(rows))
        return self.param("start", lambda _: jnp.zeros(shape, jnp.result_type(like)))

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws coordinate by coordinate, mean + temperature * the deviation of a draw: -> [*shape, *event_shape]."""
        key_of_component, key_of_noise = jax.random.split(key)
        flat = (*shape, math.prod(self.event_shape))
        noise = jax.random.normal(key_of_noise, flat)
        draws = (noise, jax.random.uniform(key_of_component, flat), jnp.broadcast_to(temperature, flat))
        return self._solve(draws, context).reshape(*shape, *self.event_shape)

    def mean(self, context: Array | None = None) -> Array:
        """The sample at temperature 0: each coordinate at its mean given the coordinates before it."""
        dim = math.prod(self.event_shape)
        batch_shape = () if context is None else context.shape[:-1]
        zeros = jnp.zeros((*batch_shape, dim))
        return self._solve((zeros, zeros, zeros), context).reshape(*batch_shape, *self.event_shape)

    def _solve(self, draws: tuple[Array, ...], context: Array | None) -> Array:
        """z with z_i = draw(draws_i, params_i(z)): [*batch, D]."""
        draws = (*draws, self._start(draws[0]))
        if self.is_initializing():
            self.conditioner(draws[0], 3 * self.num_components * draws[0].shape[-1], context)  # creates the parameters
        conditioner, variables = self.conditioner.unbind()
        if isinstance(conditioner, OrderedConditioner):
            num_features = 3 * self.num_components * draws[0].shape[-1]
            args = (self._conditionals.draw, draws, num_features, context)
            z: Any = conditioner.apply(variables, *args, method="solve_in_order")
            return z
        update = functools.partial(self._conditionals.redraw, conditioner, variables, draws, context)
        return solve_and_count(update, draws[0], 1, max_iterations=draws[0].shape[-1])[0]


@dataclasses.dataclass(frozen=True)
class _Conditionals:
    """The mixtures of single coordinates, given their parameters [*batch, 3 K, n]."""

    num_components: int
    min_scale: float

    def fit(self, rows: Array) -> Array:
        """Parameters [3 K, D] that put components on the quantiles of columns [num, D], as wide as the smaller gap.

        The outermost two are as wide as the column, for its tails.
        """
        levels = (jnp.arange(self.num_components) + 0.5) / self.num_components
        means = jnp.quantile(rows, levels, axis=0)
        gaps = jnp.diff(means, axis=0)
        gaps = jnp.concatenate([gaps[:1], gaps, gaps[-1:]])
        gaps = jnp.minimum(gaps[1:], gaps[:-1]).at[jnp.array([0, -1])].set(jnp.std(rows, axis=0))
        scales = jnp.maximum(gaps, 2 * self.min_scale)
        start, unit = self._at_zero
        raw_scales = jnp.log(jnp.expm1((scales - self.min_scale) / unit)) - UNIT_SOFTPLUS
        return jnp.concatenate([jnp.zeros_like(means), means - start[:, None], raw_scales]).astype(rows.dtype)

    @property
    def _at_zero(self) -> tuple[np.ndarray, float]:
        """Means [K] at zero parameters, and what softplus is multiplied by."""
        quantiles = (np.arange(self.num_components) + 0.5) / self.num_components
        start = SPREAD * np.array([NormalDist().inv_cdf(float(q)) for q in quantiles])
        return start, math.sqrt(1 - float(np.mean(start**2))) - self.min_scale

    def components(self, params: Array) -> tuple[Array, Array, Array]:
        """Log-weights, means and scales, each [*batch, K, n]."""
        start, unit = self._at_zero
        logits, shifts, raw_scales = jnp.split(params, 3, axis=-2)
        means = shifts + jnp.asarray(start[:, None], params.dtype)
        scales = self.min_scale + unit * jax.nn.softplus(raw_scales + UNIT_SOFTPLUS)
        return jax.nn.log_softmax(logits, axis=-2), means, scales

    def log_prob(self, z: Array, params: Array) -> Array:
        """log density of each coordinate: [*batch, n] -> the same."""
        log_weights, means, scales = self.components(params)
        log_probs = norm.logpdf((z[..., None, :] - means) / scales) - jnp.log(scales)
        return jax.nn.logsumexp(log_weights + log_probs, axis=-2)

    def draw(self, draws: tuple[Array, ...], params: Array) -> Array:
        """From a normal, a uniform that chooses the component, and the temperature, each [*batch, n] -> the same.

        Last in `draws` are the coordinates' own parameters [3 K, n].
        """
        noise, uniform, temperature, start = draws
        log_weights, means, scales = self.components(params + start)
        weights = jnp.exp(log_weights)
        below = jnp.cumsum(weights, axis=-2)[..., :-1, :]  # the last one, about 1, is left out: rounding may lower it
        component = jnp.sum(uniform[..., None, :] >= below, axis=-2, keepdims=True)
        chosen = lambda values: jnp.take_along_axis(values, component, axis=-2)[..., 0, :]
        mean = jnp.sum(weights * means, axis=-2)
        return mean + temperature * (chosen(means) + chosen(scales) * noise - mean)

    def redraw(self, conditioner: nn.Module, variables: Variables, draws, context: Array | None, z: Array) -> Array:
        """`draw` at all coordinates: right in each coordinate before which z is right."""
        num_params = 3 * self.num_components
        raw: Any = conditioner.apply(variables, z, num_params * z.shape[-1], context)
        return self.draw(draws, raw.reshape(*z.shape[:-1], num_params, z.shape[-1]))

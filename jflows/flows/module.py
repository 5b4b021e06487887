"""`FlowModule`: one Linen module that holds all parts of a `Flow`. Read `jflows/flows/flow.py` first."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors import Bijector, MultiScale
from jflows.bijectors.base import nan_where_zero
from jflows.data.reading import Statistics
from jflows.data.statistics import Axes
from jflows.distributions import Base
from jflows.flows.columns import standardizer, whitener
from jflows.flows.dequantize import Dequantize
from jflows.nn import StandardizeContext
from jflows.ops.domain import REALS
from jflows.typing import Array, Key, Shape


class FlowModule(nn.Module):
    """The parts of a flow; their names fix the variable paths `bijector`, `base`, `dequantize`, `preprocess`, `embed`.

    Methods take the embedded context, which `embedded` returns. Where x has no density, as it lies outside of the
    domain of a bijector or is infinite, `encode` gives a log-det of -inf and a finite number in the place of z: with
    NaN, the gradient of a whole batch would be NaN.
    """

    bijector: Bijector
    base: Base
    dequantize: Dequantize | None
    preprocess: Bijector | None
    embed: nn.Module | None

    def embedded(self, context: Array | None, context_ndims: int, batch_shape: Shape) -> Array | None:
        """The context embedded once, with the batch axes of the event in front."""
        if context is None:
            return None
        context = jnp.asarray(context)  # a label may come as a plain int
        leading = context.ndim - context_ndims
        if self.embed is not None:
            context = jnp.asarray(self.embed(context))
        return jnp.broadcast_to(context, (*batch_shape, *context.shape[leading:]))

    def standardise(self, statistics: Statistics | None, axes: Axes | None, dtype: Any) -> None:
        """Gives the statistics of all training rows to the parts that standardise; in `init`, before the first pass."""
        whiten = whitener(self.preprocess)
        if whiten is not None and axes is not None:
            whiten.use(*axes, dtype)
        if statistics is None:
            return
        s, first = statistics, standardizer(self.preprocess)
        if first is not None and s.mean is not None and s.deviation is not None:
            first.use(s.mean, s.deviation, dtype)
        if (
            isinstance(self.embed, StandardizeContext)
            and s.context_mean is not None
            and s.context_deviation is not None
        ):
            self.embed.use(s.context_mean, s.context_deviation, dtype)

    def to_model_space(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """Dequantized and preprocessed data, with the log-det of that and -log q of the noise."""
        v, log_det = self._held_to_reals(x) if self.dequantize is None else self.dequantize.dequantize(x, key)
        if self.preprocess is None:
            return v, log_det
        v, preprocess_log_det = self.preprocess.inverse_and_log_det(v)
        v, overflow = self._held_to_reals(v)  # beyond the largest float, the density has long been 0
        return v, log_det + preprocess_log_det + overflow

    def encode(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, Array]:
        """x -> z and log|det dz/dx|, -inf where x has no density."""
        x, log_det = self.to_model_space(x, key)
        z, bijector_log_det = self.bijector.inverse_and_log_det(x, context)
        return z, log_det + bijector_log_det

    def decode(self, z: Array, context: Array | None, key: Key | None = None) -> tuple[Array, Array]:
        """z -> x and log|det dx/dz|; NaN where a bijector is not defined."""
        x, log_det = self.bijector.forward_and_log_det(z, context)
        if self.preprocess is not None:
            x, preprocess_log_det = self.preprocess.forward_and_log_det(x)
            log_det = log_det + preprocess_log_det
        if self.is_restricted:
            x, log_det = nan_where_zero(x, log_det), jnp.where(jnp.isneginf(log_det), jnp.nan, log_det)
        return x if self.dequantize is None else self.dequantize.crop(x), log_det

    def log_prob(self, x: Array, context: Array | None, key: Key | None) -> Array:
        """log density in nats; where it is -inf as x has no density, its gradient is 0."""
        z, log_det = self.encode(x, context, key)
        return jnp.where(jnp.isneginf(log_det), -jnp.inf, self.base.log_prob(z, context) + log_det)

    def log_prob_at_precision(
        self, x: Array, context: Array | None, key: Key | None, precision: float | Array
    ) -> tuple[Array, Array]:
        """The log density with a base of `precision` times its own precision, and the latents.

        It is that of samples at temperature precision^(-1/2), for a base on all real numbers that has a mean.
        """
        z, log_det = self.encode(x, context, key)
        mean, num = self.base.mean(context), math.prod(self.base.event_shape)
        log_base = self.base.log_prob(mean + (z - mean) * jnp.sqrt(precision), context) + num / 2 * jnp.log(precision)
        return jnp.where(jnp.isneginf(log_det), -jnp.inf, log_base + log_det), z

    def sample(self, key: Key, shape: Shape, context: Array | None, temperature: float | Array) -> tuple[Array, Array]:
        """Samples and their log density."""
        z = self.sample_base(key, shape, context, temperature)
        x, log_det = self.decode(z, context)
        return x, self.base.log_prob(z, context) - log_det

    @property
    def is_restricted(self) -> bool:
        """Whether a bijector is not defined for all real numbers, or the base is 0 for some of them."""
        parts = (self.bijector, *(() if self.preprocess is None else (self.preprocess,)))
        return self.base.domain != REALS or any(part.is_restricted for part in parts)

    def raw_latents(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, ...]:
        """The values that a `MultiScale` factors out, level by level; NaN where x has no density."""
        assert isinstance(self.bijector, MultiScale)
        v, log_det = self.to_model_space(x, key)
        return tuple(nan_where_zero(y, log_det) for y in self.bijector.raw_latents(v, context))

    def _held_to_reals(self, x: Array) -> tuple[Array, Array]:
        """Events with 0 in the place of infinite numbers, and -inf for each that holds one, else 0."""
        finite = ~jnp.isinf(x)
        event_ndims = self.bijector.x_event_ndims  # that of `preprocess` on both of its sides
        every = jnp.all(finite, axis=tuple(range(x.ndim - event_ndims, x.ndim)))
        log_det = jnp.where(every, 0.0, -jnp.inf).astype(jnp.result_type(x, jnp.float32))
        return jnp.where(finite, x, 0), log_det

    def sample_base(self, key: Key, shape: Shape, context: Array | None, temperature: float | Array) -> Array:
        """Latents, from one key or from one key each."""
        if key.ndim == 0:
            return self.base.sample(key, shape, context, temperature)
        base, variables = self.base.unbind()  # Linen modules do not let their variables into `vmap`

        def draw(key: Key, context: Array | None) -> Array:
            z: Any = base.apply(variables, key, (), context, temperature, method="sample")
            return z

        for _ in shape:
            draw = jax.vmap(draw)
        return draw(key, context)

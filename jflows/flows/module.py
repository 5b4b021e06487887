"""The Linen module under a `Flow`; nothing outside `jflows.flows` uses it. Read `jflows/flows/flow.py` first."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors import Bijector, MultiScale
from jflows.distributions import Base
from jflows.flows.dequantize import Dequantize
from jflows.typing import Array, Key, Shape


class FlowModule(nn.Module):
    """All parts of a flow in one module: it fixes the variable paths `bijector`, `base`, `dequantize`, `preprocess`,
    `embed`.
    """

    bijector: Bijector
    base: Base
    dequantize: Dequantize | None
    preprocess: Bijector | None
    embed: nn.Module | None

    def embedded(self, context: Array | None, batch_shape: Shape, context_ndims: int) -> Array | None:
        """The context as bijectors see it: embedded once, with the batch axes of the event."""
        if context is None:
            return None
        context = jnp.asarray(context)  # a label may come as a plain int
        leading = context.shape[: context.ndim - context_ndims]
        if self.embed is not None:
            context = jnp.asarray(self.embed(context))
        return jnp.broadcast_to(context, (*batch_shape, *context.shape[len(leading) :]))

    def encode(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, Array]:
        """x -> z and log|det dz/dx|, the context embedded already."""
        x, log_det = self.to_model_space(x, key)
        z, bijector_log_det = self.bijector.inverse_and_log_det(x, context)
        return z, log_det + bijector_log_det

    def to_model_space(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """Dequantized and preprocessed data, with the log-det of that and -log q of the noise."""
        v, log_det = (x, jnp.zeros(())) if self.dequantize is None else self.dequantize.dequantize(x, key)
        if self.preprocess is None:
            return v, log_det
        v, preprocess_log_det = self.preprocess.inverse_and_log_det(v)
        return v, log_det + preprocess_log_det

    def decode(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        """z -> x and log|det dx/dz|, the context embedded already."""
        x, log_det = self.bijector.forward_and_log_det(z, context)
        if self.preprocess is not None:
            x, preprocess_log_det = self.preprocess.forward_and_log_det(x)
            log_det = log_det + preprocess_log_det
        return x if self.dequantize is None else self.dequantize.crop(x), log_det

    def log_prob(self, x: Array, context: Array | None, context_ndims: int, event_ndims: int, key: Key | None) -> Array:
        """log density in nats."""
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        z, log_det = self.encode(x, context, key)
        return self.base.log_prob(z, context) + log_det

    def sample(self, key, shape, context, context_ndims, temperature) -> tuple[Array, Array]:
        """Samples and their log density."""
        context = self.embedded(context, shape, context_ndims)
        z = self._sample_base(key, shape, context, temperature)
        x, log_det = self.decode(z, context)
        return x, self.base.log_prob(z, context) - log_det

    def _sample_base(self, key, shape, context, temperature) -> Array:
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

    def encode_with_context(self, x, context, context_ndims, event_ndims, key):
        """`encode` with a context as the user gives it."""
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        return self.encode(x, context, key)

    def decode_with_context(self, z, context, context_ndims):
        """`decode` with a context as the user gives it."""
        batch_shape = z.shape[: z.ndim - self.bijector.z_event_ndims]
        return self.decode(z, self.embedded(context, batch_shape, context_ndims))

    def raw_latents(self, x, context, context_ndims, event_ndims, key):
        """The values that a `MultiScale` factors out, level by level."""
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        assert isinstance(self.bijector, MultiScale)
        return self.bijector.raw_latents(self.to_model_space(x, key)[0], context)

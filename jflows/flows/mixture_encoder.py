"""`Encoder`: the network q(k | x) of a mixture, with what stands before and after it. Read `mixture.py` first."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jflows.data.reading import Statistics
from jflows.modules import stated
from jflows.nn import StandardizeContext
from jflows.typing import Array


class Encoder(nn.Module):
    """The logits of q(k | x) from a network of the user's.

    Pixels come to the network around 0; columns of a table, and contexts, come standardised: a network starts at
    weights made for inputs of about 1, and a column in thousands would drown all others.

    Args:
      network: a conditioner of vectors, or of images; the output of the latter is averaged over space.
      num_components: K.
      event_ndims: axes of an event.
      num_bits: number of bits of integer data; None if data are floats.
      takes_context: whether the network is conditioned on the context vectors.
      before: a fixed map of columns with a domain to real numbers, which comes first; None for none.
    Shapes:
      x: [*batch, *event_shape], context: [*batch, context_dim] or None -> [*batch, K].
    """

    network: nn.Module
    num_components: int
    event_ndims: int
    num_bits: int | None
    takes_context: bool
    before: Callable[[Array], Array] | None = None

    def setup(self) -> None:
        """What standardises columns and contexts; without variables until it is used."""
        self.columns, self.contexts = StandardizeContext(), StandardizeContext()

    def __call__(self, x: Array, context: Array | None) -> Array:
        """The logits, before they are divided by a temperature."""
        x, batch_ndims = jnp.asarray(x), jnp.ndim(x) - self.event_ndims
        x = x if self.before is None else self.before(x)
        x = self.columns(x) if self.num_bits is None else _around_zero(x, self.num_bits)
        if stated(self.network, "event_ndims", 1) != self.event_ndims:
            x = x.reshape(*x.shape[:batch_ndims], -1)
        network: Any = self.network
        context = self.contexts(context) if self.takes_context and context is not None else None
        out = network(x, self.num_components, context)
        return jnp.mean(out, axis=tuple(range(batch_ndims, out.ndim - 1)))

    def start(self, x: Array, context: Array | None, statistics: Statistics | None) -> Array:
        """The first pass, in `init`, with the statistics of all training rows; None takes those of x."""
        s = statistics
        if s is not None and self.num_bits is None and s.mean is not None and s.deviation is not None:
            self.columns.use(s.mean, s.deviation, x.dtype)
        if s is not None and self.takes_context and s.context_mean is not None and s.context_deviation is not None:
            self.contexts.use(s.context_mean, s.context_deviation, x.dtype)
        return self(x, context)


def _around_zero(x: Array, num_bits: int) -> Array:
    """Pixels in [-1/2, 1/2]: integers at the centres of their bins."""
    centre = 0.5 if jnp.issubdtype(x.dtype, jnp.integer) else 0.0
    return (x + centre) / 2**num_bits - 0.5

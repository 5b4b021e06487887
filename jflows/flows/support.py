"""`moved_inside`: samples that rounding has put outside of a flow's support are moved back into it."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jflows.ops import varying
from jflows.ops.numerics import promoting
from jflows.typing import Array, Key, Variables

if TYPE_CHECKING:
    from jflows.flows.flow import Flow

STEPS_IN_EPS = (4.0, 64.0, 1024.0, 16384.0)  # tried in this order: parts of the way to the centre, in units of eps


@promoting
def moved_inside(flow: "Flow", variables: Variables, x: Array, context: Array | None, key: Key) -> tuple[Array, Array]:
    """Samples of a flow inside its support, and their log density.

    Near an end of the support, x is rounded by much more than the latent that it comes from, so that only x itself
    tells its density. A bijector keeps its own results inside its domain; but where maps follow, as
    `Chain((Sigmoid(), Elementwise(Affine())))`, their rounding may leave it again. Such samples go a small part of the
    way to the image of the base's centre, the smallest that ends inside. This takes time only if there are any.

    Shapes:
      x: [*batch, *event_shape] -> x: the same, log_prob: [*batch].
    """
    axes = tuple(range(x.ndim - len(flow.event_shape), x.ndim))
    batch_shape = x.shape[: axes[0]]
    key = key.reshape(-1)[0]
    is_outside = lambda x, log_prob: jnp.isneginf(log_prob) & jnp.all(jnp.isfinite(x), axis=axes)

    def move(x: Array, log_prob: Array) -> tuple[Array, Array]:
        latent = jnp.full((*batch_shape, *flow.latent_shape), flow.base.domain.centre, x.dtype)
        centre = flow.decode(variables, latent, context, key)[0]

        def try_step(found: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
            x, log_prob = found
            outside = is_outside(x, log_prob)
            x = jnp.where(jnp.expand_dims(outside, axes), x + step * (centre - x), x)
            return (x, jnp.where(outside, flow.log_prob(variables, x, context, key), log_prob)), None

        steps = jnp.asarray(STEPS_IN_EPS, x.dtype) * jnp.finfo(x.dtype).eps
        return varying.scan(try_step, (x, log_prob), steps)[0]

    log_prob = flow.log_prob(variables, x, context, key)
    return jax.lax.cond(jnp.any(is_outside(x, log_prob)), move, lambda *found: found, x, log_prob)

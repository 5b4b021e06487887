"""Flow matching: trains the velocity field of a `Continuous` flow by regression, without solving its equation."""

import jax
import jax.numpy as jnp

from jflows.bijectors import Continuous
from jflows.errors import InvalidTypeError, check_key
from jflows.flows.flow import Flow
from jflows.flows.flow_structure import FlowModule
from jflows.ops.numerics import sum_event
from jflows.typing import Array, Key, Variables


def flow_matching_loss(flow: Flow, variables: Variables, x: Array, key: Key, context: Array | None = None) -> Array:
    """Squared error of the velocity on straight lines from base samples to data.

        loss = |v(t, x_t, context) - (x - z)|^2,   x_t = (1 - t) z + t x,   z ~ base,   t ~ U[0, 1)

    The loss is smallest for the field that carries the base to the data, so `log_prob` and `sample` then work as for
    any flow. It is not a likelihood, and its smallest value is not 0. Data are dequantized and preprocessed first; base
    samples are constants of the loss, so a learned base is not trained by it.

    Source: Lipman et al. 2023, arXiv:2210.02747, section 4.1, example II with sigma_min = 0.

    Args:
      flow: its bijector is a `Continuous`.
      variables: the flow's collections.
      x: data, in the form that `Flow.log_prob` takes.
      key: one key, or one per example of shape [batch].
      context: as in `Flow.log_prob`; if there is one key per example, it must have the batch axis of x.
    Shapes:
      x: [*batch, *event_shape] -> [*batch], summed over the event.
    Raises:
      InvalidTypeError: if the bijector is not a `Continuous`.
    """
    if not isinstance(flow.bijector, Continuous):
        got = type(flow.bijector).__name__
        raise InvalidTypeError("flow_matching_loss", "flow", "must have a Continuous bijector", got)
    check_key("flow_matching_loss", key)
    if key.ndim:
        return jax.vmap(lambda x, k, c: flow_matching_loss(flow, variables, x, k, c))(x, key, context)
    run = lambda module, x, context, key: _regression(module, x, context, key)
    return flow.run(variables, run, x, flow.check_x(x), context, key)[0]


def _regression(module: FlowModule, x: Array, context: Array | None, key: Key) -> Array:
    dequantize_key, base_key, time_key = jax.random.split(key, 3)
    event_ndims = module.bijector.x_event_ndims
    batch_shape = x.shape[: x.ndim - event_ndims]
    x, _ = module.to_model_space(x, dequantize_key)
    z = jax.lax.stop_gradient(module.base.sample(base_key, batch_shape, context)).astype(x.dtype)
    t = jax.random.uniform(time_key, batch_shape, x.dtype)
    fraction = t.reshape(*batch_shape, *(1,) * event_ndims)
    assert isinstance(module.bijector, Continuous)
    velocity = module.bijector.velocity(t, (1 - fraction) * z + fraction * x, context)
    return sum_event(jnp.square(velocity - (x - z)), event_ndims)

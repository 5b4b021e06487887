"""The latent space of a flow: paths between data, and the error of a round trip from data to latent and back.

These are pure functions of explicit variables, so `jax.jit` applies with `flow`, `num_steps` and `mode` static.
`jflows/eval/plots.py` draws their pictures.
"""

import jax
import jax.numpy as jnp

from jflows.errors import InvalidValueError, check_choice
from jflows.flows import Flow
from jflows.options import AtLeastTwo, checked
from jflows.typing import Array, Key, Variables

MODES = ("linear", "spherical")
PARALLEL_ANGLE = 1e-3  # radians; below, the spherical weights are 0/0 in float32 and the straight line is the limit


@checked
def interpolate(
    flow: Flow,
    variables: Variables,
    x_a: Array,
    x_b: Array,
    num_steps: AtLeastTwo = 8,
    context: Array | None = None,
    mode: str = "linear",
) -> Array:
    """Data along the path from x_a to x_b in latent space, both ends included.

        x(t) = decode(z(t)),   z(t) = (1 - t) encode(x_a) + t encode(x_b)               t = 0 .. 1
        spherical:             z(t) = sin((1 - t) w) / sin(w) z_a + sin(t w) / sin(w) z_b,  w the angle of z_a and z_b

    The straight line is that of the Glow paper; the spherical path keeps the norm of draws from N(0, I).
    Integers are encoded at the centres of their bins, so that the ends are x_a and x_b again, up to rounding.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 6; White 2016, arXiv:1609.04468, section 2.1.

    Args:
      num_steps: number of points of each path, at least 2.
      context: the context that both ends of each pair share, [*batch, *context_shape], or None.
      mode: "linear" or "spherical".
    Shapes:
      x_a, x_b: [*batch, *event_shape] -> x: [*batch, num_steps, *event_shape], integers if the flow dequantizes.
    Raises:
      InvalidValueError: for num_steps < 2, an unknown mode, or shapes that differ.
    """
    check_choice("interpolate", "mode", mode, MODES)
    if jnp.shape(x_a) != jnp.shape(x_b):
        got = f"shapes {jnp.shape(x_a)} and {jnp.shape(x_b)}"
        raise InvalidValueError("interpolate", ("x_a", "x_b"), "must have one shape", got)
    z_a, z_b = (encode_centres(flow, variables, x, context) for x in (x_a, x_b))
    axis = -len(flow.latent_shape) - 1
    t = jnp.linspace(0.0, 1.0, num_steps, dtype=z_a.dtype).reshape(-1, *(1,) * len(flow.latent_shape))
    path = _path(jnp.expand_dims(z_a, axis), jnp.expand_dims(z_b, axis), t, mode, len(flow.latent_shape))
    if context is not None:
        # One more batch axis, right of the others: every point of a path has the context of its ends.
        context = jnp.expand_dims(context, jnp.ndim(context) - len(flow.context_shape or ()))
        batch_shape = path.shape[: axis + 1]
        event = context.shape[context.ndim - len(flow.context_shape or ()) :]
        context = jnp.broadcast_to(context, (*batch_shape, *event))
    return flow.quantize(flow.decode(variables, path, context, log_det_key(flow))[0])


def reconstruct(flow: Flow, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
    """Maps data to the latent space and back.

        rebuilt = decode(encode(x)),   error = |rebuilt - x|              [units of x: 1 is one level of a pixel]

    Integers are encoded at the centres of their bins, and this half is subtracted again.

    Shapes:
      x: [*batch, *event_shape] -> rebuilt, error: the same, floats.
    """
    z = encode_centres(flow, variables, x, context)
    rebuilt, _ = flow.decode(variables, z, context, log_det_key(flow))
    start = centres(flow, x)
    error = jnp.abs(rebuilt - start)
    return x + (rebuilt - start), error


def centres(flow: Flow, x: Array) -> Array:
    """Integers as floats at the centres of their bins; floats as they are. Both have the event shape of the data."""
    return x if flow.dequantize is None else flow.dequantize.crop(flow.dequantize.dequantize(x, None)[0])


def encode_centres(flow: Flow, variables: Variables, x: Array, context: Array | None = None) -> Array:
    """The latent of data, integers at the centres of their bins, so that no noise enters.

    With a key for an estimated log-det, `Flow.encode` would dequantize integers by it; here, that noise is dropped.

    Shapes:
      x: [*batch, *event_shape] -> z: [*batch, *latent_shape].
    """
    return flow.encode(variables, centres(flow, x), context, log_det_key(flow))[0]


def decode_data(flow: Flow, variables: Variables, z: Array, context: Array | None = None) -> tuple[Array, Array]:
    """The data that latents stand for, and how likely these are: the inverse of `encode_centres`, up to rounding.

    Shapes:
      z: [*batch, *latent_shape] -> x: [*batch, *event_shape], integers if the flow dequantizes; log p(x) in nats, with
      integers at the centres of their bins: [*batch].
    """
    key = log_det_key(flow)
    x = flow.quantize(flow.decode(variables, z, context, key)[0])
    return x, flow.log_prob(variables, centres(flow, x), context, key)


def log_det_key(flow: Flow) -> Key | None:
    """None, or any key for a log-det that is estimated and then dropped."""
    return jax.random.key(0) if flow.bijector.needs_key else None


def _path(z_a: Array, z_b: Array, t: Array, mode: str, event_ndims: int) -> Array:
    straight = (1 - t) * z_a + t * z_b
    if mode == "linear":
        return straight
    axes = tuple(range(-event_ndims, 0))

    def inner(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=axes, keepdims=True)

    tiny = jnp.finfo(z_a.dtype).tiny  # an all-zero latent has no direction: cosine 0, finite weights
    cosine = inner(z_a, z_b) * jax.lax.rsqrt(jnp.maximum(inner(z_a, z_a) * inner(z_b, z_b), tiny))
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    degenerate = jnp.sin(angle) < PARALLEL_ANGLE
    safe = jnp.where(degenerate, 1.0, angle)
    curved = (jnp.sin((1 - t) * safe) * z_a + jnp.sin(t * safe) * z_b) / jnp.sin(safe)
    return jnp.where(degenerate, straight, curved)

"""The latent space of a flow: paths between data, manifolds through data, and the error of a round trip.

These are pure functions of explicit variables, so `jax.jit` applies with `flow` and all numbers and words static.
`jflows/eval/plots.py` draws their pictures.
"""

import jax
import jax.numpy as jnp

from jflows.errors import InvalidValueError, check_choice
from jflows.flows import Flow
from jflows.ops.numerics import EXACT
from jflows.options import AtLeastTwo, checked
from jflows.typing import Array, Key, Shape, Variables

MODES = ("linear", "spherical")
NUM_CORNERS = 4
TURNS = {"circle": 1.0, "quarter": 0.25}
"""How far the angles of a manifold go, in turns."""
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
    context = _one_axis_more(flow, context, path.shape[: axis + 1])  # points of a path have the context of its ends
    return flow.quantize(flow.decode(variables, path, context, log_det_key(flow))[0])


@checked
def manifold(
    flow: Flow,
    variables: Variables,
    corners: Array,
    num_angles: AtLeastTwo = 8,
    context: Array | None = None,
    turn: str = "circle",
) -> Array:
    """Data on the surface through four events in latent space, over a grid of two angles.

        x(a, b) = decode(z(a, b))
        z(a, b) = cos(a) (cos(b) z_1 + sin(b) z_2) + sin(a) (cos(b) z_3 + sin(b) z_4),   z_i = encode(corner i)

    z(0, 0), z(0, pi/2), z(pi/2, 0) and z(pi/2, pi/2) are those of the events themselves; half a turn away from each
    lies its opposite, -z. The weights of the four have squares that sum to 1, so independent draws from N(0, I) give
    draws from N(0, I). Integers are encoded at the centres of their bins.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4.2, eq. 19, whose grid is turn="circle" with 8 angles.

    Args:
      corners: the four events.
      num_angles: number of angles along each axis, at least 2.
      context: the context that all four share, [*batch, *context_shape], or None.
      turn: "circle" takes equal angles from 0 to just below 2 pi, which meet the events if their number is a multiple
        of 4; "quarter" takes angles from 0 to pi/2, both included, so that the events are the corners of the grid.
    Shapes:
      corners: [*batch, 4, *event_shape] -> x: [*batch, num_angles, num_angles, *event_shape], a by b; integers if the
        flow dequantizes.
    Raises:
      InvalidValueError: for num_angles < 2, an unknown turn, or a number of events other than four.
    """
    check_choice("manifold", "turn", turn, tuple(TURNS))
    axis = jnp.ndim(corners) - len(flow.event_shape) - 1
    if axis < 0 or jnp.shape(corners)[axis] != NUM_CORNERS:
        rule = f"must be [*batch, {NUM_CORNERS}, *event_shape]"
        raise InvalidValueError("manifold", "corners", rule, f"shape {jnp.shape(corners)}")
    z = encode_centres(flow, variables, corners, _one_axis_more(flow, context, jnp.shape(corners)[: axis + 1]))
    angles = 2 * jnp.pi * TURNS[turn] * jnp.linspace(0.0, 1.0, num_angles, endpoint=turn == "quarter", dtype=z.dtype)
    weights = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    # The corners are those of two axes of two: the first axis goes with a, the second with b.
    z = z.reshape(*z.shape[:axis], 2, 2, -1)
    surface = jnp.einsum("ia,jb,...ijd->...abd", weights, weights, z, precision=EXACT)
    surface = surface.reshape(*surface.shape[:-1], *flow.latent_shape)
    for batch_shape in (surface.shape[: axis + 1], surface.shape[: axis + 2]):
        context = _one_axis_more(flow, context, batch_shape)
    return flow.quantize(flow.decode(variables, surface, context, log_det_key(flow))[0])


def reconstruct(flow: Flow, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
    """Maps data to the latent space and back.

        rebuilt = decode(encode(x)),   error = |rebuilt - x|              [units of x: 1 is one level of a pixel]

    Integers are encoded at the centres of their bins, and this half is subtracted again.

    Shapes:
      x: [*batch, *event_shape] -> rebuilt, error: the same, floats.
    """
    z = encode_centres(flow, variables, x, context)
    rebuilt, _ = flow.decode(variables, z, context, log_det_key(flow))
    start = flow.centres(x)
    error = jnp.abs(rebuilt - start)
    return x + (rebuilt - start), error


def encode_centres(flow: Flow, variables: Variables, x: Array, context: Array | None = None) -> Array:
    """The latent of data, integers at the centres of their bins, so that no noise enters.

    With a key for an estimated log-det, `Flow.encode` would dequantize integers by it; here, that noise is dropped.

    Shapes:
      x: [*batch, *event_shape] -> z: [*batch, *latent_shape].
    """
    return flow.encode(variables, flow.centres(x), context, log_det_key(flow))[0]


def decode_data(flow: Flow, variables: Variables, z: Array, context: Array | None = None) -> tuple[Array, Array]:
    """The data that latents stand for, and how likely these are: the inverse of `encode_centres`, up to rounding.

    Shapes:
      z: [*batch, *latent_shape] -> x: [*batch, *event_shape], integers if the flow dequantizes; log p(x) in nats, with
      integers at the centres of their bins: [*batch].
    """
    key = log_det_key(flow)
    x = flow.quantize(flow.decode(variables, z, context, key)[0])
    return x, flow.log_prob(variables, flow.centres(x), context, key)


def _one_axis_more(flow: Flow, context: Array | None, batch_shape: Shape) -> Array | None:
    """The context with one more batch axis, right of the others, broadcast to a batch shape."""
    if context is None:
        return None
    context = jnp.expand_dims(context, jnp.ndim(context) - len(flow.context_shape or ()))
    return jnp.broadcast_to(context, (*batch_shape, *context.shape[context.ndim - len(flow.context_shape or ()) :]))


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

"""A flow layer by layer: what data and latents look like between the layers, for events of any shape.

A layer is a member of a `Chain` and each step of a `Repeat`, also inside `Inverse`, `Conditioned`, `Masked`, `Stack`,
`Split` and `Vmap`; all else counts as one. Bijectors say so themselves, by `layer_names` and `layer_values`. Pure
functions, so `jax.jit` applies with `flow` and `direction` static. Read next: `jflows/eval/plane.py`, which draws them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, check_choice, check_event_shape
from jflows.flows import Flow
from jflows.typing import Array, Variables

DIRECTIONS = ("forward", "inverse")


def layerwise(
    flow: Flow, variables: Variables, values: Array, direction: str = "inverse", context: Array | None = None
) -> list[Array]:
    """The values after every layer, in the order in which they are computed.

        inverse:  x -> [..., z],   the last is `flow.encode(variables, x)[0]`
        forward:  z -> [..., x],   the last is `flow.decode(variables, z)[0]`

    The steps of a `Repeat` stay one scan, so compile time does not grow with depth. Integers are taken at the centres
    of their bins.

    Args:
      values: x for "inverse", z for "forward".
      direction: "inverse" or "forward".
      context: as `flow.encode` takes it.
    Shapes:
      values: [*batch, *event_shape] or [*batch, *latent_shape] -> one array per entry of `layer_names`, each of the
        shape that it has there.
    Raises:
      InvalidValueError: for an unknown direction, or values of another event shape.
      InvalidTypeError: if `values` is not an array.
    """
    check_choice("layerwise", "direction", direction, DIRECTIONS)
    if not hasattr(values, "shape"):
        fix = "Wrap it in jnp.asarray."
        raise InvalidTypeError("layerwise", "values", "must be an array", type(values).__name__, fix)
    event_shape = flow.event_shape if direction == "inverse" else flow.latent_shape
    what = "x" if direction == "inverse" else "z"
    check_event_shape("layerwise", "values", values.shape, event_shape, f"They are {what} for direction={direction!r}.")
    batch_shape = values.shape[: values.ndim - len(event_shape)]
    context = _embedded(flow, variables, context, batch_shape)
    values, found = jnp.asarray(values), []
    if flow.dequantize is not None and direction == "inverse":
        values = flow.dequantize.dequantize(values, None)[0]
        found.append(values)
    for name, part in _parts(flow, direction):
        # `preprocess` acts on pixels alone: it is never given the context.
        given = context if name == "bijector" else None
        # The log-dets are dropped, so any noise will do for those that are estimated.
        rngs = {"noise": jax.random.key(0)} if part.needs_key else {}
        own = _subtree(variables, name)
        inside: Any = part.apply(own, values, given, direction, method="layer_values", rngs=rngs)
        found += inside
        values = found[-1]
    if flow.dequantize is not None and direction == "forward":
        found.append(flow.dequantize.crop(values))
    return found


def layer_names(flow: Flow, direction: str = "inverse") -> list[str]:
    """What to call the layers of `layerwise`: the class, or "step 3" of a `Repeat`; steps count from the latent.

    Raises:
      InvalidValueError: for an unknown direction.
    """
    check_choice("layer_names", "direction", direction, DIRECTIONS)
    names = [name for _, part in _parts(flow, "forward") for name in part.layer_names()]
    names += [] if flow.dequantize is None else [type(flow.dequantize).__name__]
    return names if direction == "forward" else names[::-1]


def _parts(flow: Flow, direction: str) -> list[tuple[str, Bijector]]:
    parts = [("bijector", flow.bijector)]
    parts += [] if flow.preprocess is None else [("preprocess", flow.preprocess)]
    return parts if direction == "forward" else parts[::-1]


def _subtree(variables: Variables, name: str) -> Variables:
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def _embedded(flow: Flow, variables: Variables, context: Array | None, batch_shape: tuple[int, ...]) -> Array | None:
    """The context as bijectors see it: embedded, with the batch axes of the values."""
    if context is None:
        return None
    context = jnp.asarray(context)
    leading = context.shape[: context.ndim - len(flow.context_shape or ())]
    if flow.embed is not None:
        context = jnp.asarray(flow.embed.apply(_subtree(variables, "embed"), context))
    return jnp.broadcast_to(context, (*batch_shape, *context.shape[len(leading) :]))

"""A flow layer by layer: the values of data and latents between the layers, for events of any shape.

Every member of a `Chain` and every step of a `Repeat` is a layer, also inside `Inverse`, `Conditioned`, `Masked`,
`Stack`, `Split` and `Vmap`; any other bijector is one layer. Bijectors state their layers by `layer_names` and
`layer_values`. These are pure functions, so `jax.jit` applies with `flow` and `direction` static. Read next:
`jflows/eval/plane.py`, which draws the values.
"""

import jax

from jflows.errors import check_choice, check_event_shape
from jflows.flows import Flow
from jflows.flows.door import check_array
from jflows.flows.flow_structure import FlowModule
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
      context: the context of the flow, as `flow.encode` takes it.
    Shapes:
      values: [*batch, *event_shape] or [*batch, *latent_shape] -> one array per entry of `layer_names`, each of the
        shape that values have after this layer.
    Raises:
      InvalidValueError: for an unknown direction, or values of another event shape.
      InvalidTypeError: if `values` is not an array of numbers.
    """
    check_choice("layerwise", "direction", direction, DIRECTIONS)
    check_array("layerwise", "values", values)
    event_shape = flow.event_shape if direction == "inverse" else flow.latent_shape
    what = "x" if direction == "inverse" else "z"
    check_event_shape("layerwise", "values", values.shape, event_shape, f"They are {what} for direction={direction!r}.")
    batch_shape = values.shape[: values.ndim - len(event_shape)]
    key = jax.random.key(0) if flow.estimates_log_det else None  # log-dets are dropped, so any noise will do
    walk = lambda module, values, context, key: _walk(module, values, context, direction)
    return flow.run(variables, walk, values, batch_shape, context, key)[0]


def layer_names(flow: Flow, direction: str = "inverse") -> list[str]:
    """The names of the layers of `layerwise`: the class, or "step 3" of a `Repeat`, counted from the latent.

    Raises:
      InvalidValueError: for an unknown direction.
    """
    check_choice("layer_names", "direction", direction, DIRECTIONS)
    parts = (flow.bijector, flow.preprocess)
    names = [name for part in parts if part is not None for name in part.layer_names()]
    names += [] if flow.dequantize is None else [type(flow.dequantize).__name__]
    return names if direction == "forward" else names[::-1]


def _walk(module: FlowModule, values: Array, context: Array | None, direction: str) -> list[Array]:
    found = []
    if module.dequantize is not None and direction == "inverse":
        found.append(module.dequantize.dequantize(values, None)[0])
    # `preprocess` acts on single elements of the data: it is never given the context.
    parts = [(module.bijector, context)] + ([] if module.preprocess is None else [(module.preprocess, None)])
    for part, given in parts if direction == "forward" else parts[::-1]:
        found += part.layer_values(found[-1] if found else values, given, direction)
    if module.dequantize is not None and direction == "forward":
        found.append(module.dequantize.crop(found[-1]))
    return found

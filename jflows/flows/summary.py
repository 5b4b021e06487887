"""`summary`: a table of a density's layers, from data to latent, with shapes, parameters and planned memory.

Nothing is trained or scored: shapes come from abstract evaluation, and memory from what the compiler plans.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from jflows.bijectors import Bijector
from jflows.flows.density import Density
from jflows.flows.division import Division, division_of
from jflows.options import Count, NotNegative, checked
from jflows.typing import Shape, Variables

if TYPE_CHECKING:
    from jflows.flows.flow import Flow
    from jflows.flows.mixture import MixtureOfFlows

INDENT = "  "
MEGABYTE = 1e6
COPIES = 4  # of the parameters in a training state


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      depth: level of indentation.
      name: name of the layer.
      shape: shape of the layer's output on the way to the latent; None where there is none.
      num_parameters: number of trained parameters of the layer, and of all layers inside it.
    """

    depth: int
    name: str
    shape: Shape | None
    num_parameters: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The table that `print(flow.summary())` shows.

    Attributes:
      rows: the lines, from data to latent.
      num_parameters: how many numbers are trained.
      batch_size: number of examples of the gradient whose memory is planned; 0 if none is planned.
      planned_bytes: memory that the compiler plans for temporaries of this gradient, besides variables and data.
      num_devices: number of devices among which parameters are divided, 1 for none.
      division: the bytes of all parameters, those that each device holds, and names of those that stay whole.
    """

    rows: tuple[Row, ...]
    num_parameters: int
    batch_size: int
    planned_bytes: int
    num_devices: int
    division: Division

    def __repr__(self) -> str:
        """The table."""
        header = ("layer, from data to latent", "output shape", "parameters")
        lines = [header, *((INDENT * row.depth + row.name, _times(row.shape), _count(row)) for row in self.rows)]
        lines.append(("total", "", f"{self.num_parameters:,}"))
        wide = [max(len(line[column]) for line in lines) for column in range(3)]
        text = "\n".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}".rstrip() for a, b, c in lines)
        if not self.batch_size:
            return text
        memory = f"{self.planned_bytes / MEGABYTE:,.1f} MB"
        lines = [text, f"A gradient of {self.batch_size} examples plans {memory} of temporaries."]
        return "\n".join([*lines, self._state_in_words()])

    def _state_in_words(self) -> str:
        """What training holds from step to step."""
        sizes = [f"{COPIES * size / MEGABYTE:,.1f} MB" for size in self.division[:2]]
        text = f"Training holds {sizes[0]} beside it: parameters, their average, and two moments of Adam"
        if self.num_devices == 1:
            return f"{text}."
        text += f"; with parallel=fsdp, each of {self.num_devices} devices holds {sizes[1]} of these."
        if not self.division.whole:
            return text
        names = ", ".join(self.division.whole)
        return f"{text} Whole on each of them, as {self.num_devices} divides none of their axes: {names}."


@checked
def summary(
    density: Density, rows: Iterator[Row], variables: Variables, batch_size: NotNegative, num_devices: Count
) -> Summary:
    """The rows of a density, with the memory that a gradient on `batch_size` examples would take."""
    planned = _planned_bytes(density, variables, batch_size) if batch_size else 0
    division = division_of(variables.get("params", {}), num_devices)
    return Summary(tuple(rows), count_parameters(variables), batch_size, planned, num_devices, division)


def abstract_variables(density: Density) -> Variables:
    """Shapes and types of a density's variables, without computing them."""
    x, context = examples_of(density, 2)
    return jax.eval_shape(density.init, jax.random.key(0), x, context)


def count_parameters(variables: Variables) -> int:
    """The number of trained parameters."""
    return _size(variables.get("params", {}))


def flow_rows(flow: "Flow", params: Mapping[str, Any], depth: int = 0, with_base: bool = True) -> Iterator[Row]:
    """The lines of a flow, given its parameters or their shapes."""
    shape = flow.event_shape
    if depth == 0:
        yield Row(depth, "data", shape, 0)
    if flow.embed is not None:
        yield Row(depth, f"{type(flow.embed).__name__} of the context", None, _size(params.get("embed", {})))
    if flow.dequantize is not None:
        shape = flow.dequantize.padded_shape(shape)
        yield Row(depth, flow.dequantize.describe(), shape, 0)
    for name, bijector in (("preprocess", flow.preprocess), ("bijector", flow.bijector)):
        if bijector is not None:
            yield from _bijector_rows(bijector, params.get(name, {}), shape, depth, type(bijector).__name__)
            shape = bijector.z_event_shape(shape)
    if with_base:
        yield Row(depth, f"base {type(flow.base).__name__}", flow.latent_shape, _size(params.get("base", {})))


def mixture_rows(mixture: "MixtureOfFlows", params: Mapping[str, Any]) -> Iterator[Row]:
    """Trunk, encoder, weights, and each architecture of the components, with the parameters of all its copies."""
    yield Row(0, "data", mixture.event_shape, 0)
    if mixture.trunk is not None:
        yield Row(0, "trunk", mixture.trunk.latent_shape, _size(params.get("trunk", {})))
        yield from flow_rows(mixture.trunk, params.get("trunk", {}), 1, with_base=False)
    if mixture.encoder is not None:
        name = f"encoder {type(mixture.encoder).__name__}"
        yield Row(0, name, (mixture.num_components,), _size(params.get("encoder", {})))
    if mixture.weights == "learned":
        yield Row(0, "weights", (mixture.num_components,), mixture.num_components)
    of_all = params.get("components", {})
    for number, flow in enumerate(mixture.components):
        stacked = len(mixture.components) == 1
        own = of_all if stacked else of_all.get(str(number), {})
        title = f"component × {mixture.num_components}" if stacked else f"component {number}"
        yield Row(0, title, flow.latent_shape, _size(own))
        yield from flow_rows(flow, own, 1)


def _bijector_rows(
    bijector: Bijector, params: Mapping[str, Any], x_shape: Shape, depth: int, title: str
) -> Iterator[Row]:
    """A bijector, then what it is made of; a chain that is the only part of another one needs no line of its own."""
    parts = list(bijector.parts_with_shapes(x_shape))
    copies = f" × {parts[0].copies}" if len(parts) == 1 and parts[0].copies > 1 else ""
    yield Row(depth, title + copies, bijector.z_event_shape(x_shape), _size(params))
    for part in parts:
        inner, own = part.bijector, params.get(part.name, {})
        in_steps = inner.steps() != (inner,)
        if len(parts) == 1 and in_steps:
            for member in inner.parts_with_shapes(part.x_event_shape):
                name, of_member = type(member.bijector).__name__, own.get(member.name, {})
                yield from _bijector_rows(member.bijector, of_member, member.x_event_shape, depth + 1, name)
        else:
            name = part.name if in_steps else type(inner).__name__
            yield from _bijector_rows(inner, own, part.x_event_shape, depth + 1, name)


def _planned_bytes(density: Density, variables: Variables, batch_size: int) -> int:
    x, context = examples_of(density, batch_size)
    key = jax.eval_shape(lambda: jax.random.key(0)) if density.needs_key else None

    def mean_log_prob(params: Any, rest: Variables, x: Any, context: Any, key: Any) -> Any:
        return jnp.mean(density.apply_loss({**rest, "params": params}, x, context, key)[0])

    rest = {name: tree for name, tree in variables.items() if name != "params"}
    lowered = jax.jit(jax.grad(mean_log_prob)).lower(variables.get("params", {}), rest, x, context, key)
    analysis: Any = lowered.compile().memory_analysis()
    return 0 if analysis is None else int(analysis.temp_size_in_bytes)  # None where a platform does not plan


def examples_of(density: Density, num: int) -> tuple[Any, Any]:
    """Shapes and types of `num` rows of data of a density, and of their contexts, or None."""
    reading = density.reading
    x = jax.ShapeDtypeStruct((num, *reading.event_shape), reading.dtype)
    if reading.context_shape is None:
        return x, None
    kind = jnp.int32 if reading.context == "labels" else jnp.float32
    return x, jax.ShapeDtypeStruct((num, *reading.context_shape), kind)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _times(shape: Shape | None) -> str:
    return "" if shape is None else " × ".join(map(str, shape))


def _count(row: Row) -> str:
    return f"{row.num_parameters:,}" if row.num_parameters else ""

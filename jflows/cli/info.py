"""`jflows info`: the layers of a flow from data to latent, their output shapes and parameters."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jflows.bijectors import Bijector, Chain, MultiScale, Repeat
from jflows.cli.datasets import load_config_data
from jflows.data import KNOWN
from jflows.flows import Density, Flow, MixtureOfFlows
from jflows.train import ImageConfig, TrainConfig, load
from jflows.typing import Shape, Variables

INDENT = "  "


class Row(NamedTuple):
    """One line of the table."""

    depth: int
    name: str
    shape: Shape | None
    num_parameters: int


def describe_config(config: TrainConfig) -> None:
    """Prints the table of the flow that a config builds; nothing is computed."""
    source = KNOWN.get(config.data) if isinstance(config, ImageConfig) else None
    if source is not None:
        shape, classes = source.event_shape, source.num_classes
    else:
        data = load_config_data(config, "train")
        shape, classes = data.event_shape, data.num_classes
    flow = config.build(shape, classes)
    _print(flow, abstract_variables(flow))


def describe_run(run: Path) -> None:
    """Prints the table of a run's flow."""
    _print(*load(run))


def abstract_variables(flow: Density) -> Variables:
    """Shapes and types of a flow's variables, without computing them."""
    x = jax.ShapeDtypeStruct((1, *flow.event_shape), jnp.uint8 if flow.dequantize is not None else jnp.float32)
    context = None
    if flow.context_shape is not None:
        embeds = getattr(flow, "embed", None) is not None
        context = jax.ShapeDtypeStruct((1, *flow.context_shape), jnp.int32 if embeds else jnp.float32)
    return jax.eval_shape(flow.init, jax.random.key(0), x, context)


def rows(flow: Density, variables: Variables) -> list[Row]:
    """The table from data to latent; the last row is the total."""
    params = variables.get("params", {})
    found = _mixture_rows(flow, params) if isinstance(flow, MixtureOfFlows) else _flow_rows(flow, params, 0)
    return [Row(0, "data", flow.event_shape, 0), *found, Row(0, "total", None, _count(params))]


def _mixture_rows(mixture: MixtureOfFlows, params: Mapping[str, Any]) -> Iterator[Row]:
    """Trunk, encoder, weights, and each architecture of the components, with the parameters of all its copies."""
    if mixture.trunk is not None:
        yield Row(0, "trunk", mixture.trunk.latent_shape, _count(params["trunk"]))
        yield from _flow_rows(mixture.trunk, params["trunk"], 1, base=False)
    if mixture.encoder is not None:
        num_components = (mixture.num_components,)
        yield Row(0, f"encoder {type(mixture.encoder).__name__}", num_components, _count(params["encoder"]))
    if mixture.weights == "learned":
        yield Row(0, "weights", (mixture.num_components,), mixture.num_components)
    of_all = params.get("components", {})
    for number, flow in enumerate(mixture.components):
        own = of_all if len(mixture.components) == 1 else of_all.get(str(number), {})
        title = f"component × {mixture.num_components}" if own is of_all else f"component {number}"
        yield Row(0, title, flow.latent_shape, _count(own))
        yield from _flow_rows(flow, own, 1)


def _flow_rows(flow: Density, params: Mapping[str, Any], depth: int, base: bool = True) -> Iterator[Row]:
    assert isinstance(flow, Flow)
    shape = flow.event_shape
    if flow.embed is not None:
        yield Row(depth, f"{type(flow.embed).__name__} of the context", None, _count(params.get("embed", {})))
    if flow.dequantize is not None:
        shape = flow.dequantize.padded_shape(shape)
        padded = f" (padding {flow.dequantize.padding})" if flow.dequantize.padding else ""
        yield Row(depth, f"{type(flow.dequantize).__name__}, {flow.dequantize.num_bits} bits{padded}", shape, 0)
    if flow.preprocess is not None:
        yield from _walk(flow.preprocess, params.get("preprocess", {}), shape, depth)
    yield from _walk(flow.bijector, params.get("bijector", {}), shape, depth)
    if base:
        yield Row(depth, f"base {type(flow.base).__name__}", flow.latent_shape, _count(params.get("base", {})))


def _walk(layer: Bijector, params: Mapping[str, Any], x_shape: Shape, depth: int, name: str = "") -> Iterator[Row]:
    """A layer, then what it is made of; containers of other kinds count as one layer."""
    title, z_shape = name or type(layer).__name__, layer.z_event_shape(x_shape)
    yield Row(depth, title, z_shape, _count(params))
    if isinstance(layer, MultiScale):
        yield from _walk_levels(layer, params, depth + 1)
    elif isinstance(layer, Chain):
        for position in reversed(range(len(layer.layers))):
            part = layer.layers[position]
            yield from _walk(part, params.get(f"layers_{position}", {}), x_shape, depth + 1, _title(part))
            x_shape = part.z_event_shape(x_shape)
    elif isinstance(layer, Repeat):
        skip = _is_chain(layer.layer)
        yield from list(_walk(layer.layer, params.get("layers", {}), x_shape, depth + 1 - skip))[skip:]


def _walk_levels(layer: MultiScale, params: Mapping[str, Any], depth: int) -> Iterator[Row]:
    shape = layer.image_shape
    for index, (level, prior) in enumerate(zip(layer.levels, layer.priors, strict=True)):
        own, prior_own = params.get(f"levels_{index}", {}), params.get(f"priors_{index}", {})
        out = level.z_event_shape(shape)
        yield Row(depth, f"level {index + 1}", out, _count(own) + _count(prior_own))
        skip = _is_chain(level)
        yield from list(_walk(level, own, shape, depth + 1 - skip))[skip:]
        last = index == len(layer.levels) - 1
        kept = out if last else (*out[:-1], out[-1] - out[-1] // 2)
        name = f"prior of all: {type(prior).__name__}" if last else f"prior, then split: {type(prior).__name__}"
        yield Row(depth + 1, name, kept, _count(prior_own))
        shape = kept


def _is_chain(layer: Bijector) -> bool:
    """A chain inside something else needs no line of its own."""
    return isinstance(layer, Chain)


def _title(layer: Bijector) -> str:
    return f"Repeat × {layer.num_layers}" if isinstance(layer, Repeat) else type(layer).__name__


def _count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _print(flow: Density, variables: Variables) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer, from data to latent", no_wrap=True)
    table.add_column("output shape", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for row in rows(flow, variables):
        shape = "" if row.shape is None else " × ".join(map(str, row.shape))
        count = f"{row.num_parameters:,}" if row.num_parameters or row.name == "total" else ""
        style = "bold" if row.name == "total" else ""
        table.add_row(Text(INDENT * row.depth + row.name), Text(shape), Text(count), style=style)
    Console(highlight=False, soft_wrap=True).print(table)

"""The parts of `MixtureOfFlows`: checks of its arguments, and how its components are run and stored."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jflows.errors import InvalidValueError, check_choice, kind_of
from jflows.flows.flow import Flow
from jflows.typing import Array, PyTree, Shape, Variables

if TYPE_CHECKING:
    from jflows.flows.mixture import MixtureOfFlows

WEIGHTS = ("uniform", "learned")
IMAGE_AXES = 3
SUM_TOLERANCE = 1e-6


def part(variables: Variables, name: str) -> Variables:
    """The variables of one part, out of those of the whole."""
    return {
        collection: tree[name] for collection, tree in variables.items() if isinstance(tree, Mapping) and name in tree
    }


def join(parts: Mapping[str, Variables]) -> dict[str, dict[str, Any]]:
    """The variables of the whole, out of those of its parts; the inverse of `part`."""
    joined: dict[str, dict[str, Any]] = {}
    for name, variables in parts.items():
        for collection, tree in variables.items():
            joined.setdefault(collection, {})[name] = tree
    return joined


def over_components(
    components: tuple[Flow, ...],
    run: Callable[..., tuple[PyTree, Variables]],
    variables: Variables,
    *stacked: PyTree,
) -> tuple[Any, Variables]:
    """Calls `run(flow, its variables, its slice of stacked)` for every component: stacked values, and variables.

    A single flow stands for K copies with stacked variables, see `over_copies`; of several flows, each has an entry
    "0", "1", ...
    """
    if len(components) == 1:
        return over_copies(functools.partial(run, components[0]), components[0].event_shape, variables, *stacked)
    results = []
    for k, flow in enumerate(components):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], stacked)
        results.append(run(flow, part(variables, str(k)), *own))
    values, of_components = zip(*results, strict=True)
    joined = join({str(k): tree for k, tree in enumerate(of_components)})
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *values), joined


def over_copies(run: Callable[..., Any], event_shape: Shape, *stacked: PyTree) -> Any:
    """Calls `run` for every copy of one architecture, with its slice of everything that is stacked on a first axis.

    Copies run side by side, but those of images one after the other, in a loop: on a CPU, convolutions with K kernels
    at once are several times slower than K convolutions, and take minutes to compile.
    """
    if len(event_shape) < IMAGE_AXES:
        return jax.vmap(run)(*stacked)
    return jax.lax.map(lambda own: run(*own), stacked)


def exact_sum(log_joint: Array, log_q: Array) -> Array:
    """sum_k q_k (log_joint_k - log q_k): [..., K] -> [...]; -inf, with gradient 0, where all densities are 0.

    Terms with q_k = 0 count nothing, whatever the component says.
    """
    impossible = jnp.all(jnp.isneginf(log_joint), axis=-1)
    counts = ~(jnp.isneginf(log_q) | impossible[..., None])
    log_joint, log_q = (jnp.where(counts, part, 0) for part in (log_joint, log_q))  # before the product: 0 inf is NaN
    return jnp.where(impossible, -jnp.inf, jnp.sum(jnp.exp(log_q) * (log_joint - log_q), axis=-1))


def check_labels(
    where: str,
    labels: Any,
    num_components: int,
    argument: str = "labels",
    lowest: int = -1,
    fix: str = "Set num_components to the number of classes.",
) -> None:
    """Raises `InvalidValueError` if a label is outside lowest..K-1; traced ones pass."""
    if labels is None or isinstance(labels, Tracer):
        return
    labels = np.asarray(labels)
    bad = np.flatnonzero((labels < lowest) | (labels >= num_components))
    if bad.size:
        rule = f"must lie in {lowest}..{num_components - 1}" + (" (-1 for none)" if lowest < 0 else "")
        got = f"{labels.reshape(-1)[bad[0]]} in row {bad[0]} ({bad.size} bad rows)"
        raise InvalidValueError(where, argument, rule, got, fix)


def check_assignment(where: str, assignment: Any, num: int, num_components: int) -> None:
    """Raises unless it is None, or a component for each of `num` rows."""
    if assignment is None:
        return
    dtype, shape = jnp.result_type(assignment), jnp.shape(assignment)
    if shape != (num,) or not jnp.issubdtype(dtype, jnp.integer):
        rule, fix = f"must be integers of shape ({num},), one for each row of x", "Pass clusters, not responsibilities."
        raise InvalidValueError(where, "assignment", rule, f"{dtype} of shape {shape}", fix)
    check_labels(where, assignment, num_components, "assignment", lowest=0, fix="Set num_components to their number.")


def check_parts(components: tuple[Flow, ...], num_components: int, trunk: Flow | None) -> None:
    """Raises unless there are K components, or one for all, and everything fits together."""
    where = "MixtureOfFlows"
    if len(components) not in (1, num_components):
        rule = f"must be one flow, or one for each of num_components={num_components}"
        raise InvalidValueError(where, "components", rule, f"{len(components)} flows")
    front = components[0] if trunk is None else trunk
    shape = front.event_shape if trunk is None else trunk.latent_shape
    for flow in components:
        if flow.event_shape != shape:
            rule = f"must all have event_shape {shape}" + ("" if trunk is None else ", the trunk's latent shape")
            raise InvalidValueError(where, "components", rule, f"{flow.event_shape}")
        allowed = (front.context_shape,) if trunk is None else (front.context_shape, None)
        if flow.context_shape not in allowed:
            rule = f"must all have context_shape {front.context_shape}"
            raise InvalidValueError(where, "components", rule, f"{flow.context_shape}")
        if (flow.dequantize is None) != (trunk is not None or front.dequantize is None):
            rule = "must all dequantize, or none" if trunk is None else "must not dequantize behind a trunk"
            raise InvalidValueError(where, "components", rule, kind_of(flow.dequantize), "Let the trunk do it.")
        if flow.dequantize is not None and flow.reading != front.reading:
            rule = f"must all read data alike, as {front.reading}"
            raise InvalidValueError(where, "components", rule, f"{flow.reading}", "Give all the same num_bits.")


def check_weights(weights: str | tuple[float, ...], num_components: int) -> None:
    """Raises unless the weights are "uniform", "learned", or K positive numbers that sum to one."""
    if isinstance(weights, str):
        return check_choice("MixtureOfFlows", "weights", weights, WEIGHTS)
    if len(weights) != num_components or not min(weights) > 0 or not abs(sum(weights) - 1) < SUM_TOLERANCE:
        rule = f"must be {num_components} positive numbers that sum to one, or 'uniform' or 'learned'"
        got = f"{weights} with sum {sum(weights):.6g}"
        raise InvalidValueError("MixtureOfFlows", "weights", rule, got)


def components_of(mixture: "MixtureOfFlows", variables: Variables) -> Variables:
    """The variables of the components out of those of the mixture: stacked, or one entry for each.

    Raises:
      InvalidValueError: if they are stacked for another number of components, or there are none.
    """
    own = part(variables, "components")
    leaves = jax.tree.leaves(own)
    num_components, stacked = mixture.num_components, len(mixture.components) == 1
    if stacked and (not leaves or any(jnp.shape(leaf)[:1] != (num_components,) for leaf in leaves)):
        rule = f"must be those of {num_components} components, as init gives them"
        got = f"an array of shape {jnp.shape(leaves[0])} among those of the components" if leaves else "none"
        raise InvalidValueError("MixtureOfFlows", "variables", rule, got, 'Pass {"params": ...} of this mixture.')
    return own

"""`with_base` and `with_latent_flow`: a trained flow whose base is replaced, while its map stays as it is.

Read next: `jflows/eval/recalibration.py`, which fits such bases to embedded data.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jflows.bijectors import Chain
from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows.flow import Flow
from jflows.typing import Variables


def with_base(flow: Flow, variables: Variables, base: Base, params: Mapping[str, Any]) -> tuple[Flow, Variables]:
    """The flow with another base, and its variables.

        log p(x) = log p_new base(z) + log|det dz/dx|,   z = f^-1(x)         [nats per event]

    Args:
      flow, variables: the flow and its collections; they stay as they are.
      base: the new base, of the flow's latent shape.
      params: the parameters of the base, {} if it has none.
    Raises:
      InvalidTypeError: if `flow` is no `Flow`, or `variables` or `params` is no mapping.
      InvalidValueError: if the base is of another shape, or `params` are not those that it has.
    """
    _check_flow("with_base", "flow", flow)
    for argument, given in (("variables", variables), ("params", params)):
        if not isinstance(given, Mapping):
            raise InvalidTypeError("with_base", argument, "must be a mapping of names to arrays", kind_of(given))
    new = dataclasses.replace(flow, base=base)
    if flow.context_shape is None:
        _check_params(base, params)
    own = {name: {part: tree for part, tree in parts.items() if part != "base"} for name, parts in variables.items()}
    if params:
        own["params"] = {**own.get("params", {}), "base": dict(params)}
    return new, own


def with_latent_flow(
    flow: Flow, variables: Variables, latent_flow: Flow, latent_variables: Variables
) -> tuple[Flow, Variables]:
    """The flow whose base is another flow, trained on the latents of data, as one flow with an explicit density.

        x = f(g(u)),   log p(x) = log p_base of g(u) + log|det du/dz| + log|det dz/dx|         [nats per event]

    Args:
      flow, variables: the flow f of data, and its collections.
      latent_flow, latent_variables: the flow g of latents z, whose event shape is the latent shape of f.
    Returns:
      A flow whose latent is u; its bijector is a `Chain` of the maps of g and f.
    Raises:
      InvalidTypeError: if one of them is no `Flow`.
      InvalidValueError: if the shapes do not fit, or `latent_flow` takes integers or a context.
    """
    for argument, each in (("flow", flow), ("latent_flow", latent_flow)):
        _check_flow("with_latent_flow", argument, each)
    inner = latent_flow
    if tuple(inner.event_shape) != flow.latent_shape:
        rule = f"must be one of events of shape {flow.latent_shape}, the latents of `flow`"
        raise InvalidValueError("with_latent_flow", "latent_flow", rule, f"{tuple(inner.event_shape)}")
    if inner.dequantize is not None or inner.context_shape is not None:
        got = "a flow of integers" if inner.dequantize is not None else "a flow with a context"
        raise InvalidValueError("with_latent_flow", "latent_flow", "must be of floats without a context", got)
    places = [("bijector", inner.bijector, latent_variables)]
    if inner.preprocess is not None:
        places.append(("preprocess", inner.preprocess, latent_variables))
    places.append(("bijector", flow.bijector, variables))
    new = dataclasses.replace(flow, bijector=Chain(tuple(part for _, part, _ in places)), base=inner.base)
    own: dict[str, dict[str, Any]] = {}
    for name in {*variables, *latent_variables}:
        kept = {part: tree for part, tree in variables.get(name, {}).items() if part not in ("bijector", "base")}
        layers = {
            f"layers_{position}": source[name][part]
            for position, (part, _, source) in enumerate(places)
            if part in source.get(name, {})
        }
        base = {"base": latent_variables[name]["base"]} if "base" in latent_variables.get(name, {}) else {}
        own[name] = {**kept, **({"bijector": layers} if layers else {}), **base}
    return new, own


def _check_params(base: Base, params: Mapping[str, Any]) -> None:
    """Raises unless the base has parameters of just these names and shapes; nothing is computed."""
    make: Any = lambda: base.init(jax.random.key(0), jnp.zeros((1, *base.event_shape)), method="log_prob")
    wanted, given = (_shapes(tree) for tree in (jax.eval_shape(make).get("params", {}), dict(params)))
    if wanted != given:
        words = lambda shapes: ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "none"
        rule = f"must be the parameters of {type(base).__name__}: {words(wanted)}"
        raise InvalidValueError("with_base", "params", rule, words(given))


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf) for path, leaf in leaves}


def _check_flow(where: str, argument: str, flow: Any) -> None:
    if not isinstance(flow, Flow):
        raise InvalidTypeError(where, argument, "must be a Flow", kind_of(flow))

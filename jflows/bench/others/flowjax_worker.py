"""flowjax: the flows that it offers ready-made; its layers are scanned, as those of jflows are."""

# pyright: reportMissingImports=false
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import BlockAutoregressiveNetwork, Planar, RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from serving import Calls, jax_map, serve, set_jax, waiting


def flow_calls(
    make: Any, shape: tuple[int, ...], num_layers: int, hidden: int, inner: Any = None, invert: bool = True
) -> Calls:
    """What can be timed of a flow that `make` builds around the inner map."""
    batch, dim = shape
    key = jax.random.key(0)
    sizes: Any = dict(flow_layers=num_layers, nn_width=hidden, nn_depth=2, transformer=inner, invert=invert)
    flow = make(key, base_dist=Normal(jnp.zeros(dim)), **sizes)
    x = jax.random.normal(key, shape)
    log_prob = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
    gradient = eqx.filter_jit(eqx.filter_value_and_grad(lambda flow, x: jnp.mean(flow.log_prob(x))))
    sample = eqx.filter_jit(lambda flow, key: flow.sample(key, (batch,)))
    return {
        "log_prob": waiting(log_prob, flow, x),
        "gradient": waiting(lambda flow, x: eqx.filter(gradient(flow, x), eqx.is_array), flow, x),
        "sample": waiting(sample, flow, key),
    }


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings."""
    return flow_calls(coupling_flow, shape, num_layers, hidden)


def nsf_coupling(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Couplings of rational-quadratic splines."""
    inner = RationalQuadraticSpline(knots=num_bins - 1, interval=bound)
    return flow_calls(coupling_flow, shape, num_layers, hidden, inner)


def maf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Masked autoregressive layers with affine maps."""
    return flow_calls(masked_autoregressive_flow, shape, num_layers, hidden)


def iaf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """The same in the other direction."""
    return flow_calls(masked_autoregressive_flow, shape, num_layers, hidden, invert=False)


def nsf_autoregressive(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Masked autoregressive layers with rational-quadratic splines."""
    inner = RationalQuadraticSpline(knots=num_bins - 1, interval=bound)
    return flow_calls(masked_autoregressive_flow, shape, num_layers, hidden, inner)


def one_way(bijection: Any, direction: str, shape: tuple[int, ...]) -> Calls:
    """The direction that a bijection has in closed form."""
    params, rest = eqx.partition(bijection, eqx.is_inexact_array)
    run = lambda params, values: jax.vmap(eqx.combine(params, rest).transform_and_log_det)(values)
    ways = {"forward": None, "inverse": None, direction: run}
    return jax_map(ways["forward"], ways["inverse"], params, jax.random.normal(jax.random.key(1), shape))


def planar(shape: tuple[int, ...]) -> Calls:
    """A planar layer."""
    return one_way(Planar(jax.random.key(0), dim=shape[-1]), "forward", shape)


def block_autoregressive(shape: tuple[int, ...]) -> Calls:
    """One hidden layer of four units for each coordinate."""
    network = BlockAutoregressiveNetwork(jax.random.key(0), dim=shape[-1], depth=1, block_dim=4)
    return one_way(network, "inverse", shape)


MODELS = {
    "realnvp": realnvp,
    "nsf_coupling": nsf_coupling,
    "maf": maf,
    "maf_wide": maf,
    "iaf": iaf,
    "nsf_autoregressive": nsf_autoregressive,
    "planar": planar,
    "block_autoregressive": block_autoregressive,
}

if __name__ == "__main__":
    serve(MODELS, ("flowjax", "equinox", "jax"), set_jax)

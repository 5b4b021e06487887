"""flowjax: the flows that it offers ready-made; its layers are scanned, as those of jflows are."""

# pyright: reportMissingImports=false
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from serving import Calls, serve, set_jax, waiting


def flow_calls(make: Any, shape: tuple[int, ...], num_layers: int, hidden: int, inner: Any = None) -> Calls:
    """What can be timed of a flow that `make` builds around the inner map."""
    batch, dim = shape
    key = jax.random.key(0)
    sizes: Any = dict(flow_layers=num_layers, nn_width=hidden, nn_depth=2, transformer=inner, invert=True)
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


MODELS = {"realnvp": realnvp, "nsf_coupling": nsf_coupling, "maf": maf, "maf_wide": maf}

if __name__ == "__main__":
    serve(MODELS, ("flowjax", "equinox", "jax"), set_jax)

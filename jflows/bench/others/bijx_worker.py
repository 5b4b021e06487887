"""bijx: couplings of alternate coordinates with networks of two hidden layers."""

# pyright: reportMissingImports=false
from collections.abc import Callable
from typing import Any

import bijx
import jax
import jax.numpy as jnp
from flax import nnx
from serving import Calls, serve, set_jax, waiting


def couplings(make: Callable[[Any], Any], shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """A flow of couplings, whose inner map `make` builds from random streams."""
    batch, dim = shape
    rngs, layers = nnx.Rngs(0), []
    mask = bijx.checker_mask((dim,), True)
    for _ in range(num_layers):
        template = bijx.ModuleReconstructor(make(rngs))
        count, size = mask.count_primary, template.params_total_size
        net = nnx.Sequential(
            nnx.Linear(mask.count_secondary, hidden, rngs=rngs),
            nnx.relu,
            nnx.Linear(hidden, hidden, rngs=rngs),
            nnx.relu,
            nnx.Linear(hidden, count * size, kernel_init=nnx.initializers.normal(0.01), rngs=rngs),
            lambda raw, count=count, size=size: raw.reshape(*raw.shape[:-1], count, size),
        )
        layers.append(bijx.GeneralCouplingLayer(net, mask, template, bijection_event_rank=0, split=True))
        mask = ~mask
    model = bijx.Transformed(bijx.IndependentNormal((dim,)), bijx.Chain(*layers))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    x, key = jax.random.normal(jax.random.key(0), shape), jax.random.key(1)
    log_prob = lambda params, x: nnx.merge(graph, params, rest).log_density(x)
    gradient = jax.value_and_grad(lambda params, x: jnp.mean(log_prob(params, x)))
    sample = lambda params, key: nnx.merge(graph, params, rest).sample((batch,), rng=key)[0]
    return {
        "log_prob": waiting(jax.jit(log_prob), params, x),
        "gradient": waiting(jax.jit(gradient), params, x),
        "sample": waiting(jax.jit(sample), params, key),
    }


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings."""
    return couplings(lambda rngs: bijx.AffineLinear(rngs=rngs), shape, num_layers, hidden)


def nsf_coupling(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Couplings of rational-quadratic splines."""
    del bound  # its splines are of a fixed interval
    return couplings(lambda rngs: bijx.MonotoneRQSpline(num_bins, (), rngs=rngs), shape, num_layers, hidden)


MODELS = {"realnvp": realnvp, "nsf_coupling": nsf_coupling}

if __name__ == "__main__":
    serve(MODELS, ("bijx", "jax"), set_jax)

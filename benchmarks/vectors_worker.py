"""Other libraries' flows on vectors, for `benchmarks/autoregressive.py` and `benchmarks/coupling.py`.

    python vectors_worker.py LIBRARY MODEL DIM LAYERS HIDDEN BATCH

Runs where that library is installed. MODEL is maf, realnvp or nsf (couplings, 8 bins on [-3, 3]), with conditioners of
two hidden layers and ReLU; couplings keep one half of the coordinates and change the other. Reads "log_prob",
"gradient" or "sample", one a line; does it once; answers with milliseconds. "versions" is answered in JSON.
"""

import functools
import itertools
import sys
from collections.abc import Callable

import serving

NUM_BINS, BOUND = 8, 3.0
PACKAGES = {
    "flowjax": ("flowjax", "equinox", "jax"),
    "distrax": ("distrax", "jax"),
    "distrax_masked": ("distrax", "jax"),
    "nflows": ("nflows", "torch"),
    "zuko": ("zuko", "torch"),
}


def flowjax_calls(model: str, dim: int, num_layers: int, hidden: int, batch: int) -> dict[str, Callable[[], object]]:
    """The three things timed, with the flows that flowjax offers ready-made; its layers are scanned, as ours are."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow

    make = masked_autoregressive_flow if model == "maf" else coupling_flow
    spline = RationalQuadraticSpline(knots=NUM_BINS - 1, interval=BOUND) if model == "nsf" else None
    sizes = dict(flow_layers=num_layers, nn_width=hidden, nn_depth=2)
    key = jax.random.key(0)
    flow = make(key, base_dist=Normal(jnp.zeros(dim)), transformer=spline, invert=True, **sizes)
    x = jax.random.normal(key, (batch, dim))
    log_prob = eqx.filter_jit(lambda flow, x: flow.log_prob(x))
    gradient = eqx.filter_jit(eqx.filter_value_and_grad(lambda flow, x: jnp.mean(flow.log_prob(x))))
    sample = eqx.filter_jit(lambda flow, key: flow.sample(key, (batch,)))
    wait = jax.block_until_ready
    return {
        "log_prob": lambda: wait(log_prob(flow, x)),
        "gradient": lambda: wait(jax.tree.leaves(eqx.filter(gradient(flow, x), eqx.is_array))),
        "sample": lambda: wait(sample(flow, key)),
    }


def distrax_calls(is_masked: bool, model: str, dim: int, num_layers: int, hidden: int, batch: int):
    """The three things timed, with distrax: couplings of alternate halves, cut or masked, and plain dense layers."""
    import distrax
    import jax
    import jax.numpy as jnp

    seen = dim if is_masked else dim // 2
    per_element = 3 * NUM_BINS + 1 if model == "nsf" else 2
    sizes = (seen, hidden, hidden, seen * per_element)

    def network(weights, x):
        for kernel, bias in weights[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        return x @ weights[-1][0] + weights[-1][1]

    def inner(raw):
        if model == "nsf":
            raw = raw.reshape(*raw.shape[:-1], seen, per_element)
            return distrax.RationalQuadraticSpline(raw, -BOUND, BOUND, boundary_slopes="identity")
        shift, log_scale = jnp.split(raw, 2, axis=-1)
        return distrax.ScalarAffine(shift, log_scale=2 * jnp.tanh(log_scale / 2))

    def flow(params):
        layers = []
        for index, weights in enumerate(params):
            conditioner = functools.partial(network, weights)
            is_odd = index % 2 == 1
            if is_masked:
                layers.append(distrax.MaskedCoupling((jnp.arange(dim) % 2 == 1) == is_odd, conditioner, inner))
            else:
                layers.append(distrax.SplitCoupling(seen, 1, conditioner, inner, swap=is_odd))
        base = distrax.MultivariateNormalDiag(jnp.zeros(dim), jnp.ones(dim))
        return distrax.Transformed(base, distrax.Chain(layers))

    key, *keys = jax.random.split(jax.random.key(0), 1 + num_layers * 3)
    shapes = list(itertools.pairwise(sizes))
    drawn = [jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(keys, shapes * num_layers, strict=True)]
    dense = [(0.3 * kernel, jnp.zeros(kernel.shape[1])) for kernel in drawn]
    params = [dense[3 * index : 3 * index + 3] for index in range(num_layers)]
    x = jax.random.normal(key, (batch, dim))
    log_prob = jax.jit(lambda params, x: flow(params).log_prob(x))
    gradient = jax.jit(jax.value_and_grad(lambda params, x: jnp.mean(flow(params).log_prob(x))))
    sample = jax.jit(lambda params, key: flow(params).sample(seed=key, sample_shape=(batch,)))
    wait = jax.block_until_ready
    return {
        "log_prob": lambda: wait(log_prob(params, x)),
        "gradient": lambda: wait(gradient(params, x)),
        "sample": lambda: wait(sample(params, key)),
    }


def nflows_model(model: str, dim: int, num_layers: int, hidden: int):
    """As in the examples of nflows: reversals and masked affine maps, or couplings of alternate masks."""
    from nflows import transforms
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.utils import create_alternating_binary_mask

    layers = []
    for index in range(num_layers):
        mask = create_alternating_binary_mask(dim, even=index % 2 == 0)
        network = lambda num_in, num_out: _torch_network(num_in, hidden, num_out)
        if model == "maf":
            settings = dict(num_blocks=2, use_residual_blocks=False)
            masked = transforms.MaskedAffineAutoregressiveTransform(dim, hidden, **settings)
            layers += [transforms.ReversePermutation(dim), masked]
        elif model == "realnvp":
            layers.append(transforms.AffineCouplingTransform(mask, network))
        else:
            settings = dict(num_bins=NUM_BINS, tails="linear", tail_bound=BOUND)
            layers.append(transforms.PiecewiseRationalQuadraticCouplingTransform(mask, network, **settings))
    flow = Flow(transforms.CompositeTransform(layers), StandardNormal([dim]))
    return flow, flow.log_prob, flow.sample


def _torch_network(num_in: int, hidden: int, num_out: int):
    """Dense layers that ignore a context, which nflows hands in."""
    from torch import nn

    class Network(nn.Sequential):
        def forward(self, x, context=None):
            return super().forward(x)

    first, second, last = nn.Linear(num_in, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, num_out)
    return Network(first, nn.ReLU(), second, nn.ReLU(), last)


def zuko_model(model: str, dim: int, num_layers: int, hidden: int):
    """zuko's MAF, its NICE (affine by default), or the same with splines: its NSF would run masked networks."""
    import zuko

    settings = dict(transforms=num_layers, hidden_features=(hidden, hidden))
    if model == "maf":
        flow = zuko.flows.MAF(dim, **settings)
    elif model == "realnvp":
        flow = zuko.flows.NICE(dim, **settings)
    else:
        shapes = [(NUM_BINS,), (NUM_BINS,), (NUM_BINS - 1,)]
        univariate = functools.partial(zuko.transforms.MonotonicRQSTransform, bound=BOUND)
        flow = zuko.flows.NICE(dim, univariate=univariate, shapes=shapes, **settings)
    return flow, lambda x: flow().log_prob(x), lambda batch: flow().sample((batch,))


def torch_calls(build, model: str, dim: int, num_layers: int, hidden: int, batch: int):
    """The three things timed, with a PyTorch library."""
    import torch

    torch.manual_seed(0)
    flow, log_prob, sample = build(model, dim, num_layers, hidden)
    return serving.torch_calls(flow, log_prob, sample, torch.randn(batch, dim))


LIBRARIES = {
    "flowjax": flowjax_calls,
    "distrax": functools.partial(distrax_calls, False),
    "distrax_masked": functools.partial(distrax_calls, True),
    "nflows": functools.partial(torch_calls, nflows_model),
    "zuko": functools.partial(torch_calls, zuko_model),
}


def main() -> None:
    """Answers requests until the input ends."""
    library, model, *numbers = sys.argv[1:]
    serving.serve(LIBRARIES[library](model, *map(int, numbers)), PACKAGES[library])


if __name__ == "__main__":
    main()

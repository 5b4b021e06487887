"""Other libraries' masked autoregressive flows of the same size, for `benchmarks/autoregressive.py`.

    python autoregressive_worker.py LIBRARY DIM LAYERS HIDDEN BATCH

Runs where that library is installed. Reads "log_prob", "gradient" or "sample", one a line; does it once; answers with
milliseconds.
"""

import sys
import time
from collections.abc import Callable


def flowjax_calls(dim: int, num_layers: int, hidden: int, batch: int) -> dict[str, Callable[[], object]]:
    """The three things timed, with flowjax."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow

    key = jax.random.key(0)
    flow = masked_autoregressive_flow(
        key, base_dist=Normal(jnp.zeros(dim)), flow_layers=num_layers, nn_width=hidden, nn_depth=2, invert=True
    )
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


def nflows_model(dim: int, num_layers: int, hidden: int):
    """A stack of reversals and masked affine maps, as in the examples of nflows."""
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms import CompositeTransform, MaskedAffineAutoregressiveTransform, ReversePermutation

    layers = []
    for _ in range(num_layers):
        masked = MaskedAffineAutoregressiveTransform(dim, hidden, num_blocks=2, use_residual_blocks=False)
        layers += [ReversePermutation(dim), masked]
    flow = Flow(CompositeTransform(layers), StandardNormal([dim]))
    return flow, flow.log_prob, flow.sample


def zuko_model(dim: int, num_layers: int, hidden: int):
    """zuko's MAF."""
    import zuko

    flow = zuko.flows.MAF(dim, transforms=num_layers, hidden_features=(hidden, hidden))
    return flow, lambda x: flow().log_prob(x), lambda batch: flow().sample((batch,))


def torch_calls(build, dim: int, num_layers: int, hidden: int, batch: int) -> dict[str, Callable[[], object]]:
    """The three things timed, with a PyTorch library."""
    import torch

    torch.manual_seed(0)
    model, log_prob, sample = build(dim, num_layers, hidden)
    x = torch.randn(batch, dim)

    def gradient() -> None:
        model.zero_grad()
        log_prob(x).mean().backward()

    def without_gradient(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return call()

        return run

    return {
        "log_prob": without_gradient(lambda: log_prob(x)),
        "gradient": gradient,
        "sample": without_gradient(lambda: sample(batch)),
    }


def main() -> None:
    """Answers requests until the input ends."""
    library, *numbers = sys.argv[1:]
    size = tuple(map(int, numbers))
    if library == "flowjax":
        calls = flowjax_calls(*size)
    else:
        calls = torch_calls({"nflows": nflows_model, "zuko": zuko_model}[library], *size)
    for line in sys.stdin:
        start = time.perf_counter()
        calls[line.strip()]()
        print(1e3 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()

"""zuko: its MAF, NSF, NICE (affine by default), NICE with splines in place of the couplings of an NSF, and a spline."""

# pyright: reportMissingImports=false
import functools
from typing import Any

import torch
import zuko
from serving import Calls, serve, set_torch, torch_flow, torch_map


def flow_calls(make: Any, shape: tuple[int, ...], num_layers: int, hidden: int, **more: Any) -> Calls:
    """What can be timed of a flow that `make` builds."""
    flow = make(shape[1], transforms=num_layers, hidden_features=(hidden, hidden), **more)
    return torch_flow(flow, lambda x: flow().log_prob(x), lambda batch: flow().sample((batch,)), torch.randn(shape))


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings."""
    return flow_calls(zuko.flows.NICE, shape, num_layers, hidden)


def nsf_coupling(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Couplings of rational-quadratic splines."""
    univariate = functools.partial(zuko.transforms.MonotonicRQSTransform, bound=bound)
    shapes = [(num_bins,), (num_bins,), (num_bins - 1,)]
    return flow_calls(zuko.flows.NICE, shape, num_layers, hidden, univariate=univariate, shapes=shapes)


def maf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Masked autoregressive layers with affine maps."""
    return flow_calls(zuko.flows.MAF, shape, num_layers, hidden)


def nsf_autoregressive(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Masked autoregressive layers with rational-quadratic splines on its own interval, which is [-5, 5]."""
    del bound
    return flow_calls(zuko.flows.NSF, shape, num_layers, hidden, bins=num_bins)


def rational_quadratic(shape: tuple[int, ...], num_bins: int, bound: float) -> Calls:
    """A rational-quadratic spline with parameters for each number."""
    params = [torch.randn(*shape, count, requires_grad=True) for count in (num_bins, num_bins, num_bins - 1)]
    build = lambda params: zuko.transforms.MonotonicRQSTransform(*params, bound=bound)
    forward = lambda params, z: build(params).inv.call_and_ladj(z)
    inverse = lambda params, x: build(params).call_and_ladj(x)
    return torch_map(forward, inverse, params, 2 * torch.randn(shape))


MODELS = {
    "realnvp": realnvp,
    "nsf_coupling": nsf_coupling,
    "maf": maf,
    "maf_wide": maf,
    "nsf_autoregressive": nsf_autoregressive,
    "rational_quadratic": rational_quadratic,
}

if __name__ == "__main__":
    serve(MODELS, ("zuko", "torch"), set_torch)

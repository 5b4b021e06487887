"""nflows, as in its examples: reversals and masked affine maps, couplings of alternate masks, splines."""

# pyright: reportMissingImports=false
from typing import Any

import torch
from nflows import transforms
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from nflows.utils import create_alternating_binary_mask
from serving import Calls, serve, set_torch, torch_flow, torch_map
from torch import nn


class Network(nn.Sequential):
    """Dense layers that ignore a context, which nflows hands in."""

    def __init__(self, num_in: int, hidden: int, num_out: int):
        first, second = nn.Linear(num_in, hidden), nn.Linear(hidden, hidden)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(hidden, num_out))

    def forward(self, x: Any, context: Any = None) -> Any:
        """Outputs of the last layer."""
        return super().forward(x)


def flow_calls(layers: list[Any], shape: tuple[int, ...]) -> Calls:
    """What can be timed of a flow of these layers."""
    flow = Flow(transforms.CompositeTransform(layers), StandardNormal([shape[1]]))
    return torch_flow(flow, flow.log_prob, flow.sample, torch.randn(shape))


def masks(dim: int, num_layers: int) -> list[Any]:
    """Masks of alternate coordinates, one for each layer."""
    return [create_alternating_binary_mask(dim, even=index % 2 == 0) for index in range(num_layers)]


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings."""
    network = lambda num_in, num_out: Network(num_in, hidden, num_out)
    return flow_calls([transforms.AffineCouplingTransform(m, network) for m in masks(shape[1], num_layers)], shape)


def nsf_coupling(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Couplings of rational-quadratic splines."""
    network = lambda num_in, num_out: Network(num_in, hidden, num_out)
    settings: Any = dict(num_bins=num_bins, tails="linear", tail_bound=bound)
    make = transforms.PiecewiseRationalQuadraticCouplingTransform
    return flow_calls([make(mask, network, **settings) for mask in masks(shape[1], num_layers)], shape)


def maf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Masked autoregressive layers with affine maps, and reversals between them."""
    layers = []
    for _ in range(num_layers):
        masked = transforms.MaskedAffineAutoregressiveTransform(
            shape[1], hidden, num_blocks=2, use_residual_blocks=False
        )
        layers += [transforms.ReversePermutation(shape[1]), masked]
    return flow_calls(layers, shape)


def rational_quadratic(shape: tuple[int, ...], num_bins: int, bound: float) -> Calls:
    """A rational-quadratic spline with parameters for each number."""
    params = [torch.randn(*shape, count, requires_grad=True) for count in (num_bins, num_bins, num_bins - 1)]

    def run(inverse: bool) -> Any:
        settings: Any = dict(inverse=inverse, tails="linear", tail_bound=bound)
        return lambda params, values: unconstrained_rational_quadratic_spline(values, *params, **settings)

    return torch_map(run(True), run(False), params, 2 * torch.randn(shape))


MODELS = {
    "realnvp": realnvp,
    "nsf_coupling": nsf_coupling,
    "maf": maf,
    "maf_wide": maf,
    "rational_quadratic": rational_quadratic,
}

if __name__ == "__main__":
    serve(MODELS, ("nflows", "torch"), set_torch)

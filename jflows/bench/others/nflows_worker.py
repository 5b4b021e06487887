"""nflows, as in its examples: reversals and masked affine maps, couplings of alternate masks, splines."""

# pyright: reportMissingImports=false
from collections.abc import Callable
from typing import Any

import torch
from nflows import transforms
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms import splines
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


def iaf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Inverses of masked autoregressive layers, and reversals between them."""
    layers = []
    for _ in range(num_layers):
        masked = transforms.MaskedAffineAutoregressiveTransform(
            shape[1], hidden, num_blocks=2, use_residual_blocks=False
        )
        layers += [transforms.ReversePermutation(shape[1]), transforms.InverseTransform(masked)]
    return flow_calls(layers, shape)


def nsf_autoregressive(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Masked autoregressive layers with rational-quadratic splines, and reversals between them."""
    settings: Any = dict(num_bins=num_bins, tails="linear", tail_bound=bound, num_blocks=2, use_residual_blocks=False)
    layers = []
    for _ in range(num_layers):
        make = transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform
        layers += [transforms.ReversePermutation(shape[1]), make(shape[1], hidden, **settings)]
    return flow_calls(layers, shape)


def spline(function: Any, *numbers: tuple[int, int]) -> Callable[..., Calls]:
    """What times a spline with (factor, rest) of each kind of parameter, factor * num_bins + rest, for each number."""

    def build(shape: tuple[int, ...], num_bins: int, bound: float) -> Calls:
        counts = [factor * num_bins + rest for factor, rest in numbers]
        params = [torch.randn(*shape, count, requires_grad=True) for count in counts]

        def run(inverse: bool) -> Any:
            settings: Any = dict(inverse=inverse, tails="linear", tail_bound=bound)
            return lambda params, values: function(values, *params, **settings)

        return torch_map(run(True), run(False), params, 2 * torch.randn(shape))

    return build


def layer(make: Callable[..., Any]) -> Callable[..., Calls]:
    """What times a layer, which goes from x to z; `make` takes the dimension and the sizes."""

    def build(shape: tuple[int, ...], **sizes: int) -> Calls:
        made = make(shape[-1], **sizes)
        run = lambda direction: lambda params, values: direction(values)
        return torch_map(run(made.inverse), run(made.forward), list(made.parameters()), torch.randn(shape))

    return build


MODELS = {
    "realnvp": realnvp,
    "nsf_coupling": nsf_coupling,
    "maf": maf,
    "maf_wide": maf,
    "iaf": iaf,
    "nsf_autoregressive": nsf_autoregressive,
    "rational_quadratic": spline(splines.unconstrained_rational_quadratic_spline, (1, 0), (1, 0), (1, -1)),
    "linear_spline": spline(splines.unconstrained_linear_spline, (1, 0)),
    "quadratic_spline": spline(splines.unconstrained_quadratic_spline, (1, 0), (1, -1)),
    "cubic_spline": spline(splines.unconstrained_cubic_spline, (1, 0), (1, 0), (0, 1), (0, 1)),
    "invertible_linear": layer(lambda dim: transforms.LULinear(dim, identity_init=False)),
    "householder": layer(lambda dim, num_reflections: transforms.HouseholderSequence(dim, num_reflections)),
    "qr_linear": layer(lambda dim, num_reflections: transforms.QRLinear(dim, num_reflections)),
    "svd_linear": layer(lambda dim, num_reflections: transforms.SVDLinear(dim, num_reflections, identity_init=False)),
    "leaky_relu": layer(lambda dim: transforms.LeakyReLU()),
}

if __name__ == "__main__":
    serve(MODELS, ("nflows", "torch"), set_torch)

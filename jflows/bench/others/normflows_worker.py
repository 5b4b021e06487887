"""normflows: its Glow, couplings of vectors, masked autoregressive flows, planar and radial layers."""

# pyright: reportMissingImports=false
from collections.abc import Callable
from typing import Any

import normflows as nf
import torch
from serving import Calls, serve, set_torch, torch_flow, torch_map


def flow_calls(layers: list[Any], shape: tuple[int, ...]) -> Calls:
    """What can be timed of a flow of these layers."""
    base = nf.distributions.base.DiagGaussian(shape[1], trainable=False)
    flow = nf.NormalizingFlow(base, layers)
    return torch_flow(flow, flow.log_prob, lambda count: flow.sample(count)[0], torch.randn(shape))


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings, and swaps of the halves between them."""
    kept, layers = shape[1] - shape[1] // 2, []
    for _ in range(num_layers):
        network = nf.nets.MLP([kept, hidden, hidden, 2 * (shape[1] - kept)], init_zeros=False)
        layers += [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(shape[1], mode="swap")]
    return flow_calls(layers, shape)


def maf(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Masked autoregressive layers with affine maps, and swaps of the halves between them."""
    layers = []
    for _ in range(num_layers):
        masked = nf.flows.MaskedAffineAutoregressive(shape[1], hidden, num_blocks=2, use_residual_blocks=False)
        layers += [masked, nf.flows.Permute(shape[1], mode="swap")]
    return flow_calls(layers, shape)


def glow(shape: tuple[int, ...], num_levels: int, num_steps: int, width: int) -> Calls:
    """A Glow of several levels, with a base for each."""
    batch, side, _, channels = shape
    bases, merges, flows = [], [], []
    for level in range(num_levels):  # the coarsest comes first
        maps, cut = channels * 2 ** (num_levels + 1 - level), side // 2 ** (num_levels - level)
        blocks = [nf.flows.GlowBlock(maps, width, split_mode="channel", scale=True) for _ in range(num_steps)]
        flows.append([*blocks, nf.flows.Squeeze()])
        if level > 0:
            merges.append(nf.flows.Merge())
        bases.append(nf.distributions.DiagGaussian((maps if level == 0 else maps // 2, cut, cut)))
    model = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
    x = torch.rand(batch, channels, side, side)
    with torch.no_grad():
        model.log_prob(x, None)  # data-dependent initialisation
    return torch_flow(model, lambda x: model.log_prob(x, None), model.sample, x)


def layer(make: Callable[[int], Any]) -> Callable[..., Calls]:
    """What times the way of a layer from z to x; the other way has no closed form."""

    def build(shape: tuple[int, ...]) -> Calls:
        made = make(shape[-1])
        return torch_map(lambda params, z: made(z), None, list(made.parameters()), torch.randn(shape))

    return build


MODELS = {
    "realnvp": realnvp,
    "maf": maf,
    "maf_wide": maf,
    "glow": glow,
    "planar": layer(lambda dim: nf.flows.Planar((dim,))),
    "radial": layer(lambda dim: nf.flows.Radial((dim,))),
}

if __name__ == "__main__":
    serve(MODELS, ("normflows", "torch"), set_torch)

"""RealNVP of images in other libraries, for `benchmarks/realnvp_images.py`; runs where that library is installed.

    python realnvp_images_worker.py LIBRARY SIDE COUPLINGS BLOCKS WIDTH BATCH

LIBRARY is nflows, normflows or normflows_packed. Reads "log_prob", "gradient" or "sample", one a line; does it once;
answers with milliseconds. "versions" is answered in JSON.
"""

import sys

import torch
from serving import Calls, serve, torch_calls
from torch import nn

COLOURS = 3
PACKAGES = {name: (name.removesuffix("_packed"), "torch") for name in ("nflows", "normflows", "normflows_packed")}


def checkerboard(shape: tuple[int, int, int], flip: bool) -> torch.Tensor:
    """1 where a pixel is kept: [channels, height, width]."""
    channels, height, width = shape
    kept = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == int(flip)
    return kept.float().expand(channels, height, width)


class Plain(nn.Module):
    """Convolutions of 3x3, as many as a residual network of `blocks` blocks has; the last is of 1x1, from zero."""

    def __init__(self, num_in: int, num_out: int, width: int, blocks: int):
        super().__init__()
        layers = [nn.Conv2d(num_in, width, 3, padding=1), nn.ReLU()]
        for _ in range(2 * blocks):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        layers.append(nn.Conv2d(width, num_out, 1))
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


def nflows_model(side: int, couplings: int, blocks: int, width: int):
    """`AffineCouplingTransform` over channels; checkerboards, which nflows lacks, as one transform of its networks."""
    from nflows import transforms
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.nn.nets import ConvResidualNet
    from nflows.utils import sum_except_batch

    class Checkerboard(transforms.Transform):
        """An affine coupling whose network sees the image with zeros in the place of the changed pixels."""

        def __init__(self, shape, flip: bool, maps: int):
            super().__init__()
            self.register_buffer("kept", checkerboard(shape, flip))
            self.network = ConvResidualNet(shape[0], 2 * shape[0], maps, num_blocks=blocks)

        def _parameters_of(self, x):
            shift, log_scale = self.network(x * self.kept).chunk(2, dim=1)
            changed = 1 - self.kept
            return shift * changed, 2 * torch.tanh(log_scale / 2) * changed

        def forward(self, inputs, context=None):
            shift, log_scale = self._parameters_of(inputs)
            return inputs * torch.exp(log_scale) + shift, sum_except_batch(log_scale)

        def inverse(self, inputs, context=None):
            shift, log_scale = self._parameters_of(inputs)
            return (inputs - shift) * torch.exp(-log_scale), -sum_except_batch(log_scale)

    def by_channel(channels: int, flip: bool, maps: int):
        half = torch.arange(channels) < channels // 2
        network = lambda num_in, num_out: ConvResidualNet(num_in, num_out, maps, num_blocks=blocks)
        return transforms.AffineCouplingTransform((half if flip else ~half).long(), network)

    shape, small = (COLOURS, side, side), (2 * COLOURS, side // 2, side // 2)
    whole = transforms.MultiscaleCompositeTransform(2)
    first = [Checkerboard(shape, index % 2 == 1, width) for index in range(couplings)]
    second = [by_channel(4 * COLOURS, index % 2 == 1, 2 * width) for index in range(couplings)]
    rest = whole.add_transform(
        transforms.CompositeTransform([*first, transforms.SqueezeTransform(2), *second]),
        (4 * COLOURS, side // 2, side // 2),
    )
    assert tuple(rest) == small
    last = [Checkerboard(small, index % 2 == 1, 2 * width) for index in range(couplings + 1)]
    whole.add_transform(transforms.CompositeTransform(last), small)
    flow = Flow(whole, StandardNormal([COLOURS * side * side]))
    return flow, flow.log_prob, flow.sample


def normflows_model(packed: bool, side: int, couplings: int, blocks: int, width: int):
    """`MaskedAffineFlow`, a network each for scale and shift, or `AffineCouplingBlock` of the pixels of one colour."""
    import normflows as nf

    def board(shape, flip: bool, maps: int):
        if packed:
            network = Plain(shape[0], 2 * shape[0], maps, blocks)
            mode = "checkerboard_inv" if flip else "checkerboard"
            return nf.flows.AffineCouplingBlock(network, split_mode=mode, scale_map="sigmoid")
        networks = [Plain(shape[0], shape[0], maps, blocks) for _ in range(2)]
        return nf.flows.MaskedAffineFlow(checkerboard(shape, flip), *networks)

    def by_channel(channels: int, flip: bool, maps: int):
        network = Plain(channels // 2, channels, maps, blocks)
        mode = "channel_inv" if flip else "channel"
        return nf.flows.AffineCouplingBlock(network, split_mode=mode, scale_map="sigmoid")

    shape, small = (COLOURS, side, side), (2 * COLOURS, side // 2, side // 2)
    coarse = [board(small, index % 2 == 1, 2 * width) for index in range(couplings + 1)]
    fine = [by_channel(4 * COLOURS, index % 2 == 1, 2 * width) for index in range(couplings)]
    fine += [nf.flows.Squeeze(), *(board(shape, index % 2 == 1, width) for index in range(couplings))]
    bases = [nf.distributions.DiagGaussian(small, trainable=False) for _ in range(2)]
    model = nf.MultiscaleFlow(bases, [coarse, fine], [nf.flows.Merge()], class_cond=False)
    return model, lambda x: model.log_prob(x, None), lambda batch: model.sample(batch)


def build(library: str, *sizes: int):
    """The model, its log density and its sampler."""
    if library == "nflows":
        return nflows_model(*sizes)
    return normflows_model(library == "normflows_packed", *sizes)


def calls_of(library: str, side: int, couplings: int, blocks: int, width: int, batch: int) -> Calls:
    """The three things timed; parameters are away from zero, for which inverses would cost nothing."""
    torch.manual_seed(0)
    model, log_prob, sample = build(library, side, couplings, blocks, width)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return torch_calls(model, log_prob, sample, torch.randn(batch, COLOURS, side, side))


def main() -> None:
    """Answers requests until the input ends."""
    library, *numbers = sys.argv[1:]
    serve(calls_of(library, *map(int, numbers)), PACKAGES[library])


if __name__ == "__main__":
    main()

"""normflows' Glow of the same size, for `benchmarks/glow.py versus`; runs where torch and normflows are installed.

Reads "log_prob", "gradient" or "sample", one a line; does it once; answers with milliseconds.
"""

import normflows as nf
import torch
from serving import serve, torch_calls

LEVELS, STEPS, WIDTH, BATCH, IMAGE = 3, 8, 128, 16, (3, 32, 32)


def build() -> nf.MultiscaleFlow:
    """Glow as in the examples of normflows, with the sizes of the comparison."""
    bases, merges, flows = [], [], []
    for level in range(LEVELS):  # the coarsest comes first
        channels = IMAGE[0] * 2 ** (LEVELS + 1 - level)
        side = IMAGE[1] // 2 ** (LEVELS - level)
        blocks = [nf.flows.GlowBlock(channels, WIDTH, split_mode="channel", scale=True) for _ in range(STEPS)]
        flows.append([*blocks, nf.flows.Squeeze()])
        if level > 0:
            merges.append(nf.flows.Merge())
        latent_channels = channels if level == 0 else channels // 2
        bases.append(nf.distributions.DiagGaussian((latent_channels, side, side)))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


def main() -> None:
    """Answers requests until the input ends."""
    torch.manual_seed(0)
    model = build()
    x = torch.rand(BATCH, *IMAGE)
    with torch.no_grad():
        model.log_prob(x, None)  # data-dependent initialisation
    serve(torch_calls(model, lambda x: model.log_prob(x, None), model.sample, x))


if __name__ == "__main__":
    main()

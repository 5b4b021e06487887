"""normflows' side of `benchmarks/glow_quality.py`: the same architecture, trained on the same rows, noise and batches.

    python benchmarks/glow_quality_worker.py ROWS.npz SEED          # where torch and normflows are installed

Prints one JSON object. The constants and `stream` are shared with the jflows side, which imports them: this module
loads torch only when it runs.
"""

import json
import math
import sys
import time
from collections.abc import Iterator

import numpy as np

LEVELS, STEPS, WIDTH, SIDE = 2, 4, 32, 28
BATCH, UPDATES, RATE, LEVELS_OF_PIXELS = 64, 600, 1e-3, 256
SCORED = 500  # rows per call when scoring
DIM = SIDE * SIDE


def stream(rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Batches of pixels with uniform noise in [-0.5, 0.5), float32 [batch, side, side, 1]; without end."""
    random = np.random.RandomState(seed)
    while True:
        order = random.permutation(len(rows))
        for start in range(0, len(rows) - BATCH + 1, BATCH):
            yield noisy(rows[order[start : start + BATCH]], random)


def noisy(pixels: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Pixels 0..255 plus uniform noise, centred: float32 in [-0.5, 0.5)."""
    return ((pixels + random.random_sample(pixels.shape)) / LEVELS_OF_PIXELS - 0.5).astype(np.float32)


def bits_per_dim(log_prob: np.ndarray) -> dict[str, float]:
    """Mean and standard error over rows, from log densities in nats of pixels in [-0.5, 0.5)."""
    bits = math.log2(LEVELS_OF_PIXELS) - np.asarray(log_prob, np.float64) / (DIM * math.log(2))
    return {"test_bits_per_dim": float(bits.mean()), "standard_error": float(bits.std(ddof=1) / math.sqrt(len(bits)))}


def build():
    """Glow as in the examples of normflows."""
    import normflows as nf

    bases, merges, flows = [], [], []
    for level in range(LEVELS):  # the coarsest comes first
        channels, side = 2 ** (LEVELS + 1 - level), SIDE // 2 ** (LEVELS - level)
        blocks = [nf.flows.GlowBlock(channels, WIDTH, split_mode="channel", scale=True) for _ in range(STEPS)]
        flows.append([*blocks, nf.flows.Squeeze()])
        if level > 0:
            merges.append(nf.flows.Merge())
        bases.append(nf.distributions.DiagGaussian((channels if level == 0 else channels // 2, side, side)))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)


def count(model) -> tuple[int, int]:
    """Parameters as stored, and those that are used: of each L and U, the triangle that is not masked."""
    stored = sum(p.numel() for p in model.parameters())
    masked = sum(p.shape[0] * (p.shape[0] + 1) // 2 for n, p in model.named_parameters() if n.endswith((".L", ".U")))
    return stored, stored - masked


def main() -> None:
    """Trains and scores one seed."""
    import normflows
    import torch

    path, seed = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    with np.load(path) as rows:
        train, test = rows["train"], rows["test"]
    tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    model, batches, started = build(), stream(train, seed), time.perf_counter()
    with torch.no_grad():
        model.log_prob(tensor(next(batches)), None)  # data-dependent initialisation
    optimizer, losses = torch.optim.Adam(model.parameters(), RATE), []
    for _ in range(UPDATES):
        optimizer.zero_grad()
        loss = -model.log_prob(tensor(next(batches)), None).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seconds, scored = time.perf_counter() - started, noisy(test, np.random.RandomState(0))
    with torch.no_grad():
        parts = [model.log_prob(tensor(scored[i : i + SCORED]), None).numpy() for i in range(0, len(scored), SCORED)]
    stored, used = count(model)
    last = bits_per_dim(-np.array(losses[-100:]))["test_bits_per_dim"]
    row = {"train_bits_per_dim_last_100": last, "stored_parameters": stored, "used_parameters": used}
    row |= {"seconds": round(seconds, 1), "normflows": normflows.__version__, "torch": torch.__version__}
    print(json.dumps(bits_per_dim(np.concatenate(parts)) | row))


if __name__ == "__main__":
    main()

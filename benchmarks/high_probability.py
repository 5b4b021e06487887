"""What is the high-probability region of a base in D dimensions? Three definitions, of three bases, as JSON lines.

    python benchmarks/high_probability.py > benchmarks/results/high_probability.jsonl

Each row is a base, D and a definition of `jflows.eval.coherence.regions`: bounds of the distance from the mean in
deviations and of ln p(u) in nats, and the share of the base inside. Normals have closed forms; Student t is by 2,000
draws.
"""

import json

import numpy as np

from jflows.eval.coherence import normal_base, regions_of, student_t_base

DIMENSIONS = (2, 64, 784, 3072, 49152)
SPREAD = 0.5  # deviation of the log deviations of the diagonal base
DEGREES = 5.0


def bases(dim: int):
    """The bases of a flow: N(0, I), a diagonal normal, and Student t with 5 degrees of freedom."""
    deviation = np.exp(SPREAD * np.random.default_rng(0).standard_normal(dim))
    yield "normal", normal_base((dim,))
    yield "diagonal", normal_base((dim,), 0.0, deviation)
    yield "student_t", student_t_base((dim,), DEGREES)


def main() -> None:
    """Prints the rows."""
    for dim in DIMENSIONS:
        for name, base in bases(dim):
            for region in regions_of(base):
                numbers = {
                    "radius": [round(float(value), 3) for value in region.radius],
                    "log_prob": [round(float(value), 2) if np.isfinite(value) else None for value in region.log_prob],
                    "base_share": float(f"{region.base_share:.4g}"),
                    "standard_error": round(region.standard_error, 5),
                }
                print(json.dumps({"base": name, "dim": dim, "region": region.name, **numbers}), flush=True)


if __name__ == "__main__":
    main()

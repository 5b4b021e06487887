"""What sees the modes of latents, and what does not? Latents with a known number of modes are drawn and tested.

    python benchmarks/modality.py [--rows divergence,student,power] [--seeds 40] [--sets 199] > modality.jsonl
    python benchmarks/modality.py --figure docs/latent_modes.png

"divergence": KL(t || MAP normal) of the conjugate posterior predictive, in nats for 64 dimensions, for n latents of one
mode, or of two at a distance of 6 deviations in every dimension. "student": degrees of freedom of a fitted t, and the
gain over a normal on held-out numbers of that t and of two normals, for two modes in one dimension.

"power": the share of `--seeds` sets with p <= 0.05 by `modality`, all tests together, by the dip beside uniform samples
("unimodal"), and by each test; of one mode, 5 times as many sets. Modes are normals of deviation 1: two and three of
them on a line, with `separation` between neighbours; ten at random places, whose distances are `separation` on
average. "whitened" multiplies latents by the matrix that makes their covariance 1, so that variances do not show where
modes are; it is known, not estimated. "given" has one direction more, not counted in all tests together: the difference
of the means of the first two modes, over as many other rows.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from jflows.eval.coherence import gaussian_gamma
from jflows.eval.modes import (
    fit_student_t,
    fit_two_normals,
    mixture_gain,
    modality,
    modality_null,
    predictive_divergence,
    student_gain,
)
from jflows.eval.modes.dip import dips
from jflows.eval.modes.gain import crossed_gains

LEVEL = 0.05
SIZES = [(num, dim) for dim in (2, 16, 64) for num in (500, 2000)]
MODES = [(1, 0.0), (2, 3.0), (2, 4.0), (2, 6.0), (3, 4.0), (10, 6.0), (10, 10.0)]


def divergence() -> Iterator[dict[str, Any]]:
    """Rows of the predictive divergence."""
    for num in (100, 1000, 10_000, 100_000):
        for modes in (1, 2):
            random = np.random.default_rng(num)
            z = random.standard_normal((num, 64)) + 6.0 * (modes - 1) * random.integers(0, 2, (num, 1))
            found = predictive_divergence(gaussian_gamma((64,)).update(z))
            row = {"row": "divergence", "num": num, "dim": 64, "modes": modes}
            yield row | {"nats": found.total, "standard_error": found.standard_error}


def student(num: int = 2000) -> Iterator[dict[str, Any]]:
    """Rows of fitted t, means over ten sets of numbers."""
    for separation in (0.0, 3.0, 4.0, 6.0):
        found = []
        for seed in range(10):
            random = np.random.default_rng(seed)
            x = random.standard_normal(num) + separation * random.integers(0, 2, num)
            found.append((float(fit_student_t(x).degrees), student_gain(x), mixture_gain(x)))
        degrees, of_t, of_two = np.array(found).T
        row = {"row": "student", "num": num, "separation": separation, "median_degrees": float(np.median(degrees))}
        yield row | {"student_gain": round(of_t.mean(), 5), "mixture_gain": round(of_two.mean(), 5)}


class Latents:
    """Latents with a known number of modes.

    Args:
      seed: of the places of modes, and of all draws.
    """

    def __init__(self, dim: int, modes: int, separation: float, whitened: bool, seed: int):
        self.random = np.random.default_rng(seed)
        if modes > 3:
            self.means = self.random.standard_normal((modes, dim)) * separation / np.sqrt(2 * dim)
        else:
            self.means = np.zeros((modes, dim))
            self.means[:, 0] = separation * np.arange(modes)
        covariance = np.eye(dim) + np.cov(self.means.T, bias=True).reshape(dim, dim)
        self.mix = np.linalg.inv(np.linalg.cholesky(covariance)).T if whitened else np.eye(dim)

    def draw(self, num: int) -> tuple[np.ndarray, np.ndarray]:
        """Latents [num, dim], and the mode of each."""
        label = self.random.integers(0, len(self.means), num)
        return (self.means[label] + self.random.standard_normal((num, self.means.shape[1]))) @ self.mix, label


def power(seeds: int, sets: int) -> Iterator[dict[str, Any]]:
    """Rows of false alarms and power."""
    for num, dim in SIZES:
        start = time.perf_counter()
        # Of a normal, any direction has the null of any other; so one null serves whatever direction is given.
        whole = modality_null(num, dim, directions=np.eye(dim, 1), num_sets=sets, seed=1)
        null = whole._replace(directions=np.zeros((dim, 0)), statistics=whole.statistics[:, :, :-1])
        of_given = whole.statistics[:, :, -1]
        seconds = (time.perf_counter() - start) / sets
        for whitened in (False, True):
            for modes, separation in MODES:
                if modes == 1 and whitened:
                    continue
                found = [
                    tried(Latents(dim, modes, separation, whitened, seed), num, null, of_given)
                    for seed in range(5 * seeds if modes == 1 else seeds)
                ]
                row = {"row": "power", "num": num, "dim": dim, "modes": modes, "separation": separation}
                row |= {"whitened": whitened, "seeds": len(found), "sets": sets, "seconds_per_set": round(seconds, 3)}
                yield row | {name: round(float(np.mean([each[name] for each in found])), 3) for name in found[0]}


def tried(latents: Latents, num: int, null: Any, of_given: np.ndarray) -> dict[str, bool]:
    """Which tests call these latents several modes."""
    (z, _), (others, label) = latents.draw(num), latents.draw(num)
    report = modality(z, null)
    found = {"all": report.p_value <= LEVEL, "unimodal": report.unimodal_p_value <= LEVEL}
    found |= {test.name: test.p_value <= LEVEL for test in report.tests}
    if len(latents.means) > 1:
        shadow = (z @ (others[label == 1].mean(axis=0) - others[label == 0].mean(axis=0)))[None]
        for name, value, column in zip(("dip", "gain"), (dips(shadow), crossed_gains(shadow)), of_given.T, strict=True):
            found[f"{name}_given"] = bool((1 + (column >= value).sum()) / (1 + len(column)) <= LEVEL)
    return found


def draw(path: str, num: int = 2000) -> None:
    """Draws the divergence, and what a normal, a t and two normals make of two modes."""
    from matplotlib.figure import Figure
    from scipy.stats import t

    from jflows.eval.drawing import BEFORE, GREY, INK, plain, save
    from jflows.eval.modes.figure import draw_projection

    figure = Figure(figsize=(9.2, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = list(divergence())
    for modes, style, colour in ((1, "-", GREY), (2, "o", BEFORE)):
        own = [row for row in rows if row["modes"] == modes]
        words = f"{modes} mode{'s' if modes > 1 else ''}"
        left.plot([row["num"] for row in own], [row["nats"] for row in own], style, color=colour, label=words)
    left.set(xscale="log", yscale="log", xlabel="latents", ylabel="KL(t || MAP normal), nats")
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8.5)
    plain(left, "both")
    random = np.random.default_rng(0)
    x = random.standard_normal(num) + 4.0 * random.integers(0, 2, num) - 2.0
    draw_projection(
        right, x, type(fit_two_normals(x[None]))(*(np.asarray(part)[0] for part in fit_two_normals(x[None])))
    )
    own, at = fit_student_t(x), np.linspace(x.min(), x.max(), 400)
    right.plot(at, t.pdf(at, own.degrees, own.location, own.scale), ":", color=INK, linewidth=1.8, label="fitted t")
    right.legend(frameon=False, fontsize=8.5)
    right.set_xlabel("latents along one direction")
    save(figure, path)


def main() -> None:
    """Reads the command line and prints the rows, or draws the figure."""
    parser = argparse.ArgumentParser(description="What sees modes of latents.")
    parser.add_argument("--rows", default="divergence,student,power")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--sets", type=int, default=199)
    parser.add_argument("--figure")
    options = parser.parse_args()
    if options.figure:
        draw(options.figure)
        return
    kinds = {"divergence": divergence, "student": student, "power": lambda: power(options.seeds, options.sets)}
    for kind in options.rows.split(","):
        for row in kinds[kind]():
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

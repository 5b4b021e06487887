"""`calibration`: whether a conditional density is as wide as it should be, by ranks of true values among its draws.

If x given its context follows the density p(. | context), the rank of x among draws of p(. | context) is uniform, for
each dimension by itself, and for the density of x among the densities of draws. A density that is too narrow has too
many ranks at both ends, and its regions of largest density hold too few true values.

Read next: `jflows/eval/latent_tests`, which tests the latents of all dimensions together.
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidValueError
from jflows.eval.drawing import GREY, INK, plain
from jflows.flows import Flow
from jflows.options import AtLeastTwo, Option, Seed, checked
from jflows.typing import Array, Batch, Key, Variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_CASES = 20
BAND, CURVE = "#dcdcdc", "#4f6fa0"
COVERAGE = "coverage"


class Ranks(NamedTuple):
    """The ranks of true values among draws of a density, see `ranks_of`.

    Attributes:
      values: int [num, dim], how many of the draws are below x in each dimension.
      density: int [num], how many of the draws have a lower density than x.
      num_draws: number of draws for each case.
    """

    values: np.ndarray
    density: np.ndarray
    num_draws: int


class CalibrationTest(NamedTuple):
    """The test of one dimension, or of the coverage of regions of highest density.

    Attributes:
      name: the number of the dimension, or "coverage".
      width: the logarithm of how much too narrow the density is, as far as ranks tell; 0 is right, and of a normal that
        has 0.9 times its right deviation it is about -2 log(0.9) = 0.21. Of coverage, it is that of the mean of -log u.
      place: the mean of ranks as normal scores: above 0 if x lies above the middle of the draws; 0 of coverage.
      ks: the Kolmogorov-Smirnov distance of ranks from uniform ones.
      p_value: of the three together, by their ranks among sets of uniform ranks.
    """

    name: str
    width: float
    place: float
    ks: float
    p_value: float


class Calibration(NamedTuple):
    """The result of `calibration`.

    Attributes:
      p_value: of all tests together, by Bonferroni, as dimensions depend on each other in an unknown way.
      tests: one for each dimension, then that of coverage.
      levels, coverage: [19], levels 0.05 to 0.95, and the share of true values in the region of highest density that
        has this probability; a density that is too narrow covers less.
    """

    p_value: float
    tests: tuple[CalibrationTest, ...]
    levels: np.ndarray
    coverage: np.ndarray


@checked
def calibration(ranks: Ranks, *, num_sets: Annotated[int, Option(low=19)] = 1999, seed: Seed = 0) -> Calibration:
    """Tests whether ranks of true values are uniform.

        u = (rank + 1/2) / (num_draws + 1),   width = log(mean of g^2 / that of uniform ranks),   g = Phi^-1(u)
        p = (1 + number of sets of uniform ranks that are at least as far out) / (1 + number of sets)

    A density that knows nothing, the same for all contexts, passes too if it is the mean over contexts: calibration
    says that a density is honest, and the log-likelihood how much it knows.

    Source: Talts et al. 2018, arXiv:1804.06788, theorem 1 (ranks are uniform); Hermans et al. 2022, arXiv:2110.06581,
    section 2 (expected coverage). Differs: tested by the place and the width of ranks beside their ks, as a density
    that is somewhat too narrow changes the width by more standard errors.

    Args:
      ranks: by `ranks_of`, or of the draws of any library.
      num_sets: number of sets of uniform ranks, which are cheap.
      seed: seed of these.
    Raises:
      InvalidValueError: if there are less than 20 cases, or ranks are not in 0..num_draws.
    """
    columns = _checked_ranks(ranks)
    num, steps = len(columns), ranks.num_draws + 1
    uniform = np.random.RandomState(seed % 2**32).randint(0, steps, (num_sets, num))
    null = {True: _statistics(uniform, steps, True), False: _statistics(uniform, steps, False)}
    tests = []
    for place in range(columns.shape[1]):
        of_density = place == columns.shape[1] - 1
        own = _statistics(columns[None, :, place], steps, of_density)
        every = np.concatenate([own, null[of_density]])
        spread = every.std(axis=0)
        far = (every - every.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        far = np.concatenate([np.abs(far[:, :2]), far[:, 2:]], axis=1).max(axis=1)
        width, middle, ks = map(float, own[0])
        name = COVERAGE if of_density else str(place)
        tests.append(CalibrationTest(name, width, middle, ks, float(np.mean(far >= far[0]))))
    levels = np.linspace(0.05, 0.95, 19)
    u = (columns[:, -1] + 0.5) / steps
    coverage = np.array([np.mean(u > 1 - level) for level in levels])
    return Calibration(min(1.0, len(tests) * min(test.p_value for test in tests)), tuple(tests), levels, coverage)


def _statistics(ranks: np.ndarray, steps: int, of_density: bool) -> np.ndarray:
    """Width, place and ks of sets of ranks: [sets, num] -> [sets, 3]; a density is too narrow if its ranks are low."""
    from scipy.special import ndtri

    u = (np.arange(steps) + 0.5) / steps
    if of_density:
        sizes, places = -np.log(u), np.zeros(steps)
    else:
        sizes, places = ndtri(u) ** 2, ndtri(u)
    counts = np.stack([np.bincount(own, minlength=steps) for own in ranks]) / ranks.shape[1]
    width = np.log(np.maximum(counts @ sizes, np.finfo(np.float64).tiny) / sizes.mean())
    ks = np.abs(counts.cumsum(axis=1) - np.arange(1, steps + 1) / steps).max(axis=1)
    return np.stack([width, counts @ places, ks], axis=1)


def _checked_ranks(ranks: Ranks) -> np.ndarray:
    """Ranks of all dimensions, then those of the density: int [num, dim + 1]."""
    values, density = np.asarray(ranks.values), np.asarray(ranks.density)
    if values.ndim != 2 or density.shape != values.shape[:1] or len(values) < LEAST_CASES:
        rule = f"must be of the shapes [num, dim] and [num], num >= {LEAST_CASES}"
        raise InvalidValueError("calibration", "ranks", rule, f"shapes {values.shape} and {density.shape}")
    columns = np.concatenate([values, density[:, None]], axis=1)
    if columns.dtype.kind not in "ui" or columns.min() < 0 or columns.max() > ranks.num_draws:
        got = f"{columns.dtype} from {columns.min()} to {columns.max()}"
        raise InvalidValueError("calibration", "ranks", f"must be integers in 0..{ranks.num_draws}", got)
    return columns


@checked
def ranks_of(flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key, num_draws: AtLeastTwo = 99) -> Ranks:
    """The ranks of rows among draws of the flow with the contexts of these rows.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
      key: key of the draws.
      num_draws: number of draws for each row; time grows in proportion.
    Raises:
      InvalidValueError: if the flow is one of integers, whose ranks have ties.
    """
    if flow.dequantize is not None:
        raise InvalidValueError("ranks_of", "flow", "must be of data that are floats", "a flow of integers")
    parts = []
    for number, batch in enumerate(batches):
        found = _ranks(flow, variables, batch, jax.random.fold_in(key, number), num_draws)
        parts.append([np.asarray(each)[np.asarray(batch.weight) > 0] for each in found])
    values, density = map(np.concatenate, zip(*parts, strict=True))
    return Ranks(values, density, num_draws)


@functools.partial(jax.jit, static_argnames=("flow", "num_draws"))
def _ranks(flow: Flow, variables: Variables, batch: Batch, key: Key, num_draws: int) -> tuple[Array, Array]:
    num = len(batch.x)
    draw_key, own_key = jax.random.split(key)
    shape = (num_draws, num) if batch.context is None else (num_draws,)
    drawn = flow.sample(variables, draw_key, shape, batch.context)
    noise = own_key if flow.estimates_log_det else None
    of_draws, of_x = (flow.log_prob(variables, x, batch.context, noise) for x in (drawn, batch.x))
    below = jnp.sum(drawn < batch.x, axis=0).reshape(num, -1)
    return below, jnp.sum(of_draws < of_x, axis=0)


def calibration_figure(found: Calibration, ranks: Ranks, title: str = "") -> "Figure":
    """Draws the distribution function of ranks minus that of uniform ones, and the coverage, with 95 % bands.

    Bands hold each point by itself, by the binomial distribution; the p-values of `found` are of whole curves.

    Args:
      title: text above the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from scipy.stats import binom

    figure = Figure(figsize=(9.6, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    num, steps = len(ranks.values), ranks.num_draws + 1
    at = np.arange(1, steps) / steps
    for column in np.asarray(ranks.values).T:
        below = np.bincount(column, minlength=steps).cumsum()[:-1] / num
        left.plot(at, below - at, color=CURVE, linewidth=1.1, alpha=max(0.15, 1 / ranks.values.shape[1]))
    right.plot(found.levels, found.coverage - found.levels, "o-", color=CURVE, markersize=3.5, linewidth=1.1)
    for axes, levels in ((left, at), (right, found.levels)):
        low, high = (binom.ppf(share, num, levels) / num - levels for share in (0.025, 0.975))
        axes.fill_between(levels, low, high, color=BAND, linewidth=0, zorder=0)
        axes.axhline(0, color=GREY, linewidth=0.9)
        plain(axes, "y")
        axes.set_xlim(0, 1)
    left.set(xlabel="share of draws below", ylabel="true values below, less that share")
    right.set(xlabel="probability of the region of highest density", ylabel="true values inside, less that share")
    head = f"{title}: " if title else ""
    words = f"{head}ranks of {num:,} cases among {ranks.num_draws:,} draws; p = {found.p_value:.3g}"
    figure.suptitle(words, x=0.01, ha="left", fontsize=11, color=INK)
    return figure

"""What the "high-probability region" of a base is in D dimensions: three definitions, which part as D grows.

    mode     the points within one deviation of the mode, |u| <= 1, where a unit of volume holds most probability
    highest  the smallest region that holds 95 %: all points of ln p(u) above a bound; for N(0, I) the ball whose
             squared radius is the 95 % quantile of chi-squared with D degrees of freedom
    typical  the middle 95 % of ln p(u) over draws, around its mean, which is -D/2 ln(2 pi e) for N(0, I); a shell

For N(0, I), |u| is about sqrt(D - 1/2) +- 0.71 for every D. In two dimensions the ball around the mode holds 39 %, and
all three overlap. In 64, it holds almost nothing that is ever drawn, though the point of the largest density is in it.
The ball of highest density holds the mode and 95 % of all draws, which lie in the outermost part of it alone.

Source: Nalisnick et al. 2019, arXiv:1906.02994, section 2; Cover and Thomas 2006, chapter 8 (typical sets); Hyndman
1996, The American Statistician 50 (highest density regions). Read next: `shells.py`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.coherence.base import LatentBase
from jflows.eval.coherence.class_gaussian import LOG_2PI
from jflows.options import Count, Fraction, Seed, checked

MASS = 0.95
MODE_RADIUS = 1.0
NUM_DRAWS = 2000
LEAST_DRAWS = 100
DEFINITIONS = {
    "mode": "mode: the ball of one deviation around it",
    "highest": "highest density: the smallest region that holds {mass:.0%} of the base",
    "typical": "typical set: the middle {mass:.0%} of ln p(u) over draws of the base",
}


class Region(NamedTuple):
    """One definition of the high-probability region of a base.

    Attributes:
      name: mode, highest or typical.
      log_prob: the least and the largest ln p(u) inside, in nats.
      radius: the least and the largest distance from the mean inside, in deviations of each entry; where the region is
        not one of radii, the middle 95 % of those of draws inside.
      base_share: the share of the base inside.
      standard_error: the standard error of `base_share`; 0 for a closed form.
    """

    name: str
    log_prob: tuple[float, float]
    radius: tuple[float, float]
    base_share: float
    standard_error: float = 0.0

    def inside(self, radius: ArrayLike, log_prob: ArrayLike) -> np.ndarray:
        """Which latents are inside, by their radius and ln p(u): bool [num]."""
        values, (low, high) = (radius, self.radius) if self.name == "mode" else (log_prob, self.log_prob)
        return (np.asarray(values) >= low) & (np.asarray(values) <= high)


@checked
def normal_regions(dim: Count, mass: Fraction = MASS) -> tuple[Region, ...]:
    """The three regions of N(0, I) in `dim` dimensions, in closed form.

        highest: |u|^2 <= chi2_D(mass);   typical: chi2_D((1 - mass) / 2) <= |u|^2 <= chi2_D((1 + mass) / 2)

    Args:
      dim: D >= 1.
      mass: the probability that highest and typical hold.
    Example:
      >>> for region in normal_regions(3072):
      ...     print(region.name, [round(r, 2) for r in region.radius], [round(p, 1) for p in region.log_prob])
      mode [0.0, 1.0] [-2823.5, -2823.0]
      highest [0.0, 56.59] [-4424.0, -2823.0]
      typical [54.04, 56.81] [-4436.7, -4283.1]
    """
    from scipy.stats import chi2

    log_prob = lambda radius: -0.5 * (dim * LOG_2PI + radius**2)
    quantile = lambda share: float(np.sqrt(chi2.ppf(share, dim)))
    spans = {
        "mode": (0.0, MODE_RADIUS),
        "highest": (0.0, quantile(mass)),
        "typical": (quantile((1 - mass) / 2), quantile((1 + mass) / 2)),
    }
    shares = {"mode": float(chi2.cdf(MODE_RADIUS**2, dim)), "highest": mass, "typical": mass}
    return tuple(Region(name, (log_prob(b), log_prob(a)), (a, b), shares[name]) for name, (a, b) in spans.items())


@checked
def drawn_regions(
    radius: ArrayLike, log_prob: ArrayLike, mode_log_prob: float, mass: Fraction = MASS
) -> tuple[Region, ...]:
    """The three regions of any base from draws of it, by Monte Carlo.

    Args:
      radius: the distance of draws from the mean in deviations, [num], num >= 100.
      log_prob: ln p(u) of the draws in nats, [num].
      mode_log_prob: ln p at the mode, the largest that there is.
      mass: the probability that highest and typical hold.
    Raises:
      InvalidValueError: if there are fewer than 100 draws, or numbers are not finite.
    """
    far, nats = np.asarray(radius, np.float64), np.asarray(log_prob, np.float64)
    finite = np.isfinite(far).all() and np.isfinite(nats).all()
    if far.ndim != 1 or far.shape != nats.shape or len(far) < LEAST_DRAWS or not finite:
        rule = f"must be finite numbers [num] of one length, at least {LEAST_DRAWS}"
        got = f"shapes {far.shape} and {nats.shape}" + ("" if finite else " with NaN or infinite ones")
        raise InvalidValueError("drawn_regions", ("radius", "log_prob"), rule, got)
    low, least, most = np.quantile(nats, (1 - mass, (1 - mass) / 2, (1 + mass) / 2))
    top = max(mode_log_prob, float(nats.max()))
    near = far <= MODE_RADIUS
    found = [Region("mode", (float(nats[near].min()) if near.any() else np.nan, top), (0.0, MODE_RADIUS), near.mean())]
    for name, span in (("highest", (float(low), top)), ("typical", (float(least), float(most)))):
        inside = (nats >= span[0]) & (nats <= span[1])
        ends = np.quantile(far[inside], ((1 - mass) / 2, (1 + mass) / 2))
        found.append(Region(name, span, (float(ends[0]), float(ends[1])), inside.mean()))
    errors = [float(np.sqrt(max(each.base_share * (1 - each.base_share), 0.0) / len(far))) for each in found]
    return tuple(
        each._replace(base_share=float(each.base_share), standard_error=error)
        for each, error in zip(found, errors, strict=True)
    )


@checked
def regions_of(
    base: LatentBase,
    mass: Fraction = MASS,
    num_draws: Count = NUM_DRAWS,
    seed: Seed = 0,
    context: ArrayLike | None = None,
) -> tuple[Region, ...]:
    """The regions of a base: closed forms for normals, and else by draws of it, `num_draws` of them.

    A diagonal normal has the distances of N(0, I), and ln p(u) is less by the sum of its log deviations.

    Args:
      context: contexts [num, *context_shape] that draws have in turn, for the base of a conditional flow.
    Raises:
      InvalidValueError: for fewer than 100 draws.
    """
    given = None if context is None else np.asarray(context)
    first = None if given is None else given[:1]  # normals in closed form are the same for all contexts
    if base.is_normal:
        shift = float(np.log(base.moments(first)[1]).sum())
        return tuple(
            region._replace(log_prob=(region.log_prob[0] - shift, region.log_prob[1] - shift))
            for region in normal_regions(base.dim, mass)
        )
    size, far, nats = max(1, 2**23 // base.dim), [], []
    for start in range(0, num_draws, size):
        rows = np.arange(start, min(start + size, num_draws))
        own = None if given is None else given[rows % len(given)]
        drawn = base.draw(len(rows), seed + start, own, 1.0)
        far.append(base.radius(drawn, own))
        nats.append(base.log_prob(drawn, own))
    at_mean = base.moments(first)[0].reshape(1, *base.latent_shape)  # the mode of all bases that are symmetric
    return drawn_regions(np.concatenate(far), np.concatenate(nats), float(base.log_prob(at_mean, first)[0]), mass)

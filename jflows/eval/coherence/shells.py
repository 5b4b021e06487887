"""`shell`, `shells_by_radius`: what share of samples fails a stated check, in each shell of the latent space.

Draws of N(0, I) all lie on one shell, |u| about sqrt(D); others are reached by draws at a temperature, which are draws
of the base with their distance from its mean multiplied. Read first: `checks.py`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.options import Count, checked

TEMPERATURES = (0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3)
NUM_PARTS = 5  # of the draws at temperature 1, by radius


class Shell(NamedTuple):
    """The samples of one shell.

    Attributes:
      name: what they are: a temperature, or a part of the draws of the base.
      radius: the mean distance of their latents from the mean of the base, in deviations of each entry.
      num: the number of samples.
      failing: the share that fails the check.
      standard_error: its standard error, (f (1 - f) / num)^(1/2).
    """

    name: str
    radius: float
    num: int
    failing: float
    standard_error: float


def shell(name: str, radius: ArrayLike, fails: ArrayLike) -> Shell:
    """The samples of one shell, by the radius of each, and whether it fails: [num], bool [num].

    Raises:
      InvalidValueError: if there is none, radii are not finite, or the shapes differ.
    """
    far, failed = _checked("shell", radius, fails)
    share = float(failed.mean())
    return Shell(name, float(far.mean()), len(far), share, float(np.sqrt(share * (1 - share) / len(far))))


@checked
def shells_by_radius(radius: ArrayLike, fails: ArrayLike, num_parts: Count = NUM_PARTS) -> tuple[Shell, ...]:
    """Equal parts of samples from the innermost to the outermost.

    Args:
      radius: the distance of each latent from the mean of the base, [num].
      fails: whether its sample fails the check, bool [num].
      num_parts: number of parts.
    Raises:
      InvalidValueError: if there are fewer samples than parts, radii are not finite, or the shapes differ.
    """
    far, failed = _checked("shells_by_radius", radius, fails)
    if len(far) < num_parts:
        raise InvalidValueError("shells_by_radius", "num_parts", f"must be at most {len(far)}, the samples", num_parts)
    parts = np.array_split(np.argsort(far, kind="stable"), num_parts)
    return tuple(
        shell(f"part {place} of {num_parts} by radius", far[rows], failed[rows])
        for place, rows in enumerate(parts, start=1)
    )


def _checked(where: str, radius: ArrayLike, fails: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    far, failed = np.asarray(radius, np.float64), np.asarray(fails)
    if far.ndim != 1 or not far.size or failed.shape != far.shape or failed.dtype != bool or not np.isfinite(far).all():
        got = f"shapes {far.shape} and {failed.shape}, {failed.dtype}"
        raise InvalidValueError(where, ("radius", "fails"), "must be finite numbers [num] and bool [num]", got)
    return far, failed

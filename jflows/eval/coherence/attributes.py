"""`attribute_plane`: how well a plane in latent space tells rows with an attribute from others, on held-out rows.

The plane is that of `jflows.eval.svm_plane`, the linear support vector machine of this library. Read next:
`classes.py`, which compares densities of the two classes instead.
"""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError, InvalidValueError
from jflows.eval.arrays import bad_rows, real_array, real_numbers
from jflows.eval.directions import PENALTY, check_two_classes, svm_plane
from jflows.options import Option, Positive, checked

LEAST_FITTED, LEAST_HELD_OUT = 10, 5  # rows of each class
MOST_ALPHA, NUM_STEPS = 20.0, 20


class AttributePlane(NamedTuple):
    """The plane w.u + b = 0 of a linear support vector machine, and how it does on held-out rows.

    Attributes:
      name: the attribute.
      direction: v / |v|, w over its length, float64 [*latent_shape]; rows with the attribute lie where it points.
      offset: b / |w|, so that the signed distance of a latent from the plane is direction.u + offset.
      margin: the width 2 / |w| of the margin, in units of the latent.
      num_support: the rows fitted to with y (w.u + b) <= 1, which alone decide the plane.
      accuracy: the share of held-out rows on their side of the plane.
      balanced_accuracy: the mean of this share over rows with and without the attribute; 0.5 is chance.
      majority: the accuracy of always answering with the more frequent class of the rows fitted to.
      fitted_accuracy: the accuracy on the rows fitted to; 1 where there are fewer of them than dimensions.
      num_fitted, num_held_out: rows with and without the attribute, (with, without).
    """

    name: str
    direction: np.ndarray
    offset: float
    margin: float
    num_support: int
    accuracy: float
    balanced_accuracy: float
    majority: float
    fitted_accuracy: float
    num_fitted: tuple[int, int]
    num_held_out: tuple[int, int]

    def distance(self, latents: ArrayLike) -> np.ndarray:
        """The signed distance of latents [num, *latent_shape] from the plane, positive with the attribute: [num]."""
        return _flat(latents) @ self.direction.ravel() + self.offset


@checked
def attribute_plane(
    latents: ArrayLike,
    positive: ArrayLike,
    held_out: ArrayLike,
    held_out_positive: ArrayLike,
    *,
    name: str = "attribute",
    penalty: Positive = PENALTY,
) -> AttributePlane:
    """Fits the plane to latents, and tries it on others.

    Args:
      latents, held_out: [num, *latent_shape], of any flow or any library.
      positive, held_out_positive: which rows have the attribute, bool [num].
      name: what errors call the attribute.
      penalty: C of the machine; a smaller one looks less at single rows.
    Raises:
      InvalidValueError: if shapes do not fit, or latents are not finite.
      DataError: if all rows are of one class, or there are fewer than 10 of a class to fit to, or 5 to try.
    """
    fitted, others = (_checked(name, each) for each in ((latents, positive), (held_out, held_out_positive)))
    if fitted[0].shape[1:] != others[0].shape[1:]:
        got = f"shapes {fitted[0].shape} and {others[0].shape}"
        raise InvalidValueError("attribute_plane", ("latents", "held_out"), "must have one latent shape", got)
    for (_, own), least, what in ((fitted, LEAST_FITTED, "to fit to"), (others, LEAST_HELD_OUT, "held out")):
        check_two_classes(own, "attribute_plane", name)
        fewest = int(min(own.sum(), (~own).sum()))
        if fewest < least:
            rule = f"must have at least {least} rows with it and {least} without it {what}"
            raise DataError("attribute_plane", name, rule, fewest, "Give more rows, or choose another attribute.")
    plane = svm_plane(_flat(fitted[0]), fitted[1], penalty)
    length = float(np.linalg.norm(plane.normal))
    if not length > 0:
        raise DataError("attribute_plane", name, "must differ between latents with it and without it", "no difference")
    sign = np.where(fitted[1], 1.0, -1.0)
    score = _flat(fitted[0]) @ plane.normal + plane.offset
    right = (_flat(others[0]) @ plane.normal + plane.offset > 0) == others[1]
    majority = bool(fitted[1].mean() > 0.5)
    return AttributePlane(
        name,
        (plane.normal / length).reshape(fitted[0].shape[1:]),
        plane.offset / length,
        2 / length,
        int(np.sum(sign * score <= 1 + 1e-9)),
        float(right.mean()),
        float(0.5 * (right[others[1]].mean() + right[~others[1]].mean())),
        float(np.mean(others[1] == majority)),
        float(np.mean((score > 0) == fitted[1])),
        (int(fitted[1].sum()), int((~fitted[1]).sum())),
        (int(others[1].sum()), int((~others[1]).sum())),
    )


@checked
def along(
    latents: ArrayLike,
    direction: ArrayLike,
    most: Positive = MOST_ALPHA,
    num_steps: Annotated[int, Option(low=1)] = NUM_STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Latents moved along a direction, u + alpha v / |v|, with alpha from -most to most in equal steps.

    Args:
      latents: [num, *latent_shape].
      direction: v, [*latent_shape], of any length.
      most: the largest alpha, in units of the latent: 20 is far out, as |u| is about sqrt(D) for draws of N(0, I).
      num_steps: number of steps, one less than there are points; with an even one, alpha is 0 in the middle.
    Returns:
      latents, [num, num_steps + 1, *latent_shape], and alphas [num_steps + 1].
    Raises:
      InvalidValueError: if the direction is of another shape than a latent, or 0.
    """
    rule = "must be numbers [num, *latent_shape]"
    rows = real_array("along", "latents", latents, rule)
    v = real_numbers("along", "direction", direction, "must be numbers of the shape of a latent")
    if not rows.ndim:
        raise InvalidValueError("along", "latents", rule, "a number")
    length = np.linalg.norm(v)
    if rows.shape[1:] != v.shape or not length > 0:
        got = f"shape {v.shape} of length {length:g} for latents of shape {rows.shape[1:]}"
        raise InvalidValueError("along", "direction", "must be of the shape of a latent, and not 0", got)
    alphas = np.linspace(-most, most, num_steps + 1)
    steps = alphas.reshape(-1, *(1,) * v.ndim) * (v / length)
    return (rows[:, None] + steps).astype(np.float32), alphas


def _checked(name: str, pair: tuple[ArrayLike, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    rule = f"must be numbers [num, *latent_shape], and {name} bool [num]"
    rows, positive = real_array("attribute_plane", "latents", pair[0], rule), np.asarray(pair[1])
    if rows.ndim < 2 or not rows.size or positive.shape != rows.shape[:1] or positive.dtype != bool:
        got = f"shapes {rows.shape} and {positive.shape}, {positive.dtype}"
        raise InvalidValueError("attribute_plane", "latents", rule, got)
    bad = bad_rows(rows.reshape(len(rows), -1))
    if bad:
        raise InvalidValueError("attribute_plane", "latents", "must be finite", bad, "Leave such rows out.")
    return rows, positive


def _flat(latents: ArrayLike) -> np.ndarray:
    rows = np.asarray(latents)
    return rows.reshape(len(rows), -1).astype(np.float64)

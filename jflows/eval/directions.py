"""Directions in latent space that change an attribute of a picture, and pictures along them.

Directions are found from latents [num, *latent_shape] in NumPy; `edit` is a pure function of explicit variables, so
`jax.jit` applies with `flow` static. Read next: `jflows/eval/latent.py`, for paths between two pictures.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jflows.errors import DataError, InvalidValueError, check_choice
from jflows.eval.latent import decode_data, encode_centres
from jflows.flows import Flow
from jflows.options import Positive, checked
from jflows.typing import Array, Variables

METHODS = ("mean", "svm")
PENALTY = 1.0
MOST_NEWTON_STEPS = 100


class Direction(NamedTuple):
    """A direction in latent space, with the length of a step along it.

    Attributes:
      vector: the direction of length 1, float64 [*latent_shape]; along it there is more of the attribute.
      step: the distance between the means of the two classes along the vector, by which alpha is measured.
      accuracy: the share of the latents that a threshold in the middle between the two means puts into their class, the
        mean of the shares of both classes; 0.5 is chance. Of latents that the direction was found from, it is too high.
      offset: this threshold, on the product of a latent with the vector.
    """

    vector: np.ndarray
    step: float
    accuracy: float
    offset: float

    @property
    def shift(self) -> np.ndarray:
        """What alpha = 1 adds to a latent: step times vector."""
        return self.step * self.vector

    def shares(self, latents: np.ndarray, positive: np.ndarray) -> float:
        """The accuracy of the direction on latents, see `accuracy`."""
        along = _flat(latents) @ self.vector.ravel()
        return _balanced_accuracy(along, positive, self.offset)


@checked
def direction(
    latents: np.ndarray,
    positive: np.ndarray,
    by: str = "mean",
    penalty: Positive = PENALTY,
    group: np.ndarray | None = None,
) -> Direction:
    """The direction from images without an attribute to images with it.

        by="mean":  v = (m_1 - m_0) / |m_1 - m_0|,   m_c the mean latent of class c
        by="svm":   v = w / |w|,   w the normal of the separating plane of a linear support vector machine, `svm_normal`
        step = (m_1 - m_0) . v

    So alpha = 1 moves the mean of the images without the attribute as far along v as that of the images with it lies.
    The mean also carries over what else the two classes differ in; the SVM seeks what tells them apart, and changes a
    picture less with each step. With groups, such as persons, the mean of each group is taken from its latents first,
    so that what distinguishes one person from another plays no part; groups with images of one class are left out.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 6 (means).

    Args:
      latents: latents of images that all have a value, [num, *latent_shape], from `jflows.eval.encode_centres`.
      positive: which images have the attribute, bool [num].
      by: "mean" or "svm".
      penalty: C of the SVM; a smaller one looks less at single images.
      group: int [num], or None.
    Raises:
      DataError: if all images, or those of every group, are of one class.
      InvalidValueError: for an unknown `by`, or if shapes do not fit.
    """
    check_choice("direction", "by", by, METHODS)
    latents, positive = np.asarray(latents, np.float64), np.asarray(positive)
    if positive.shape != latents.shape[:1] or positive.dtype != bool:
        got = f"dtype {positive.dtype}, shape {positive.shape}"
        raise InvalidValueError("direction", "positive", f"must be bool of shape ({len(latents)},)", got)
    check_two_classes(positive, "direction", "positive")
    shape, flat = latents.shape[1:], _flat(latents)
    whole = flat
    if group is not None:
        kept = in_mixed_groups(positive, np.asarray(group))
        whole, positive, group = flat[kept], positive[kept], np.asarray(group)[kept]
        flat = whole.copy()
        for number in np.unique(group):
            flat[group == number] -= flat[group == number].mean(axis=0)
    between = flat[positive].mean(axis=0) - flat[~positive].mean(axis=0)
    normal = between if by == "mean" else svm_normal(flat, positive, penalty)
    length = np.linalg.norm(normal)
    if not length > 0 or not np.isfinite(length):
        rule = "must differ in mean between the two classes, and be finite"
        raise DataError("direction", "latents", rule, f"a direction of length {length:g}")
    vector = normal / length
    along = whole @ vector
    offset = 0.5 * (along[positive].mean() + along[~positive].mean())
    accuracy = _balanced_accuracy(along, positive, offset)
    return Direction(vector.reshape(shape), float(between @ vector), accuracy, float(offset))


def in_mixed_groups(positive: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which rows are of a group with rows of both classes: bool [num].

    Raises:
      DataError: if there is no such group.
    """
    mixed = np.intersect1d(group[positive], group[~positive])
    if not len(mixed):
        rule = "must hold a group with images with the attribute and images without it"
        raise DataError("direction", "group", rule, "none", "Compare images of all groups.")
    return np.isin(group, mixed)


def check_two_classes(positive: np.ndarray, where: str, argument: str, fix: str = "") -> None:
    """Raises `DataError` unless there are images with and without the attribute; `fix` says what else may help."""
    with_it = int(np.sum(positive))
    if with_it in (0, len(positive)):
        rule, got = "must have images with the attribute and images without it", f"{with_it} with it of {len(positive)}"
        raise DataError(where, argument, rule, got, fix or "Choose another attribute, or give more images.")


class Plane(NamedTuple):
    """The plane normal.x + offset = 0, with positive rows where this is positive: float64 [dim], and a number."""

    normal: np.ndarray
    offset: float


def svm_normal(x: np.ndarray, positive: np.ndarray, penalty: float = PENALTY) -> np.ndarray:
    """The normal w of the plane of `svm_plane`: float64 [dim]."""
    return svm_plane(x, positive, penalty).normal


@checked
def svm_plane(x: np.ndarray, positive: np.ndarray, penalty: Positive = PENALTY) -> Plane:
    """The plane w.x + b = 0 that separates two classes, by a linear SVM with squared hinge loss.

        minimise  |w|^2 / 2 + C sum_i max(0, 1 - y_i (w.x_i + b))^2,   y_i = 1 of positive rows and -1 of others

    The loss is convex and piecewise quadratic, so that Newton's method ends at its minimum after few steps: each solves
    for the rows inside the margin alone, and is halved until the loss falls. The bias b is not penalised.

    It is the problem of `sklearn.svm.LinearSVC(loss="squared_hinge", dual=False)`, which penalises b over its
    `intercept_scaling` too; a test holds that both agree to 1e-4 for centred rows and a scaling of 100. Newton's method
    works in the smaller one of rows and columns: for 1,000 latents of 3,072 entries it took 3 s on one core, where
    LinearSVC took 60 s.

    Source: Chapelle 2007, Neural Computation 19, sections 2 and 4.

    Args:
      x: [num, dim].
      positive: bool [num].
      penalty: C > 0.
    Returns:
      w: float64 [dim], and b.
    """
    x, y = np.asarray(x, np.float64), np.where(positive, 1.0, -1.0)
    centre = x.mean(axis=0)  # w stays the same, and b takes the shift; the equations are better conditioned
    rows = np.concatenate([x - centre, np.ones((len(x), 1))], axis=1)
    penalised = np.ones(rows.shape[1])
    penalised[-1] = 0.0

    def loss_of(w: np.ndarray) -> float:
        return 0.5 * penalised @ w**2 + penalty * np.sum(np.maximum(0.0, 1 - y * (rows @ w)) ** 2)

    w, loss = np.zeros(rows.shape[1]), loss_of(np.zeros(rows.shape[1]))
    for _ in range(MOST_NEWTON_STEPS):
        inside = y * (rows @ w) < 1
        step = _minimum(rows[inside], y[inside], penalty) - w if inside.any() else -w * penalised
        size = 1.0
        while loss_of(w + size * step) > loss and size > 1e-6:
            size *= 0.5
        before, w = loss, w + size * step
        loss = loss_of(w)
        if before - loss <= 1e-10 * before:
            break
    return Plane(w[:-1], float(w[-1] - centre @ w[:-1]))


def _minimum(rows: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """The minimum of |w|^2 / 2 + C |rows w - y|^2 without a penalty of the last entry, in whichever form is smaller."""
    num, dim = rows.shape
    if dim <= num:
        system = 2 * penalty * rows.T @ rows
        system[np.arange(dim - 1), np.arange(dim - 1)] += 1.0
        return np.linalg.lstsq(system, 2 * penalty * rows.T @ y, rcond=None)[0]
    # w = x^T a with (x x^T + I / 2C) a + b = y and sum a = 0: the conditions of the minimum in terms of the rows.
    x = rows[:, :-1]
    system = np.zeros((num + 1, num + 1))
    system[:num, :num] = x @ x.T + np.eye(num) / (2 * penalty)
    system[:num, num] = system[num, :num] = 1.0
    solution = np.linalg.lstsq(system, np.append(y, 0.0), rcond=None)[0]
    return np.append(x.T @ solution[:num], solution[num])


def mean_latents(latents: np.ndarray, label: np.ndarray, num_classes: int, stretch: float = 0.0) -> np.ndarray:
    """The mean latent of every class: [num, *latent_shape], int [num] -> float64 [num_classes, *latent_shape].

        m_c = s_c mean_i z_i,   s_c = (1 - stretch) + stretch (mean_i |z_i|) / |mean_i z_i|,   i over class c

    The difference of two of them, times alpha, transfers what distinguishes one person from another to any picture. The
    mean latent itself decodes to a mean face, with the features of a person and no expression of one image. Means are
    shorter than latents of images, as what differs from image to image cancels, and so decode to pale images; a stretch
    of 1 gives them the length of latents of images, and one half usually looks best.

    Args:
      stretch: how much of the lost length to give back, 0 to 1.
    Raises:
      DataError: if a class has no image.
    """
    latents, label = np.asarray(latents, np.float64), np.asarray(label)
    missing = np.setdiff1d(np.arange(num_classes), label)
    if missing.size:
        rule = f"must hold an image of each of {num_classes} classes"
        raise DataError("mean_latents", "label", rule, f"none of class {missing[0]}")
    return np.stack([_stretched(latents[label == number], stretch) for number in range(num_classes)])


def _stretched(latents: np.ndarray, stretch: float) -> np.ndarray:
    mean = latents.mean(axis=0)
    length = np.linalg.norm(_flat(latents), axis=1).mean()
    return mean * (1 - stretch + stretch * length / max(float(np.linalg.norm(mean)), np.finfo(np.float64).tiny))


def edit(
    flow: Flow, variables: Variables, x: Array, shift: Array, alphas: Array, context: Array | None = None
) -> tuple[Array, Array]:
    """Pictures along a direction in latent space, and how likely each is.

        x(alpha) = decode(encode(x) + alpha shift)

    Integers are encoded at the centres of their bins, so that x(0) is x again, up to rounding.

    Args:
      x: [*batch, *event_shape].
      shift: what alpha = 1 adds to a latent, such as `Direction.shift`, or the difference of two mean latents:
        [*latent_shape], or one for each picture, [*batch, *latent_shape].
      alphas: [num_steps].
      context: [*batch, *context_shape], or None.
    Returns:
      The pictures [*batch, num_steps, *event_shape], integers if the flow dequantizes; and log p of these pictures in
      nats, [*batch, num_steps], of integers at the centres of their bins, so that no noise is needed.
    """
    ndims = len(flow.latent_shape)
    z = jnp.expand_dims(encode_centres(flow, variables, x, context), -ndims - 1)
    own = jnp.expand_dims(jnp.asarray(shift, z.dtype), -ndims - 1)
    moved = z + jnp.asarray(alphas, z.dtype).reshape(-1, *(1,) * ndims) * own
    if context is not None:
        event = jnp.shape(context)[jnp.ndim(context) - flow.context_ndims :]
        context = jnp.expand_dims(context, jnp.ndim(context) - flow.context_ndims)
        context = jnp.broadcast_to(context, (*moved.shape[: moved.ndim - ndims], *event))
    return decode_data(flow, variables, moved, context)


def _flat(latents: np.ndarray) -> np.ndarray:
    return np.asarray(latents, np.float64).reshape(len(latents), -1)


def _balanced_accuracy(along: np.ndarray, positive: np.ndarray, offset: float) -> float:
    return float(0.5 * ((along[positive] > offset).mean() + (along[~positive] <= offset).mean()))

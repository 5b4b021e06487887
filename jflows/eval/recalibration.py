"""Recalibration: a trained flow gets the base that its embedded data follow, with an explicit density as before.

    found = recalibrate(flow, variables, latents, held_out_latents)
    found.kind, found.gains, found.flow, found.variables

The map of the flow stays, and with it log|det dz/dx|, so that a new base changes log p(x) by the difference of the two
bases' log p(z) alone: everything is computed from latents. Read next: `jflows/flows/rebase.py`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.distributions import Base, DiagonalNormal, FullNormal, LocationScale, NormalMixture, StudentT
from jflows.errors import DataError, InvalidValueError, check_choice
from jflows.eval.arrays import bad_rows, real_numbers, spread_of
from jflows.eval.coherence.base import base_of
from jflows.eval.gaussian import LogLikelihood
from jflows.eval.latent_tests.flows import check_one_flow
from jflows.flows import Flow
from jflows.flows.rebase import with_base
from jflows.ops.domain import REALS
from jflows.typing import Array, Variables

LEAST_ROWS = 20
UNCHANGED = "unchanged"
MOST_DIMENSIONS = 4096  # of a full covariance
DEGREES = (2.5, 3.0, 5.0, 8.0, 15.0, 30.0, 100.0, 1000.0)  # above 2, so that the base has a finite deviation
EM_STEPS = 30
Fitted = tuple[Base, dict[str, Any]]


class Recalibration(NamedTuple):
    """The result of `recalibrate`.

    Attributes:
      kind: the base that was chosen, "unchanged" if none of them is better than the flow's own.
      gains: for each kind the gain in log p(x) of held-out rows in nats per row, and its standard error; positive is
        better.
      flow, variables: the flow with that base, and its collections.
    """

    kind: str
    gains: Mapping[str, LogLikelihood]
    flow: Flow
    variables: Variables


def recalibrate(
    flow: Flow,
    variables: Variables,
    latents: ArrayLike,
    held_out: ArrayLike,
    kinds: Sequence[str] | None = None,
    label: ArrayLike | None = None,
) -> Recalibration:
    """Fits bases to embedded data, and chooses the one that held-out latents follow best.

    Bases are tried in the order below. The flow's own is kept until one is better by more than two standard errors on
    held-out rows, and that one until a later one is so. Rows that the flow was trained on lie too near to its base if
    it has learnt them by heart, so fit bases to rows that it has not seen, such as validation rows, and hold others
    out.

        scale       the flow's own base, scaled about 0 by one number
        diagonal    a normal with the mean and the variance of each dimension
        student_t   a Student t with a place, a scale and degrees of freedom in each dimension
        full        a normal with a full covariance, shrunk towards a multiple of I (Ledoit and Wolf 2004)
        classes     a mixture of diagonal normals, one for each class, weighted by its share

    Args:
      flow: a flow without a context.
      latents: [num, *latent_shape], to which bases are fitted; see `jflows.eval.latent_tests.latents_of`.
      held_out: [num_held_out, *latent_shape], by which the base is chosen.
      kinds: the bases to try; None tries all that fit: classes with labels, full up to 4,096 dimensions and with as
        many rows as a tenth of them.
      label: int [num], the classes of `latents`.
    Raises:
      InvalidValueError: if the flow has a context, an unknown kind is asked for, or shapes do not fit.
      DataError: if there are fewer than 20 rows, latents are not finite, or a class has fewer than two rows.
    """
    check_one_flow("recalibrate", flow)
    if flow.context_shape is not None:
        rule = "must have no context: its base would have to be fitted for each"
        raise InvalidValueError("recalibrate", "flow", rule, f"context_shape={flow.context_shape}")
    z = _checked(latents, flow.latent_shape, "latents")
    new = _checked(held_out, flow.latent_shape, "held_out")
    own = None if label is None else np.asarray(label)
    log_prob = _log_prob(flow, variables, new)
    chosen, best, gains = Recalibration(UNCHANGED, {}, flow, variables), log_prob, {}
    for kind in _suiting(z, own) if kinds is None else kinds:
        candidate = with_base(flow, variables, *fit_base(flow, variables, z, kind, own))
        other = _log_prob(*candidate, new)
        gains[kind] = _gain(other, log_prob)
        if _gain(other, best).nats > 2 * _gain(other, best).standard_error:
            chosen, best = Recalibration(kind, {}, *candidate), other
    return chosen._replace(gains=gains)


def _gain(log_prob: np.ndarray, before: np.ndarray) -> LogLikelihood:
    gain = log_prob - before
    return LogLikelihood(float(gain.mean()), float(gain.std(ddof=1) / math.sqrt(len(gain))))


def fit_base(flow: Flow, variables: Variables, latents: ArrayLike, kind: str, label: ArrayLike | None = None) -> Fitted:
    """A base of one kind with its parameters, fitted to latents, as `with_base` takes them; see `recalibrate`.

    Args:
      latents: [num, *latent_shape].
      label: int [num], for kind "classes".
    """
    check_choice("fit_base", "kind", kind, tuple(KINDS))
    z = _checked(latents, flow.latent_shape, "latents")
    if kind == "scale":
        return _scaled(flow, variables, z)
    if kind == "classes":
        return _classes(z, flow.latent_shape, label)
    return KINDS[kind](z, flow.latent_shape)


def _log_prob(flow: Flow, variables: Variables, z: np.ndarray) -> np.ndarray:
    return base_of(flow, variables).log_prob(z, None)


def _of_base(variables: Variables) -> dict[str, Any]:
    return {name: parts["base"] for name, parts in variables.items() if "base" in parts}


def _scaled(flow: Flow, variables: Variables, z: np.ndarray) -> Fitted:
    from scipy.optimize import minimize_scalar

    if flow.base.domain != REALS:
        rule, got = "must have a base on all real numbers, to be scaled", f"one on {flow.base.domain}"
        raise InvalidValueError("fit_base", "flow", rule, got)

    def loss(log_scale: float) -> float:
        log_prob = _log_prob(flow, variables, z * math.exp(-log_scale))
        return z[0].size * log_scale - float(log_prob.mean())

    found: Any = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded", options={"xatol": 1e-4})
    own = _of_base(variables)
    params = {"mean": jnp.zeros(flow.latent_shape), "log_std": jnp.full(flow.latent_shape, found.x)}
    return LocationScale(flow.latent_shape, flow.base), {**params, **({"base": own["params"]} if own else {})}


def _diagonal(z: np.ndarray, shape: tuple[int, ...]) -> Fitted:
    flat = z.reshape(len(z), -1)
    deviation = spread_of(flat, ddof=1)
    _check_spread(deviation)
    return DiagonalNormal(shape), _params(shape, mean=flat.mean(axis=0), log_std=np.log(deviation))


def _full(z: np.ndarray, shape: tuple[int, ...]) -> Fitted:
    from sklearn.covariance import ledoit_wolf

    flat = z.reshape(len(z), -1)
    if flat.shape[1] > MOST_DIMENSIONS:
        rule = f"must have at most {MOST_DIMENSIONS:,} dimensions for a full covariance"
        raise InvalidValueError("fit_base", "latents", rule, f"{flat.shape[1]:,}", "Use kind='diagonal'.")
    factor = np.linalg.cholesky(ledoit_wolf(flat)[0])
    stored = np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))
    params = {"mean": jnp.asarray(flat.mean(axis=0).reshape(shape), jnp.float32)}
    return FullNormal(shape), {**params, "cholesky": jnp.asarray(stored, jnp.float32)}


def _student_t(z: np.ndarray, shape: tuple[int, ...]) -> Fitted:
    """By expectation maximisation for each number of degrees of freedom, of which each dimension takes the best.

    All dimensions at once; `jflows.eval.modes.fit_student_t` is finer, and for one dimension at a time.

    Source: Liu and Rubin 1995, Statistica Sinica 5, section 2 (weights (v + 1) / (v + squared distance)).
    """
    from scipy.special import gammaln

    flat = z.reshape(len(z), -1)
    _check_spread(spread_of(flat))
    best = np.full((4, flat.shape[1]), -np.inf)  # log-likelihood, place, log scale, log degrees
    for degrees in DEGREES:
        place, squared = np.median(flat, axis=0), flat.var(axis=0)
        for _ in range(EM_STEPS):
            weight = (degrees + 1) / (degrees + (flat - place) ** 2 / squared)
            place = (weight * flat).sum(axis=0) / weight.sum(axis=0)
            squared = (weight * (flat - place) ** 2).mean(axis=0)
        kernel = np.log1p((flat - place) ** 2 / (degrees * squared)).mean(axis=0)
        constant = gammaln((degrees + 1) / 2) - gammaln(degrees / 2) - 0.5 * math.log(math.pi * degrees)
        log_prob = constant - 0.5 * np.log(squared) - 0.5 * (degrees + 1) * kernel
        found = np.stack([log_prob, place, 0.5 * np.log(squared), np.full_like(place, math.log(degrees))])
        best = np.where(found[0] > best[0], found, best)
    params = _params(shape, mean=best[1], log_std=best[2])
    return LocationScale(shape, StudentT(shape, learned=True)), {**params, "base": _params(shape, log_df=best[3])}


def _classes(z: np.ndarray, shape: tuple[int, ...], label: ArrayLike | None) -> Fitted:
    if label is None:
        raise InvalidValueError("fit_base", "label", "must be given for kind='classes'", None)
    number = np.asarray(label)
    if number.shape != (len(z),) or number.dtype.kind not in "ui" or number.min() < 0:
        rule = f"must be integers from 0 of shape ({len(z)},)"
        got = f"{number.dtype} of shape {number.shape}"
        if number.size and number.dtype.kind == "i" and number.min() < 0:
            got = f"{int((number < 0).sum())} rows below 0, which stands for no class"
        raise InvalidValueError("fit_base", "label", rule, got, "Give each row a class, or leave out rows without one.")
    flat, (found, counts) = z.reshape(len(z), -1), np.unique(number, return_counts=True)
    if len(found) < 2 or counts.min() < 2:
        rule, got = "must have two classes or more, of two rows or more", f"{len(found)} classes, the smallest of "
        raise DataError("fit_base", "label", rule, f"{got}{counts.min()} rows")
    within = np.mean([spread_of(flat[number == own], ddof=1) ** 2 for own in found], axis=0)
    _check_spread(within)
    means = np.stack([flat[number == own].mean(axis=0) for own in found])
    # The variance of a class is shrunk to that within all classes by as much as 10 rows weigh.
    squares = np.stack([((flat[number == own] - flat[number == own].mean(axis=0)) ** 2).sum(axis=0) for own in found])
    variances = (squares + 10 * within) / (counts[:, None] - 1 + 10)
    whole = (len(found), *shape)
    params = _params(whole, means=means, log_stds=0.5 * np.log(variances))
    logits = jnp.asarray(np.log(counts / counts.sum()), jnp.float32)
    return NormalMixture(shape, len(found)), {"logits": logits, **params}


KINDS: Mapping[str, Callable[..., Fitted]] = {
    "scale": _scaled,
    "diagonal": _diagonal,
    "student_t": _student_t,
    "full": _full,
    "classes": _classes,
}
"""The bases that can be fitted, by their names."""


def _suiting(z: np.ndarray, label: np.ndarray | None) -> list[str]:
    dim = z[0].size
    left_out = {"classes"} if label is None else set()
    left_out |= {"full"} if dim > MOST_DIMENSIONS or len(z) < dim / 10 else set()
    return [kind for kind in KINDS if kind not in left_out]


def _params(shape: tuple[int, ...], **values: np.ndarray) -> dict[str, Array]:
    return {name: jnp.asarray(value.reshape(shape), jnp.float32) for name, value in values.items()}


def _check_spread(deviation: np.ndarray) -> None:
    flat = np.flatnonzero(~(deviation > 0))
    if flat.size:
        rule, got = "must vary in each dimension", f"{flat.size} dimensions that are constant, first {flat[0]}"
        raise DataError("fit_base", "latents", rule, got)


def _checked(latents: ArrayLike, shape: tuple[int, ...], argument: str) -> np.ndarray:
    rule = f"must be numbers of the shape [num, {', '.join(map(str, shape))}]"
    z = real_numbers("recalibrate", argument, latents, rule)
    z = z.reshape(len(z), *shape) if z.ndim and z.size == len(z) * math.prod(shape) else z
    if z.shape[1:] != shape:
        raise InvalidValueError("recalibrate", argument, rule, f"{z.shape}")
    if len(z) < LEAST_ROWS:
        raise DataError("recalibrate", argument, f"must have at least {LEAST_ROWS} rows", f"{len(z)}")
    bad = bad_rows(z.reshape(len(z), -1))
    if bad:
        raise DataError("recalibrate", argument, "must be finite", bad)
    return z

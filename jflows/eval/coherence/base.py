"""`LatentBase`: what is asked of a base, for latents of any library, in NumPy and float64.

Read next: `regions.py`, which says where its density is high; `embedding.py`, the latents of data by a flow.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.distributions import DiagonalNormal, StandardNormal
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.arrays import real_array, real_numbers
from jflows.eval.coherence.class_gaussian import MapNormal, StudentT
from jflows.flows import Flow
from jflows.options import Counts, Positive, checked
from jflows.typing import Array, Key, Shape, Variables

DRAWS_FOR_MOMENTS = 512  # where a base has no closed form for them
ENTRIES_PER_CALL = 2**22
LEAST_CALL = 64  # rows

Context = np.ndarray | None
"""The context of each row, [num, *context_shape]; None for bases that depend on none."""


class LatentBase(NamedTuple):
    """A base of latents, made by `normal_base` or `student_t_base`, or by `base_of` for a flow.

    Attributes:
      latent_shape: the shape of a latent.
      is_standard_normal: whether it is N(0, I).
      is_normal: whether it is N(mean, diag(deviation^2)), the same for all rows: its regions have closed forms.
      moments: context -> its mean and deviation, each [*latent_shape] without a context, else [num, *latent_shape].
      log_prob: latents [num, *latent_shape] and context -> ln p(u) in nats, float64 [num].
      draw: number of draws, seed, context and temperature -> latents [num, *latent_shape].
    """

    latent_shape: Shape
    is_standard_normal: bool
    is_normal: bool
    moments: Callable[[Context], tuple[np.ndarray, np.ndarray]]
    log_prob: Callable[[ArrayLike, Context], np.ndarray]
    draw: Callable[[int, int, Context, float], np.ndarray]

    @property
    def dim(self) -> int:
        """The number of entries of a latent."""
        return int(np.prod(self.latent_shape))

    def _checked(self, where: str, latents: ArrayLike) -> np.ndarray:
        rule = f"must be numbers of the shape [num, {', '.join(map(str, self.latent_shape))}]"
        rows = real_array(where, "latents", latents, rule)
        if not rows.ndim or rows.shape[1:] != self.latent_shape:
            raise InvalidValueError(where, "latents", rule, f"shape {rows.shape}")
        return rows

    def radius(self, latents: ArrayLike, context: Context = None) -> np.ndarray:
        """The distance from the mean in deviations of each entry, |(u - mean) / deviation|: float64 [num]."""
        rows = self._checked("LatentBase.radius", latents)
        whole = self.moments(None) if context is None else None
        found = np.empty(len(rows))
        for own in _slices(rows):
            mean, deviation = whole or self.moments(None if context is None else context[own])
            scaled = (rows[own].astype(np.float64) - mean) / deviation
            found[own] = np.linalg.norm(scaled.reshape(len(scaled), -1), axis=1)
        return found


@checked
def normal_base(latent_shape: Counts, mean: ArrayLike = 0.0, deviation: ArrayLike = 1.0) -> LatentBase:
    """The normal base N(mean, diag(deviation^2)), N(0, I) by default, for latents of any library.

    Args:
      latent_shape: the shape of a latent.
      mean, deviation: a number, or one for each entry, [*latent_shape].
    Raises:
      InvalidValueError: if a deviation is not positive, or they do not fit the shape.
    Example:
      >>> base = normal_base((49152,))
      >>> point = deviation_points(base, (2.0,))  # two deviations from the mean in every dimension
      >>> base.log_prob(point, None).round(2)
      array([-143471.67])
    """
    centre, scale = _of_entries("normal_base", "deviation", latent_shape, mean, deviation)
    law = MapNormal(centre, scale**-2)
    is_standard = bool((centre == 0).all() and (scale == 1).all())
    noise = lambda random, size: random.standard_normal(size, np.float32)
    return _independent(
        latent_shape, (is_standard, True), (centre, scale), law.log_prob, lambda *given: scale * noise(*given)
    )


@checked
def student_t_base(
    latent_shape: Counts, degrees: Positive, location: ArrayLike = 0.0, scale: ArrayLike = 1.0
) -> LatentBase:
    """A base of independent Student t in every entry, for latents of any library.

    Args:
      latent_shape: the shape of a latent.
      degrees: degrees of freedom, of all entries.
      location, scale: a number, or one for each entry, [*latent_shape].
    Raises:
      InvalidValueError: if a scale is not positive, or they do not fit the shape.
      DataError: by `moments`, of 2 degrees or fewer, which leave no finite deviation.
    """
    centre, width = _of_entries("student_t_base", "scale", latent_shape, location, scale)
    law = StudentT(np.full(latent_shape, float(degrees)), centre, width)
    spread = width * (np.sqrt(degrees / (degrees - 2)) if degrees > 2 else np.inf)
    noise = lambda random, size: width * random.standard_t(degrees, size)
    return _independent(latent_shape, (False, False), (centre, spread), law.log_prob, noise)


def _of_entries(where: str, name: str, latent_shape: Shape, *given: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    try:
        centre, scale = (np.broadcast_to(np.asarray(part, np.float64), latent_shape) for part in given)
    except ValueError as error:
        got = f"shapes {np.shape(given[0])} and {np.shape(given[1])}"
        rule = f"must fit the shape {tuple(latent_shape)}, as the one of the centre must"
        raise InvalidValueError(where, name, rule, got) from error
    if not (np.isfinite(centre).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InvalidValueError(where, name, "must be positive and finite, as the centre must be finite", None)
    return centre, scale


def _independent(
    latent_shape: Shape,
    is_normal: tuple[bool, bool],
    of_all: tuple[np.ndarray, np.ndarray],
    log_prob: Callable[[ArrayLike], np.ndarray],
    deviate: Callable[[np.random.Generator, Shape], np.ndarray],
) -> LatentBase:
    """A base with independent entries, the same for every context; `is_normal` says whether they are standard
    normal, and normal; `deviate` draws what is added to the mean.
    """

    def moments(context: Context) -> tuple[np.ndarray, np.ndarray]:
        mean, deviation = _checked(*of_all)
        if context is None:
            return mean, deviation
        whole = (len(context), *latent_shape)
        return np.broadcast_to(mean, whole), np.broadcast_to(deviation, whole)

    def draw(num: int, seed: int, context: Context = None, temperature: float = 1.0) -> np.ndarray:
        drawn = deviate(np.random.default_rng(seed), (num, *latent_shape))
        return (of_all[0] + temperature * drawn).astype(np.float32)

    return LatentBase(tuple(latent_shape), *is_normal, moments, lambda z, context=None: log_prob(z), draw)


def base_of(flow: Flow, variables: Variables) -> LatentBase:
    """The base of a flow. Moments are closed forms where the base states them, and else those of 512 draws.

    Raises:
      InvalidTypeError: if it is no flow: a mixture of flows has no single latent space, and so no base to compare with.
      DataError: by `moments`, if the base has no finite mean and deviation, such as Student t of 2 degrees of freedom.
    """
    if not isinstance(flow, Flow):
        rule, fix = "must be a flow, whose base latents are compared with", "Use a component of a mixture."
        raise InvalidTypeError("base_of", "flow", rule, kind_of(flow), fix)

    def log_prob(latents: ArrayLike, context: Context = None) -> np.ndarray:
        rows, found = np.asarray(latents), []
        # In float64, as the terms of large images add up to 1e5 nats, of which float32 keeps two decimals at best.
        with jax.enable_x64(True):
            size = min(_filled_up(len(rows)), max(1, ENTRIES_PER_CALL // int(np.prod(flow.latent_shape))))
            for start in range(0, len(rows), size):
                own = np.arange(start, start + size) % len(rows)
                given = None if context is None else jnp.asarray(context[own])
                log_prob = _log_prob(flow, variables, jnp.asarray(rows[own], jnp.float64), given)
                found.append(np.asarray(log_prob)[: len(rows) - start])
        return np.concatenate(found) if found else np.empty(0)

    def draw(num: int, seed: int, context: Context = None, temperature: float = 1.0) -> np.ndarray:
        size = _filled_up(num)
        given = None if context is None else jnp.asarray(context[np.arange(size) % num])
        shape = (size,) if context is None else ()
        return np.asarray(_draw(flow, variables, jax.random.key(seed), shape, given, np.float32(temperature)))[:num]

    def moments(context: Context) -> tuple[np.ndarray, np.ndarray]:
        given = None if context is None else jnp.asarray(context)
        num = () if context is None else (len(context),)
        whole = (*num, *flow.latent_shape)
        try:
            mean, deviation = (np.asarray(each, np.float64) for each in _moments(flow, variables, given, num))
        except InvalidValueError:  # the base, or one that it is made of, has no closed form for them
            mean, deviation = _moments_of_draws(draw, context)
        return _checked(np.broadcast_to(mean, whole), np.broadcast_to(deviation, whole))

    is_standard = isinstance(flow.base, StandardNormal)
    is_normal = is_standard or isinstance(flow.base, DiagonalNormal)
    return LatentBase(flow.latent_shape, is_standard, is_normal, moments, log_prob, draw)


def deviation_points(base: LatentBase, deviations: ArrayLike, context: Context = None) -> np.ndarray:
    """The points at k standard deviations from the mean in every dimension at once.

        u_k = mean + k deviation,   so that ln p(u_k) = -D (ln(2 pi) / 2 + k^2 / 2) under N(0, I)

    They lie on the diagonal of the latent space: |u_k| = |k| sqrt(D) there, and that of k = 1 is as far out as a
    typical draw, in a direction that no draw has.

    Args:
      deviations: k, [num].
      context: one for all points, [*context_shape], or None.
    Returns:
      float32 [num, *latent_shape].
    Raises:
      InvalidValueError: if deviations are not finite numbers [num].
    """
    rule = "must be finite numbers [num]"
    given = real_numbers("deviation_points", "deviations", deviations, rule)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise InvalidValueError("deviation_points", "deviations", rule, f"shape {given.shape}")
    steps = given.reshape(-1, *(1,) * len(base.latent_shape))
    given = None if context is None else np.asarray(context)[None]
    mean, deviation = base.moments(given)
    mean, deviation = (part if context is None else part[0] for part in (mean, deviation))
    return (mean + steps * deviation).astype(np.float32)


def _checked(mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        rule, got = "must have a finite mean and a finite deviation, to compare with", "a base without"
        raise DataError("base_of", "flow", rule, got, "Choose another base; Student t has both above 2 degrees.")
    return mean, deviation


def _moments_of_draws(draw: Callable[..., np.ndarray], context: Context) -> tuple[np.ndarray, np.ndarray]:
    if context is None:
        drawn = draw(DRAWS_FOR_MOMENTS, 0, None, 1.0)
        return drawn.mean(axis=0, dtype=np.float64), drawn.std(axis=0, dtype=np.float64)
    total, squares = 0.0, 0.0
    for seed in range(DRAWS_FOR_MOMENTS):  # one draw for each row: the contexts of rows may all differ
        drawn = draw(len(context), seed, context, 1.0).astype(np.float64)
        total, squares = total + drawn, squares + drawn**2
    mean = np.asarray(total) / DRAWS_FOR_MOMENTS
    return mean, np.sqrt(np.maximum(squares / DRAWS_FOR_MOMENTS - mean**2, 0.0))


def _filled_up(num: int) -> int:
    """The rows of a call that does `num` of them: a power of two, so that few programs are compiled."""
    return max(LEAST_CALL, 1 << (num - 1).bit_length())


def _slices(rows: np.ndarray) -> list[slice]:
    """Parts of rows of one size, the last one aside, so that float64 copies stay small."""
    size = max(1, ENTRIES_PER_CALL // max(1, int(np.prod(rows.shape[1:]))))
    return [slice(start, start + size) for start in range(0, len(rows), size)]


@functools.partial(jax.jit, static_argnames="flow")
def _log_prob(flow: Flow, variables: Variables, z: Array, context: Array | None) -> Array:
    run: Any = lambda module, z, context, key: module.base.log_prob(z, context)
    return flow.run(variables, run, z, (len(z),), context)[0]


@functools.partial(jax.jit, static_argnames=("flow", "num"))
def _moments(flow: Flow, variables: Variables, context: Array | None, num: Shape) -> tuple[Array, Array]:
    run: Any = lambda module, z, context, key: (module.base.mean(context), module.base.deviation(context))
    return flow.run(variables, run, jnp.zeros((*num, *flow.latent_shape)), num, context)[0]


@functools.partial(jax.jit, static_argnames=("flow", "shape"))
def _draw(flow: Flow, variables: Variables, key: Key, shape: Shape, context: Array | None, temperature: Array) -> Array:
    return flow.sample_latent(variables, key, shape, context, temperature)

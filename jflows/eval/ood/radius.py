"""`radius`: how far a latent is from the shell on which draws of the base lie."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.ood.base import LATENT, Evidence, Measure, numbers
from jflows.flows import Flow
from jflows.flows.dequantize import example_keys
from jflows.options import AtLeastTwo, checked
from jflows.typing import Array, Batch, Key, Variables

DRAWS_PER_CALL = 256


def radius(norms: ArrayLike, base_norms: ArrayLike) -> np.ndarray:
    """The distance of |z| from its mean under the base, in standard deviations.

        d = | |z| - E|e| | / sd|e|,   e ~ base

    In D dimensions the norm of N(0, I) is about sqrt(D) +- 0.7: latents much nearer to the origin are as untypical as
    those far out, though the density is highest there.

    Source: Nalisnick et al. 2019, arXiv:1906.02994, section 2 (the typical set of a normal distribution).

    Args:
      norms: |z| of rows, by `latent_norms`.
      base_norms: |e| of draws of the base, by `base_norms`.
    Shapes:
      norms: [num], base_norms: [num_draws], num_draws >= 2 -> [num]; infinite where the latent is.
    Raises:
      InvalidValueError: if numbers are NaN, or all norms of the base are equal.
    """
    own, drawn = numbers("radius", "norms", norms), numbers("radius", "base_norms", base_norms)
    spread = float(drawn.std(ddof=1)) if len(drawn) > 1 else 0.0
    if not spread > 0:
        raise InvalidValueError("radius", "base_norms", "must vary", f"a deviation of {spread:g}")
    return np.abs(own - drawn.mean()) / spread


def latent_norms(flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key) -> Iterator[np.ndarray]:
    """The norm |z| of the latent of every row in order, a batch at a time; infinite for rows outside of the support.

    Integers get the noise that `jflows.eval.row_scores` gives them with the same key: at the centres of their bins they
    would lie too near to the origin.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
    """
    for batch in batches:
        norms = np.asarray(_norms(flow, variables, batch, key), np.float64)
        yield np.where(np.isnan(norms), np.inf, norms)[np.asarray(batch.weight) > 0]


@checked
def base_norms(
    flow: Flow, variables: Variables, key: Key, num_draws: AtLeastTwo, context: np.ndarray | None = None
) -> np.ndarray:
    """The norms |e| of draws of the base: [num_draws].

    Args:
      context: contexts [num, *context_shape] that draws have in turn, for flows that take one.
    """
    parts = []
    for start in range(0, num_draws, DRAWS_PER_CALL):
        index = np.arange(start, start + DRAWS_PER_CALL)
        own = None if context is None else context[index % len(context)]
        parts.append(np.asarray(_drawn_norms(flow, variables, key, index.astype(np.uint32), own), np.float64))
    return np.concatenate(parts)[:num_draws]


@functools.partial(jax.jit, static_argnames="flow")
def _norms(flow: Flow, variables: Variables, batch: Batch, key: Key) -> Array:
    keys = example_keys(key, batch.index) if flow.needs_key else None
    return _norm(flow, flow.encode(variables, batch.x, batch.context, keys)[0])


@functools.partial(jax.jit, static_argnames="flow")
def _drawn_norms(flow: Flow, variables: Variables, key: Key, index: Array, context: Array | None) -> Array:
    shape = index.shape if context is None else ()
    return _norm(flow, flow.sample_latent(variables, example_keys(key, index), shape, context))


def _norm(flow: Flow, z: Array) -> Array:
    return jnp.sqrt(jnp.sum(z**2, axis=tuple(range(-len(flow.latent_shape), 0))))


@dataclasses.dataclass(frozen=True)
class Radius(Measure):
    """| |z| - E|e| | / sd|e| for e from the base, see `radius`."""

    name: ClassVar[str] = "radius"
    unit: ClassVar[str] = "deviations"
    needs: ClassVar[tuple[str, ...]] = (LATENT,)

    def __call__(self, evidence: Evidence) -> np.ndarray:
        """The distance of each row in standard deviations: [num]."""
        num = len(evidence.log_prob)
        return radius(numbers("radius", "norms", evidence.norms, num), numbers("radius", "base", evidence.base_norms))

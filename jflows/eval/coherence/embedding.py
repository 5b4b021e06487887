"""Latents of rows with their log densities, and the rows that latents decode to: the two ends of a flow.

Read next: `base.py`, which says how likely latents are under the base.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError
from jflows.eval.coherence.base import Context, LatentBase
from jflows.eval.latent import decode_data
from jflows.eval.latent_tests.flows import encode_batch
from jflows.flows import Flow
from jflows.typing import Array, Batch, Key, Variables

BATCH, FEW = 64, 16  # latents that are decoded in one call, and in one of few


class Embedded(NamedTuple):
    """The latents of rows.

    Attributes:
      latents: [num, *latent_shape]; those of integers have the noise of dequantization, as in training.
      base_log_prob: ln p(u), that of the latents under the base, in nats, float64 [num].
      log_prob: ln p(x) of the (dequantized) rows in nats, float64 [num].
      context: what the rows are conditioned on, [num, *context_shape], or None.
    """

    latents: np.ndarray
    base_log_prob: np.ndarray
    log_prob: np.ndarray
    context: Context

    def take(self, rows: np.ndarray) -> "Embedded":
        """These rows, by their positions or a mask."""
        context = None if self.context is None else self.context[rows]
        return Embedded(self.latents[rows], self.base_log_prob[rows], self.log_prob[rows], context)


class Decoded(NamedTuple):
    """The rows that latents stand for.

    Attributes:
      x: [num, *event_shape], integers if the flow dequantizes.
      log_prob: ln p(x) in nats, of integers at the centres of their bins, [num].
      base_log_prob: ln p(u) of the latents under the base in nats, float64 [num].
    """

    x: np.ndarray
    log_prob: np.ndarray
    base_log_prob: np.ndarray


def embedded(flow: Flow, variables: Variables, base: LatentBase, batches: Iterable[Batch], key: Key) -> Embedded:
    """Encodes all rows in their order.

    Args:
      base: the base of the flow, by `base_of`.
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
      key: key of the noise of dequantization.
    Raises:
      DataError: if there is no row, or a latent is not finite.
    """
    latents, log_dets, contexts = [], [], []
    for batch in batches:
        kept = np.asarray(batch.weight) > 0
        z, log_det = encode_batch(flow, variables, batch, key)
        latents.append(np.asarray(z)[kept])
        log_dets.append(np.asarray(log_det, np.float64)[kept])
        contexts += [] if batch.context is None else [np.asarray(batch.context)[kept]]
    if not latents:
        raise DataError("embedded", "data", "must have rows to embed", "none", "Name other data by {data}.")
    z, context = np.concatenate(latents), np.concatenate(contexts) if contexts else None
    bad = np.flatnonzero(~np.isfinite(z.reshape(len(z), -1)).all(axis=1))
    if bad.size:
        rule, fix = "must have latents that are finite", "Choose another {checkpoint}, or train anew."
        raise DataError("coherence", "data", rule, f"{bad.size:,} rows of {len(z):,} without, the first {bad[0]}", fix)
    log_prob = base.log_prob(z, context)
    return Embedded(z, log_prob, log_prob + np.concatenate(log_dets), context)


def decoded(flow: Flow, variables: Variables, base: LatentBase, latents: ArrayLike, context: Context = None) -> Decoded:
    """Decodes latents [num, *latent_shape] in calls of one size, and scores them.

    Args:
      context: the context of each latent, [num, *context_shape], or None.
    """
    z, parts = np.asarray(latents, np.float32), []
    size = BATCH if len(z) > FEW else FEW  # two programs for all numbers of latents
    for start in range(0, len(z), size):
        rows = np.arange(start, start + size) % len(z)  # filled up, so that all calls have one shape
        found = _decoded(flow, variables, z[rows], None if context is None else context[rows])
        parts.append([np.asarray(part)[: len(z) - start] for part in found])
    x, log_prob = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Decoded(x, log_prob, base.log_prob(z, context))


@functools.partial(jax.jit, static_argnames="flow")
def _decoded(flow: Flow, variables: Variables, z: Array, context: Array | None) -> tuple[Array, Array]:
    return decode_data(flow, variables, z, context)

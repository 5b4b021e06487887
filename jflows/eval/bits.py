"""`evaluate`: the mean bits per dimension, and nats, over a whole data set, each example counted once."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data.reading import Reading, check_batch_values
from jflows.errors import InvalidValueError
from jflows.eval.memory import check_memory, least_bytes
from jflows.eval.spread import spread
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.options import Count, checked
from jflows.typing import Array, Batch, Key, Variables


class Evaluation(NamedTuple):
    """The mean over a data set, its uncertainty and its size.

    Attributes:
      bits_per_dim: mean bits per dimension; for flows that dequantize, an upper bound on the code length.
      standard_error: standard error of `bits_per_dim`, from the spread over examples.
      nats: mean log-likelihood per event, in nats (higher is better).
      nats_standard_error: standard error of `nats`.
      num_examples: how many examples were counted.
      effective_examples: (sum w)^2 / sum w^2 of their weights w, `num_examples` if all count alike.
    """

    bits_per_dim: float
    standard_error: float
    nats: float
    nats_standard_error: float
    num_examples: int
    effective_examples: float


@checked
def evaluate(
    flow: Density,
    variables: Variables,
    batches: Iterable[Batch],
    key: Key,
    num_draws: Count = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Scores every example once; padding (weight 0) does not count.

        mean = sum w b / sum w,   standard error^2 = sum w^2 (b - mean)^2 / (sum w)^2

    Examples are taken for independent, each with its weight; with equal weights this is the deviation over the root of
    their number. Source of the standard error: Owen 2013, "Monte Carlo theory, methods and examples", eq. 9.9.

    Batches are spread over all devices of all processes, which changes no bit of the result.
    The noise of example i is drawn from `fold_in(key, i)`, so that the result does not depend on the batch size, except
    for the noise of an estimated log-det, which is drawn once per batch.

    Args:
      batches: batches of one size, as `jflows.data.eval_batches(data, batch_size, flow.reading)` makes them.
      key: typed key for the noise of flows that dequantize or estimate their log-det.
      num_draws: M > 1 gives the importance-weighted bound of `Density.bits_per_dim`.
      on_batch: a function that is called with the number of examples done, to show progress.
    Raises:
      InvalidValueError: if there is no example.
      InvalidTypeError, DataError: if the shape, type or values of a batch do not suit `flow.reading`.
    """
    kept, scored = itertools.tee(_checked_batches("evaluate", flow, variables, batches, key, num_draws, flow.reading))
    parts, done = [], 0
    for batch, part in zip(kept, spread(_moments, (flow, num_draws), (variables, key), scored), strict=True):
        parts.append(part)
        done += len(batch.index)
        if on_batch is not None:
            on_batch(done)
    counts, weights, means, of_squares, linear, squares = np.asarray(parts, np.float64).reshape(-1, 6).T
    weight = weights.sum()
    if weight == 0:
        raise InvalidValueError("evaluate", "batches", "must hold at least one example of positive weight", "none")
    mean = float(np.sum(weights * means) / weight)
    # Squares are about the mean of their batch: E[x^2] - E[x]^2 in float32 would cancel (Chan et al. 1983).
    off = means - mean
    scatter = float(np.sum(squares + 2 * off * linear + off**2 * of_squares))
    error, nats_per_bit = math.sqrt(max(scatter, 0)) / weight, flow.num_dims * math.log(2)
    effective = float(weight**2 / of_squares.sum())
    return Evaluation(mean, error, -mean * nats_per_bit, error * nats_per_bit, round(counts.sum()), effective)


@checked
def row_scores(
    flow: Density, variables: Variables, batches: Iterable[Batch], key: Key, num_draws: Count = 1
) -> Iterator[np.ndarray]:
    """The score of every row in order, a batch at a time, in the unit of the flow: nats, or bits per dimension.

    Rows without padding are given; their noise is that of `evaluate`, whose mean is that of these scores. A row outside
    of the support of the flow has density 0, a score of -inf nats.

    Args:
      batches, key, num_draws: as for `evaluate`; rows of weight 0 are taken for padding.
    Raises:
      InvalidTypeError, DataError: if the shape, type or values of a batch do not suit `flow.reading.beyond_support()`.
    """
    reading = flow.reading.beyond_support()
    kept, scored = itertools.tee(_checked_batches("row_scores", flow, variables, batches, key, num_draws, reading))
    found = spread(_bits, (flow, num_draws), (variables, key), scored)
    for batch, part in zip(kept, found, strict=True):
        bits = np.asarray(part, np.float64)[np.asarray(batch.weight) > 0]
        yield flow.unit.score(-bits * (flow.num_dims * math.log(2)), flow.num_dims)


def _checked_batches(
    where: str,
    flow: Density,
    variables: Variables,
    batches: Iterable[Batch],
    key: Key,
    num_draws: int,
    reading: Reading,
) -> Iterator[Batch]:
    """The batches, once the reading takes their values, and the first one fits into memory."""
    for number, batch in enumerate(batches):
        check_batch_values(batch, reading, where)
        if not number:
            traced = _traceable_bits.trace(flow, num_draws, (variables, key), batch)
            least = least_bytes(traced.jaxpr)
            check_memory(where, "batch_size", least, "the scores of a batch", len(batch.index), "Lower it.")
        yield batch


def _bits(flow: Density, num_draws: int, given: tuple[Variables, Key], batch: Batch) -> Array:
    """Bits per dimension of every row: [batch]."""
    variables, key = given
    keys = example_keys(key, batch.index) if flow.needs_key else None
    return flow.bits_per_dim(variables, batch.x, batch.context, keys, num_draws)


# One function for all calls, as JAX then keeps what it has traced: a validation of a small flow took twice as long.
_traceable_bits = jax.jit(_bits, static_argnums=(0, 1))


def _moments(flow: Density, num_draws: int, given: tuple[Variables, Key], batch: Batch) -> Array:
    """Of a batch: the number of rows that count, sum w, the mean, and sum w^2 (b - mean)^k for k = 0, 1, 2."""
    bits = _bits(flow, num_draws, given, batch)
    weight = jnp.asarray(batch.weight, bits.dtype)
    bits, total = jnp.where(weight > 0, bits, 0.0), jnp.sum(weight)
    mean = jnp.sum(weight * bits) / jnp.where(total > 0, total, 1)
    off = jnp.where(weight > 0, bits - mean, 0.0)
    about_mean = [jnp.sum(weight**2 * off**power) for power in (0, 1, 2)]
    return jnp.stack([jnp.sum(weight > 0, dtype=bits.dtype), total, mean, *about_mean])

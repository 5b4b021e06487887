"""`evaluate`: the mean bits per dimension, and nats, over a whole data set, each example counted once."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data.reading import check_batch_values
from jflows.errors import InvalidValueError
from jflows.flows import Density
from jflows.flows.density import example_keys
from jflows.typing import Array, Batch, Key, Variables


class Evaluation(NamedTuple):
    """The mean over a data set, its uncertainty and its size.

    Attributes:
      bits_per_dim: mean bits per dimension; for flows that dequantize, an upper bound on the code length.
      standard_error: standard error of `bits_per_dim`, from the spread over examples.
      nats: mean log-likelihood per event, in nats (higher is better).
      nats_standard_error: standard error of `nats`.
      num_examples: how many examples were counted.
    """

    bits_per_dim: float
    standard_error: float
    nats: float
    nats_standard_error: float
    num_examples: int


def evaluate(
    flow: Density,
    variables: Variables,
    batches: Iterable[Batch],
    key: Key,
    num_draws: int = 1,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Scores every example once; padding (weight 0) does not count.

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
    parts, done = [], 0
    for batch in batches:
        check_batch_values(batch, flow.reading, "evaluate")
        # Moments stay on the device until the end, so the next batch is prepared while this one is computed.
        parts.append(_moments(flow, variables, batch, key, num_draws))
        done += len(batch.index)
        if on_batch is not None:
            on_batch(done)
    weights, means, squares = np.asarray(parts, np.float64).reshape(-1, 3).T
    weight = weights.sum()
    if weight == 0:
        raise InvalidValueError("evaluate", "batches", "must hold at least one example of weight 1", "none")
    # Squares are about the mean of their batch: E[x^2] - E[x]^2 in float32 would cancel (Chan et al. 1983).
    mean = float(np.sum(weights * means) / weight)
    variance = float((squares.sum() + np.sum(weights * (means - mean) ** 2)) / weight)
    error, nats_per_bit = math.sqrt(variance / weight), flow.num_dims * math.log(2)
    return Evaluation(mean, error, -mean * nats_per_bit, error * nats_per_bit, round(weight))


@functools.partial(jax.jit, static_argnames=("flow", "num_draws"))
def _moments(flow: Density, variables: Variables, batch: Batch, key: Key, num_draws: int) -> Array:
    """Of a batch: the weight, the mean, and the squares about it."""
    keys = example_keys(key, batch.index) if flow.needs_key else None
    bits = flow.bits_per_dim(variables, batch.x, batch.context, keys, num_draws)
    bits = jnp.where(batch.weight > 0, bits, 0.0)
    weight = jnp.sum(batch.weight)
    mean = jnp.sum(bits) / jnp.maximum(weight, 1)
    squares = jnp.sum(jnp.where(batch.weight > 0, (bits - mean) ** 2, 0.0))
    return jnp.stack([weight, mean, squares])

"""The latents of data by a flow, and its base as `latent_null` takes it."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.latent_tests.null import Draw
from jflows.flows import Flow
from jflows.flows.dequantize import example_keys
from jflows.typing import Array, Batch, Key, Variables


def latents_of(flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key) -> np.ndarray:
    """The latents of all rows in order, flattened: [num, dim].

    Integers get the noise of dequantization, as in training: at the centres of their bins, latents are no draws of the
    base. Rows outside of the support have latents of NaN.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
    Raises:
      InvalidTypeError: if it is no flow: a mixture of flows has no single latent space.
      InvalidValueError: if there are no batches.
    """
    check_one_flow("latents_of", flow)
    parts = []
    for batch in batches:
        z = np.asarray(encode_batch(flow, variables, batch, key)[0])
        parts.append(z.reshape(len(z), -1)[np.asarray(batch.weight) > 0])
    check_rows("latents_of", parts)
    return np.concatenate(parts)


def base_of_flow(flow: Flow, variables: Variables, num: int, context: ArrayLike | None = None) -> Draw | None:
    """The base of a flow for `latent_null`: None for N(0, I), whose distribution functions are known.

    Args:
      num: number of rows of a set.
      context: [num, *context_shape], that of each row, for flows that take one.
    """
    check_one_flow("base_of_flow", flow)
    if isinstance(flow.base, StandardNormal):
        return None
    if context is None:
        return lambda key: _drawn(flow, variables, key, (num,), None)
    own = jnp.asarray(context)
    return lambda key: _drawn(flow, variables, key, (), own)


def groups_of(context: ArrayLike) -> np.ndarray:
    """Groups of rows by their contexts, for `latent_null`: int [num].

    Class labels [num] are groups themselves. Contexts [num, *context_shape] of numbers are cut into quarters along the
    direction in which they vary most, each column in its own standard deviations.
    """
    values = np.asarray(context)
    if values.ndim == 1 and values.dtype.kind in "ui":
        return values
    flat = values.reshape(len(values), -1).astype(np.float64)
    spread = flat.std(axis=0)
    scaled = (flat - flat.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    along = scaled @ np.linalg.eigh(scaled.T @ scaled)[1][:, -1]
    return np.searchsorted(np.quantile(along, [0.25, 0.5, 0.75]), along, side="left")


def check_one_flow(where: str, flow: Flow) -> None:
    """Raises `InvalidTypeError` unless it is a flow, which has one latent space."""
    if not isinstance(flow, Flow):
        rule = "must be a Flow, which has one latent space and one base"
        raise InvalidTypeError(where, "flow", rule, "None" if flow is None else kind_of(flow))


def check_rows(where: str, parts: Sequence[Any]) -> None:
    """Raises `InvalidValueError` if there was no batch at all."""
    if not parts:
        raise InvalidValueError(where, "batches", "must hold rows", "no batch", "An iterator can be read once only.")


@functools.partial(jax.jit, static_argnames="flow")
def encode_batch(flow: Flow, variables: Variables, batch: Batch, key: Key) -> tuple[Array, Array]:
    """The latents of a batch, and the log-dets; the noise of dequantization of a row follows from its index alone."""
    keys = example_keys(key, batch.index) if flow.needs_key else None
    return flow.encode(variables, batch.x, batch.context, keys)


@functools.partial(jax.jit, static_argnames=("flow", "shape"))
def _drawn(flow: Flow, variables: Variables, key: Key, shape: tuple[int, ...], context: Array | None) -> Array:
    return flow.sample_latent(variables, key, shape, context)

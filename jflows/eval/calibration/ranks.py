"""What calibration is read from: ranks of true values among draws of a flow, and the transform of their latents."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidValueError, check_key
from jflows.eval.latent_tests.flows import check_one_flow, check_rows
from jflows.flows import Flow
from jflows.options import AtLeastTwo, checked
from jflows.typing import Array, Batch, Key, Variables


class Ranks(NamedTuple):
    """The ranks of true values among draws of a density, see `ranks_of`.

    Attributes:
      values: int [num, dim], how many of the draws are below x in each dimension.
      density: int [num], how many of the draws have a lower density than x.
      num_draws: number of draws for each case.
    """

    values: np.ndarray
    density: np.ndarray
    num_draws: int


@checked
def ranks_of(flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key, num_draws: AtLeastTwo = 99) -> Ranks:
    """The ranks of rows among draws of the flow with the contexts of these rows.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
      key: key of the draws.
      num_draws: number of draws for each row; time grows in proportion.
    Returns:
      `Ranks`, of one rank for each row and column, and one of the density for each row.
    Raises:
      InvalidValueError: if the flow is one of integers, whose ranks have ties.
    """
    check_floats("ranks_of", flow)
    check_key("ranks_of", key)
    parts = []
    for number, batch in enumerate(batches):
        found = _ranks(flow, variables, batch, jax.random.fold_in(key, number), num_draws)
        parts.append([np.asarray(each)[np.asarray(batch.weight) > 0] for each in found])
    check_rows("ranks_of", parts)
    values, density = map(np.concatenate, zip(*parts, strict=True))
    return Ranks(values, density, num_draws)


def pit_of(flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key) -> np.ndarray:
    """The probability integral transform of rows: u_i = F_i(z_i), with z the latents of the rows given their contexts.

    If x given its context follows the flow, all entries are uniform and independent, without the noise of any draws.

    Source: Rosenblatt 1952, Annals of Mathematical Statistics 23, 470-472, eq. 1, by the map of the flow.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
      key: key for the noise of log-dets that are estimated; nothing else is random.
    Returns:
      [num, dim], flattened. Rows outside of the support have NaN. In float32, u is known to 6e-8.
    Raises:
      InvalidValueError: if the flow is one of integers, or the transform of its base is not known, see `Base.has_pit`.
    """
    check_floats("pit_of", flow)
    if not flow.base.has_pit:
        rule, fix = "must have a base that is a product over dimensions", "Test its ranks alone, by ranks_of."
        raise InvalidValueError("pit_of", "flow", rule, f"a flow of {type(flow.base).__name__}", fix)
    parts = []
    for batch in batches:
        u = np.asarray(_transformed(flow, variables, batch, key))
        parts.append(u.reshape(len(u), -1)[np.asarray(batch.weight) > 0])
    check_rows("pit_of", parts)
    return np.concatenate(parts)


def check_floats(where: str, flow: Flow) -> None:
    """Raises `InvalidTypeError` for what is no flow, and `InvalidValueError` for a flow of integers."""
    check_one_flow(where, flow)
    if flow.dequantize is not None:
        raise InvalidValueError(where, "flow", "must be of data that are floats", "a flow of integers")


@functools.partial(jax.jit, static_argnames=("flow", "num_draws"))
def _ranks(flow: Flow, variables: Variables, batch: Batch, key: Key, num_draws: int) -> tuple[Array, Array]:
    num = len(batch.x)
    draw_key, own_key = jax.random.split(key)
    shape = (num_draws, num) if batch.context is None else (num_draws,)
    drawn = flow.sample(variables, draw_key, shape, batch.context)
    noise = own_key if flow.estimates_log_det else None
    of_draws, of_x = (flow.log_prob(variables, x, batch.context, noise) for x in (drawn, batch.x))
    below = jnp.sum(drawn < batch.x, axis=0).reshape(num, -1)
    return below, jnp.sum(of_draws < of_x, axis=0)


@functools.partial(jax.jit, static_argnames="flow")
def _transformed(flow: Flow, variables: Variables, batch: Batch, key: Key) -> Array:
    noise = key if flow.estimates_log_det else None
    z = flow.encode(variables, batch.x, batch.context, noise)[0]
    transform = lambda module, z, context, _: module.base.pit(z, context)
    return flow.run(variables, transform, z, z.shape[:1], batch.context, noise)[0]

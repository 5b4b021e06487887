"""Block neural autoregressive networks: z_i is an increasing function of x_i whose shape depends on x_1 .. x_{i-1}.

Each layer is one triangular matrix of blocks. The blocks on the diagonal are positive, so that the log-derivatives
dz_i/dx_i accumulate block by block, in log space.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp, softplus

from jflows.ops import varying
from jflows.ops.affine import bounded_log_scale
from jflows.ops.numerics import EXACT
from jflows.ops.root_finding import invert_increasing
from jflows.typing import Array

MAX_LOG_WEIGHT = 8.0  # e^8 = 2981: weights and norms stay finite whatever the raw parameters are
RESIDUALS = ("gate", "add", "none")
MIN_GATE = 1e-3  # the share of x in z, and so the smallest slope of a gated map


class BlockLayer(NamedTuple):
    """One layer from [dim, fan_in] hidden units to [dim, fan_out].

    Attributes:
      lower: [dim, fan_out, dim, fan_in], zero unless the input's coordinate comes before the output's.
      log_diagonal: [dim, fan_out, fan_in], the logarithm of the positive blocks.
      bias: [*batch or nothing, dim, fan_out].
    """

    lower: Array
    log_diagonal: Array
    bias: Array


def block_layer(raw: Array, raw_norm: Array, bias: Array) -> BlockLayer:
    """Triangular weights with positive diagonal blocks and rows of norm exp(norm).

        w = exp(norm) v / |v|,   v = exp(raw) in a diagonal block, raw below it, 0 above it

    Source: De Cao et al. 2019, arXiv:1904.04676, section 3, with its weight normalisation. Differs: raw in the diagonal
    blocks and norm are held in +-MAX_LOG_WEIGHT by a tanh.

    Shapes:
      raw: [dim, fan_out, dim, fan_in], raw_norm: [dim, fan_out], bias: [*batch or nothing, dim, fan_out].
    """
    dim = raw.shape[0]
    before = jnp.tril(jnp.ones((dim, dim), bool), -1)[:, None, :, None]
    lower = jnp.where(before, raw, 0.0)
    diagonal = jnp.moveaxis(jnp.diagonal(raw, axis1=0, axis2=2), -1, 0)  # [dim, fan_out, fan_in]
    log_diagonal = bounded_log_scale(diagonal, "tanh", MAX_LOG_WEIGHT)
    squared = jnp.sum(lower**2, axis=(2, 3)) + jnp.sum(jnp.exp(2 * log_diagonal), axis=2)
    log_scale = bounded_log_scale(raw_norm, "tanh", MAX_LOG_WEIGHT) - 0.5 * jnp.log(squared)
    return BlockLayer(lower * jnp.exp(log_scale)[..., None, None], log_diagonal + log_scale[..., None], bias)


def log_shares(residual: str, raw_gate: Array | None) -> tuple[Array, Array]:
    """The logarithms of the shares that x and the network have in z.

    | residual | z | dz_i/dx_i |
    |---|---|---|
    | "gate" | g x + (1 - g) network(x), g = MIN_GATE + (1 - MIN_GATE) sigmoid(raw_gate) | above MIN_GATE |
    | "add" | x + network(x) | above 1 |
    | "none" | network(x), which is bounded | above 0 |

    Source: the published code of De Cao et al. 2019, arXiv:1904.04676.

    Shapes:
      raw_gate: [] -> [], []; None unless there is a gate.
    """
    if raw_gate is None:
        return jnp.asarray(0.0 if residual == "add" else -jnp.inf), jnp.asarray(0.0)
    share = MIN_GATE + (1 - MIN_GATE) * jax.nn.sigmoid(raw_gate)
    return jnp.log(share), math.log1p(-MIN_GATE) + jax.nn.log_sigmoid(-raw_gate)


def block_autoregressive(x: Array, layers: Sequence[BlockLayer], shares: tuple[Array, Array]) -> tuple[Array, Array]:
    """The network x -> z, with tanh between the layers, and log dz_i/dx_i.

    Source: De Cao et al. 2019, arXiv:1904.04676, section 3.

    Args:
      x: any points.
      layers: first to last, the last with one unit per coordinate.
      shares: the result of `log_shares`.
    Shapes:
      x: [*batch, dim] -> z: [*batch, dim], log_slope: [*batch, dim].
    """
    hidden = x[..., None]
    log_slope = jnp.zeros_like(hidden)
    for index, layer in enumerate(layers):
        if index:
            log_slope = log_slope + _log_tanh_slope(hidden)
            hidden = jnp.tanh(hidden)
        log_slope = logsumexp(layer.log_diagonal + log_slope[..., None, :], axis=-1)
        hidden = _product(_full(layer), hidden) + layer.bias
    log_x, log_network = (share.astype(x.dtype) for share in shares)
    z = jnp.exp(log_x) * x + jnp.exp(log_network) * hidden[..., 0]
    return z, jnp.logaddexp(log_x, log_network + log_slope[..., 0])


def block_autoregressive_inverse(z: Array, layers: Sequence[BlockLayer], shares: tuple[Array, Array]) -> Array:
    """Solves `block_autoregressive`(x) = z, one coordinate after the other.

    What earlier coordinates contribute to a block is computed once, before the search; a step of the search then costs
    the diagonal blocks of one coordinate only, and the whole inversion about one pass of the network beside them.
    Derivatives are those of the scanned solutions, each implicit; reverse mode stores the hidden units `dim` times.

    Shapes:
      z: [*batch, dim] -> x: the same. NaN or infinite where z is out of reach, which only "none" allows.
    """
    dim = z.shape[-1]
    z = z.astype(jnp.result_type(z, layers[0].lower))  # what is scanned keeps one dtype
    x_share, network_share = (jnp.exp(share).astype(z.dtype) for share in shares)

    def solve_one(known: list[Array], row: tuple) -> tuple[list[Array], Array]:
        i, target, weights = row
        offsets = [
            _product(layer.lower[None], units)[..., 0, :] + layer.bias
            for units, layer in zip(known, weights, strict=True)
        ]
        blocks = [jnp.exp(layer.log_diagonal) for layer in weights]

        def own_units(x_i: Array) -> tuple[list[Array], Array]:
            """What enters each layer from this coordinate, and the network's output."""
            inputs, value = [], x_i[..., None]
            for index, (block, offset) in enumerate(zip(blocks, offsets, strict=True)):
                inputs.append(jnp.tanh(value) if index else value)
                value = jnp.einsum("oi,...i->...o", block, inputs[-1], precision=EXACT) + offset
            return inputs, value[..., 0]

        def increasing(x_i: Array) -> Array:
            return x_share * x_i + network_share * own_units(x_i)[1]

        x_i = invert_increasing(increasing, target, -10.0, 10.0)
        put = lambda units, new: lax.dynamic_update_index_in_dim(units, new, i, units.ndim - 2)
        return [put(units, new) for units, new in zip(known, own_units(x_i)[0], strict=True)], x_i

    fan_ins = [layer.lower.shape[-1] for layer in layers]
    nothing = [jnp.zeros((*z.shape, fan_in), z.dtype) for fan_in in fan_ins]  # zero: not known yet
    by_row = [BlockLayer(w.lower, w.log_diagonal, jnp.moveaxis(w.bias, -2, 0)) for w in layers]
    _, x = varying.scan(solve_one, nothing, (jnp.arange(dim), jnp.moveaxis(z, -1, 0), by_row))
    return jnp.moveaxis(x, 0, -1)


def _full(layer: BlockLayer) -> Array:
    """[dim, fan_out, dim, fan_in] with the diagonal blocks put in."""
    eye = jnp.eye(layer.lower.shape[0], dtype=layer.lower.dtype)
    return layer.lower + eye[:, None, :, None] * jnp.exp(layer.log_diagonal)[:, :, None, :]


def _product(weight: Array, hidden: Array) -> Array:
    """[rows, fan_out, dim, fan_in] times [*batch, dim, fan_in], as one product of matrices."""
    rows, fan_out = weight.shape[:2]
    flat = hidden.reshape(*hidden.shape[:-2], -1)
    out = jnp.matmul(flat, weight.reshape(rows * fan_out, -1).T, precision=EXACT)
    return out.reshape(*out.shape[:-1], rows, fan_out)


def _log_tanh_slope(values: Array) -> Array:
    """log(1 - tanh^2), which would round to log 0 beyond 19."""
    return 2 * (math.log(2) - values - softplus(-2 * values))

"""Solving for the inputs of an autoregressive network in order, with each hidden unit computed about once.

If x_i = solve(z_i, params_i), and params_i depends on earlier inputs only, D passes of the network find x. Here it
costs about one: an input is found as soon as the units that it needs are known, and a unit as soon as its inputs are.
Inputs and units are cut into blocks of neighbouring degrees. What a finished block contributes to all later units is
one large product per layer; inside a block, small products lead from one degree to the next.

The same algorithm on the transposed network, its activations replaced by their slopes, solves the triangular system of
the implicit gradient.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.ops.autoregressive import made_masks
from jflows.typing import Array, PyTree

BLOCK_UNIT = 16  # see `block_size`
WIDTH_UNIT = 8  # on a CPU, a product over 33 columns was measured at twice the time of one over 40


@dataclasses.dataclass(frozen=True)
class MaskedNetwork:
    """A masked network as arrays: fed_0 = x, v_k = slope_k (fed_{k-1} W_k + b_k) [+ v_{k-2}], fed_k = act(v_k).

    The last v is the output: params. Masks follow from the degrees, as `made_masks` says.

    Attributes:
      kernels: W_k unmasked, [in, out]. Rows of the first are [features, dim], columns of the last [num_params, dim].
      biases: b_k, [*batch or nothing, out].
      degrees: of the inputs, 1 to dim in any order, then of each hidden layer, ascending or descending.
      activation: elementwise.
      residual: whether layers 2, 4 .. add v_{k-2}, whose degrees are theirs.
      slopes: of each hidden layer, [*batch, out]; () for ones.
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    degrees: tuple[np.ndarray, ...]
    activation: Callable[[Array], Array]
    residual: bool = False
    slopes: tuple[Array, ...] = ()

    def skips(self, k: int) -> bool:
        """Whether layer k adds the one before the last."""
        return self.residual and k in range(2, len(self.kernels) - 1, 2)


def masked_pass(network: MaskedNetwork, x: Array) -> list[Array]:
    """All layers at once, from inputs that are known: v_1 .. v_last, the last one being the parameters.

    Shapes:
      x: [*batch, dim] -> [*batch, out] of each layer.
    """
    num_params = network.kernels[-1].shape[1] // x.shape[-1]
    masks = made_masks(network.degrees, num_params)
    values, fed = [], x
    for k, (kernel, bias, mask) in enumerate(zip(network.kernels, network.biases, masks, strict=True)):
        v = _product(fed, jnp.where(mask, kernel, jnp.zeros_like(kernel))) + bias
        values.append(v + values[k - 2] if network.skips(k) else v)
        fed = network.activation(values[-1])
    return values


def transposed(network: MaskedNetwork, x: Array) -> MaskedNetwork:
    """The network that takes cotangents of the parameters to those of x, linear, with the order of inputs reversed.

    A unit of degree d is seen by the outputs of degree above d. Counted from the end those are at most D - d, which is
    therefore its degree here; an input's is D + 1 - d.

    Shapes:
      x: [*batch, dim], where to differentiate.
    """
    hidden = masked_pass(network, x)[:-1]
    slopes = tuple(jax.jvp(network.activation, (v,), (jnp.ones_like(v),))[1] for v in hidden[::-1])
    kernels = tuple(kernel.T for kernel in network.kernels[::-1])
    biases = tuple(jnp.zeros(kernel.shape[1], x.dtype) for kernel in kernels)
    inputs, *units = network.degrees
    degrees = (len(inputs) + 1 - inputs, *(len(inputs) - degree for degree in units[::-1]))
    return MaskedNetwork(kernels, biases, degrees, lambda v: v, network.residual, slopes)


def block_size(dim: int) -> int:
    """Inputs per block, about sqrt(dim): between many products over all later units and large ones inside blocks.

    From 64 inputs on a multiple of 16: at 64 that was measured a tenth faster than 8, at 784 32 as fast as 24 and 48.
    """
    size = math.isqrt(dim)
    return size if size < WIDTH_UNIT else -(-size // BLOCK_UNIT) * BLOCK_UNIT


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Axis:
    """Where blocks, and the degrees in them, lie on an axis of inputs or units; in a scan, of one block.

    Windows have one width for all, so they may reach into neighbours; `degree` tells what belongs where.

    Attributes:
      start: of each block's window, int [num_blocks].
      degree: of what is in it, int [num_blocks, width]. An input's is that of the last units that it needs.
      first: where in it each degree begins, int [num_blocks, size].
      count: how many units of one degree there are at most.
    """

    start: Any
    degree: Any
    first: Any
    count: int = dataclasses.field(metadata={"static": True})

    def cut(self, values: Array, axis: int = -1) -> Array:
        """The window of a block."""
        return lax.dynamic_slice_in_dim(values, self.start, self.degree.shape[-1], axis % values.ndim)

    def pick(self, values: Array, step: Array) -> Array:
        """Of a window, on its last axis: one degree and perhaps some neighbours."""
        return lax.dynamic_slice_in_dim(values, self.first[step], self.count, values.ndim - 1)

    def put(self, values: Array, new: Array, step: Array, degree: Array) -> Array:
        """The opposite of `pick`; leaves the neighbours alone."""
        new = jnp.where(self.pick(self.degree, step) == degree, new, self.pick(values, step))
        return lax.dynamic_update_slice_in_dim(values, new.astype(values.dtype), self.first[step], values.ndim - 1)


def _axis(degrees: np.ndarray, size: int, num_blocks: int, unit: int = WIDTH_UNIT) -> _Axis:
    def spans(groups: np.ndarray, number: int, unit: int) -> tuple[np.ndarray, int]:
        """Where a window of each group begins, and their width: of the largest group, up to a multiple of unit."""
        members = [np.flatnonzero(groups == group) for group in range(number)]
        width = max(map(len, members))
        width = min(len(groups), -(-width // unit) * unit)
        return np.array([min(m[0], len(groups) - width) if len(m) else 0 for m in members]), width

    start, width = spans(degrees // size, num_blocks, unit)
    degree = degrees[start[:, None] + np.arange(width)]
    first, count = spans(degrees, num_blocks * size, 1)
    first = np.clip(first.reshape(num_blocks, size) - start[:, None], 0, width - count)
    return _Axis(start, degree, first, count)


def solve_in_order(
    solve: Callable[[PyTree, Array], Array],
    feed: Callable[[PyTree, Array], Array],
    inputs: PyTree,
    network: MaskedNetwork,
    size: int | None = None,
) -> Array:
    """x with x_i = solve(inputs_i, params_i), params = network(feed(inputs, x)).

    Source: the order of computation follows from Germain et al. 2015, arXiv:1502.03509, section 4, with units sorted by
    degree; blocks as in blocked substitution for triangular matrices (Golub and Van Loan 2013, section 3.1).

    Args:
      solve: elementwise; gets columns i of the inputs and of params.
      feed: elementwise and 0 where x is 0; what the network sees of x, [*batch, features, n].
      inputs: arrays whose last axis is dim.
      network: of an autoregressive network, or `transposed`.
      size: inputs per block; None for `block_size`.
    Shapes:
      inputs: [*batch, ..., dim] -> x: [*batch, dim]; in `solve`, params are [*batch, num_params, 1].
    Numerics: the products are those of `masked_pass` in another order of summation.
    """
    order = np.argsort(network.degrees[0])
    if np.all(order[:-1] < order[1:]) or np.all(order[:-1] > order[1:]):
        return _solve_blocks(solve, feed, inputs, network, block_size(len(order)) if size is None else size)
    # Sorted once, here, so that every block is a slice.
    inputs = jax.tree.map(lambda leaf: leaf[..., order], inputs)
    first, *between, last = network.kernels
    first = first.reshape(-1, len(order), first.shape[1])[:, order].reshape(first.shape)
    last = last.reshape(last.shape[0], -1, len(order))[..., order].reshape(last.shape)
    bias = network.biases[-1]
    bias = bias.reshape(*bias.shape[:-1], -1, len(order))[..., order].reshape(bias.shape)
    network = dataclasses.replace(
        network,
        kernels=(first, *between, last),
        biases=(*network.biases[:-1], bias),
        degrees=(network.degrees[0][order], *network.degrees[1:]),
    )
    return solve_in_order(solve, feed, inputs, network, size)[..., np.argsort(order)]


def _solve_blocks(solve, feed, inputs: PyTree, network: MaskedNetwork, size: int) -> Array:
    """`solve_in_order` for ascending or descending inputs. What is not known yet is zero, which does for masks."""
    leaves, dim = jax.tree.leaves(inputs), len(network.degrees[0])
    batch = leaves[0].shape[:-1]
    dtype = jnp.result_type(*leaves, *network.kernels, *network.biases)
    num_blocks = -(-dim // size)
    axes = [_axis(network.degrees[0] - 1, size, num_blocks, unit=1)]
    axes += [_axis(degrees, size, num_blocks) for degrees in network.degrees[1:]]

    def solve_block(carry, per_block):
        x, sums = carry
        (own, *hidden), lowest = per_block
        block = _Block(network, own, hidden, sums)
        own_inputs = jax.tree.map(own.cut, inputs)

        def find_one(step, state):
            x, fed = state
            fed = block.advance(_flat(feed(own_inputs, x)), fed, step, lowest + step)
            params = block.params(fed[-1], step)
            found = solve(jax.tree.map(lambda leaf: own.pick(leaf, step), own_inputs), params)
            return own.put(x, found, step, lowest + step), fed

        nothing = [jnp.zeros((*batch, axis.degree.shape[-1]), dtype) for axis in (own, *hidden)]
        x_own, fed = lax.fori_loop(0, size, find_one, (nothing[0], nothing[1:]))
        sums = block.push([_flat(feed(own_inputs, x_own)), *fed])
        x_own = jnp.where(own.degree >= lowest, x_own, own.cut(x))
        return (lax.dynamic_update_slice_in_dim(x, x_own, own.start, x.ndim - 1), sums), None

    # What is known of fed_{k-1} W_k + b_k, for all units.
    sums = [jnp.broadcast_to(bias, (*batch, bias.shape[-1])).astype(dtype) for bias in network.biases]
    x = jnp.zeros((*batch, dim), dtype)
    return lax.scan(solve_block, (x, sums), (axes, size * np.arange(num_blocks)))[0][0]


class _Block:
    """The weights among the units of one block, and from them to all later ones."""

    def __init__(self, network: MaskedNetwork, own: _Axis, hidden: list[_Axis], sums: list[Array]):
        dim = len(network.degrees[0])
        self.network, self.own, self.hidden, self.sums = network, own, hidden, sums
        first, *rest = network.kernels
        # Later units may see all of a block, and the sums of earlier ones are not read again.
        self.rows = [own.cut(first.reshape(-1, dim, first.shape[1]), 1).reshape(-1, first.shape[1])]
        self.rows += [axis.cut(kernel, 0) for axis, kernel in zip(hidden, rest, strict=True)]
        self.kernels = [axis.cut(rows) for axis, rows in zip(hidden, self.rows, strict=False)]
        self.known = [axis.cut(s) for axis, s in zip(hidden, sums, strict=False)]
        self.slopes = [axis.cut(slope) for axis, slope in zip(hidden, network.slopes, strict=False)]
        self.output = own.cut(self.rows[-1].reshape(-1, rest[-1].shape[1] // dim, dim))
        self.known_output = own.cut(sums[-1].reshape(*sums[-1].shape[:-1], -1, dim))

    def advance(self, features: Array, fed: list[Array], step: Array, degree: Array) -> list[Array]:
        """fed_1 .. of the block, after the units of one degree are computed."""
        values, fed = [], [features, *fed]
        for k, axis in enumerate(self.hidden):
            v = _product(fed[k], axis.pick(self.kernels[k], step)) + axis.pick(self.known[k], step)
            v = v * axis.pick(self.slopes[k], step) if self.slopes else v
            values.append(v + values[k - 2] if self.network.skips(k) else v)
            fed[k + 1] = axis.put(fed[k + 1], self.network.activation(values[-1]), step, degree)
        return fed[1:]

    def params(self, fed: Array, step: Array) -> Array:
        """[*batch, num_params, 1] of the next input."""
        kernel = self.own.pick(self.output, step)[..., 0]
        return _product(fed, kernel)[..., None] + self.own.pick(self.known_output, step)

    def push(self, fed: list[Array]) -> list[Array]:
        """The sums, with what the block contributes."""
        return [s + _product(f, rows) for s, f, rows in zip(self.sums, fed, self.rows, strict=True)]


def _flat(features: Array) -> Array:
    """[*batch, features, n] -> [*batch, features * n]."""
    return features.reshape(*features.shape[:-2], -1)


def _product(values: Array, kernel: Array) -> Array:
    # The default rounds to 10 or 7 bits on accelerators, each order of summation to other ones: no inverse.
    return jnp.matmul(values, kernel, precision="highest")

"""Solving for the inputs of an autoregressive network in order, with each hidden unit computed about once.

If x_i = solve(z_i, params_i), and params_i depends on earlier inputs only, D passes of the network find x. Here it
costs about one: an input is found as soon as the units that it needs are known, and a unit as soon as its inputs are.
Inputs and units are cut into blocks of neighbouring degrees. What all finished blocks contribute to the next one is one
large product per layer; inside a block, small products lead from one degree to the next.

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

from jflows.ops import varying
from jflows.ops.autoregressive import made_masks
from jflows.ops.numerics import EXACT, narrow, product
from jflows.typing import Array, PyTree

WIDTH_UNIT = 8  # on a CPU, a product over 33 columns was measured at twice the time of one over 40


@dataclasses.dataclass(frozen=True)
class MaskedNetwork:
    """A masked network as arrays: fed_0 = x, v_k = slope_k (fed_{k-1} W_k + b_k) [+ v_{k-2}], fed_k = act(v_k).

    The last v is the output: params. Masks follow from the degrees, as `made_masks` says.

    Attributes:
      kernels: W_k unmasked, [in, out]. Rows of the first are [features, dim], columns of the last [num_params, dim].
      biases: b_k, [*batch or nothing, out].
      degrees: degrees of the inputs, 1 to dim in any order, then of each hidden layer, ascending or descending.
      activation: elementwise.
      residual: whether layers 2, 4 .. add v_{k-2}, whose degrees are theirs.
      slopes: slopes of each hidden layer, [*batch, out]; () for ones.
      compute_dtype: type of the operands of products, and of the activation, see `jflows.ops.numerics`.
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    degrees: tuple[np.ndarray, ...]
    activation: Callable[[Array], Array]
    residual: bool = False
    slopes: tuple[Array, ...] = ()
    compute_dtype: str = "full"

    def product(self, left: Array, right: Array) -> Array:
        """Of values and a kernel, or of a kernel and values, in the type of computing."""
        # The default rounds to 10 or 7 bits on accelerators, each order of summation to other ones: no inverse.
        return product(left, right, self.compute_dtype, precision=EXACT)

    def activated(self, v: Array) -> Array:
        """act(v), in the type of computing."""
        return self.activation(narrow(v, self.compute_dtype))

    def slope(self, v: Array) -> Array:
        """act'(v), computed in the type of computing."""
        at = narrow(v, self.compute_dtype)
        return jax.jvp(self.activation, (at,), (jnp.ones_like(at),))[1].astype(v.dtype)

    def skips(self, k: int) -> bool:
        """Whether layer k adds the one before the last."""
        return self.residual and k in range(2, len(self.kernels) - 1, 2)


def masked_pass(network: MaskedNetwork, x: Array) -> list[Array]:
    """All layers at once, from inputs that are known: v_1 .. v_last, the last one being the parameters.

    Shapes:
      x: what the network sees of the inputs, [*batch, features * dim] -> [*batch, out] of each layer.
    """
    dim = len(network.degrees[0])
    first, *rest = made_masks(network.degrees, network.kernels[-1].shape[1] // dim)
    masks = (np.tile(first, (x.shape[-1] // dim, 1)), *rest)
    values, fed = [], x
    for k, (kernel, bias, mask) in enumerate(zip(network.kernels, network.biases, masks, strict=True)):
        v = network.product(fed, jnp.where(mask, kernel, jnp.zeros_like(kernel))) + bias
        values.append(v + values[k - 2] if network.skips(k) else v)
        fed = network.activated(values[-1])
    return values


def transposed(network: MaskedNetwork, x: Array) -> MaskedNetwork:
    """The network that takes cotangents of the parameters to those of x, linear, with the order of inputs reversed.

    A unit of degree d is seen by the outputs of degree above d. Counted from the end those are at most D - d, which is
    therefore its degree here; an input's is D + 1 - d.

    Shapes:
      x: what the network sees of the inputs, [*batch, features * dim], where to differentiate.
    """
    hidden = masked_pass(network, x)[:-1]
    slopes = tuple(network.slope(v) for v in hidden[::-1])
    kernels = tuple(kernel.T for kernel in network.kernels[::-1])
    biases = tuple(jnp.zeros(kernel.shape[1], x.dtype) for kernel in kernels)
    inputs, *units = network.degrees
    degrees = (len(inputs) + 1 - inputs, *(len(inputs) - degree for degree in units[::-1]))
    return MaskedNetwork(kernels, biases, degrees, lambda v: v, network.residual, slopes, network.compute_dtype)


def block_size(dim: int) -> int:
    """Inputs per block, about sqrt(dim): between many products over all earlier units and large ones inside blocks.

    Up to seven inputs are one block: at two, half the time. A neighbour of the root that divides dim leaves no block
    partly empty: at 10 and 21 inputs, a fifth of the time.
    """
    size = math.isqrt(dim)
    if dim <= 7:
        return dim
    if size >= WIDTH_UNIT:
        return size // WIDTH_UNIT * WIDTH_UNIT
    return next((near for near in (size, size - 1, size + 1) if dim % near == 0), size)


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
        """Of a window, on its first axis: one degree and perhaps some neighbours."""
        return lax.dynamic_slice_in_dim(values, self.first[step], self.count)

    def put(self, values: Array, new: Array, step: Array, degree: Array) -> Array:
        """The opposite of `pick`, for values [width, batch]; leaves the neighbours alone."""
        mine = (self.pick(self.degree, step) == degree)[:, None]
        new = jnp.where(mine, new.astype(values.dtype), self.pick(values, step))
        return lax.dynamic_update_slice_in_dim(values, new, self.first[step], 0)

    def paste(self, values: Array, new: Array, lowest: Array) -> Array:
        """The opposite of `cut` on the last axis, for a block whose degrees begin at `lowest`."""
        new = jnp.where(self.degree >= lowest, new, self.cut(values))
        return lax.dynamic_update_slice_in_dim(values, new, self.start, values.ndim - 1)


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
      network: an autoregressive network, or the result of `transposed`.
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

    def solve_block(known, per_block):
        x, *fed = known
        (own, *hidden), lowest = per_block
        block = _Block(network, own, hidden, [_flat(feed(inputs, x)), *fed])
        own_inputs = jax.tree.map(own.cut, inputs)
        by_input = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), own_inputs)
        batch_first = lambda values: values.T.reshape(*batch, len(values))

        def find_one(step, state):
            x, *fed = state
            features = _units_first(_flat(feed(own_inputs, batch_first(x))))
            fed = block.advance(features, fed, step, lowest + step)
            params = batch_first(block.params(fed[-1], step))[..., None]
            found = solve(jax.tree.map(lambda leaf: jnp.moveaxis(own.pick(leaf, step), 0, -1), by_input), params)
            return [own.put(x, _units_first(found), step, lowest + step), *fed]

        nothing = [jnp.zeros((axis.degree.shape[-1], math.prod(batch)), dtype) for axis in (own, *hidden)]
        found = varying.fori_loop(0, size, find_one, nothing)
        parts = zip((own, *hidden), known, map(batch_first, found), strict=True)
        return [axis.paste(values, new, lowest) for axis, values, new in parts], None

    nothing = [jnp.zeros((*batch, len(degrees)), dtype) for degrees in network.degrees]
    return varying.scan(solve_block, nothing, (axes, size * np.arange(num_blocks)))[0][0]


class _Block:
    """The weights among the units of one block, and what all earlier ones contribute to it.

    Inside a block the batch is the last axis, so that one degree is a slice of whole rows: on a CPU, its small products
    were measured at less than half the time.
    """

    def __init__(self, network: MaskedNetwork, own: _Axis, hidden: list[_Axis], fed: list[Array]):
        dim = len(network.degrees[0])
        self.network, self.own, self.hidden = network, own, hidden
        # No -1 in shapes: a layer may have no units, as all of a MADE of one input.
        per_input = lambda values: values.reshape(*values.shape[:-1], values.shape[-1] // dim, dim)
        windows = [*(axis.cut for axis in hidden), lambda values: _flat(own.cut(per_input(values)))]
        columns = [window(kernel) for window, kernel in zip(windows, network.kernels, strict=True)]
        biases = [window(bias) for window, bias in zip(windows, network.biases, strict=True)]
        sums = [network.product(*pair) + bias for *pair, bias in zip(fed, columns, biases, strict=True)]
        *self.known, known_output = map(_units_first, sums)
        first, *rest = columns
        rows = [_flat(own.cut(per_input(first.T))).T]
        rows += [axis.cut(kernel, 0) for axis, kernel in zip(hidden, rest, strict=True)]
        *self.kernels, output = (kernel.T for kernel in rows)
        self.slopes = [_units_first(axis.cut(slope)) for axis, slope in zip(hidden, network.slopes, strict=False)]
        num = own.degree.shape[-1]
        by_input = lambda values: values.reshape(len(values) // num, num, values.shape[-1]).swapaxes(0, 1)
        self.output, self.known_output = by_input(output), by_input(known_output)  # [n, num_params, units or batch]

    def advance(self, features: Array, fed: list[Array], step: Array, degree: Array) -> list[Array]:
        """fed_1 .. of the block, after the units of one degree are computed."""
        values, fed = [], [features, *fed]
        for k, axis in enumerate(self.hidden):
            v = self.network.product(axis.pick(self.kernels[k], step), fed[k]) + axis.pick(self.known[k], step)
            v = v * axis.pick(self.slopes[k], step) if self.slopes else v
            values.append(v + values[k - 2] if self.network.skips(k) else v)
            fed[k + 1] = axis.put(fed[k + 1], self.network.activated(values[-1]), step, degree)
        return fed[1:]

    def params(self, fed: Array, step: Array) -> Array:
        """[num_params, batch] of the next input."""
        kernel, known = self.own.pick(self.output, step)[0], self.own.pick(self.known_output, step)[0]
        return self.network.product(kernel, fed) + known


def _units_first(values: Array) -> Array:
    """[*batch, units] -> [units, batch], of a layer without units too, as a MADE of one input has."""
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1]).T


def _flat(features: Array) -> Array:
    """[*batch, features, n] -> [*batch, features * n]."""
    return features.reshape(*features.shape[:-2], math.prod(features.shape[-2:]))

"""Numerical rules that all of jflows shares: precision and types of products, promotion of types, sums of log-dets."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import log_softmax, logsumexp

from jflows.ops.primitives import gradient_as_computed
from jflows.ops.varying import vary_alike
from jflows.typing import Array

P = ParamSpec("P")
Result = TypeVar("Result")

EXACT = "highest"
"""The precision of every product that is not a conditioner's, the one place where it is set.

On GPUs and TPUs a product of float32 numbers rounds them to 10 or 7 bits of TF32 or bfloat16 first, unless `precision`
says otherwise. Products must not be rounded so where

- a map multiplies data, as linear maps and their triangular factors do: x -> z and z -> x round differently, and the
  third digit of a round trip would be lost; log-dets are those of the unrounded matrix;
- an inverse is iterated, or solved coordinate by coordinate (`Residual`, MADE): a sum in another order must give the
  same digits, or the iteration does not settle;
- statistics are compared with a bound: bases, covariances and tests of the latent.

A conditioner runs alike in both directions, so that rounding changes which map it is, and not whether it is inverted.
Its products have JAX's default precision, `jax.default_matmul_precision` changes that, and `compute_dtype` of a preset
says which type they have.
"""
COMPUTE_DTYPES = ("full", "bfloat16", "float16")
"""The types in which conditioners can compute, as `compute_dtype` says; full: the type of the operands themselves.

    product(x, W) = widen(narrow(x) narrow(W))          one product of a network, in bfloat16 or float16

Operands of products and activation functions between products are narrow: sums with biases, norms, and all that leaves
a network have the type of its parameters. So activations that back-propagation stores take half the memory, and the
gradient of a bias is summed over the batch in the type of the parameters; that of a kernel is one product, which
devices accumulate in float32.

No loss is scaled. float16 holds numbers down to 6e-8, which the cotangents of activations, about 1 / batch of a loss
that is a mean, reach only for batches of some 100,000 rows (measured, see docs/scaling.md); scaled by 1024, gradients
of kernels overflowed. An activation or gradient beyond 65,504 does so, and the training loop skips and counts the step.
bfloat16 has the range of float32.
"""


def promoting(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function under JAX's standard rules of promotion of types and ranks, whatever rules are set; a decorator.

    `jax.numpy_dtype_promotion("strict")` and `jax.numpy_rank_promotion("raise")` are for the code of the user, and a
    flow brings its inputs to one type at its door. Inside, a number per channel meets a batch of images without an axis
    for each of the images' axes. JAX reads these settings while it traces, so what is traced later, in a backward pass,
    needs the decorator too: every custom derivative of jflows has it, unless its operands are of one type and shape.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Result:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return run


def narrow(x: Array, compute_dtype: str) -> Array:
    """x in the type of computing, or as it is if that is "full"; of any shape."""
    return x if compute_dtype == "full" else x.astype(compute_dtype)


def product(x: Array, kernel: Array, compute_dtype: str, precision: Any = None) -> Array:
    """x W in the type of computing, handed on in the type of the parameters.

    The gradient of W is a product over the batch, x^T dy. On a CPU it is faster with the narrower factor first, 1.3
    times for 128 x 96 and 5 times for 128 x 8 numbers and a batch of 4,096: it is computed as (dy^T x)^T where y is the
    narrower one.

    Shapes:
      x: [*batch, in], kernel: [in, out] -> [*batch, out].
    """
    dtype = jnp.result_type(x, kernel) if compute_dtype == "full" else kernel.dtype
    low = dtype if compute_dtype == "full" else compute_dtype
    x, kernel = vary_alike(x, kernel)  # before they are narrow, or gradients would be added up over devices narrow
    x, kernel, axis = x.astype(low), kernel.astype(low), 0
    is_known = all(isinstance(size, int) for size in kernel.shape)  # an inverse multiplies a batch, which may be open
    if is_known and kernel.shape[1] < kernel.shape[0]:
        kernel, axis = gradient_as_computed(kernel.T), 1
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (axis,)), ((), ())), precision=precision).astype(dtype)


def sum_event(values: Array, event_ndims: int) -> Array:
    """Sums the trailing `event_ndims` axes, accumulating in float32 or wider.

    A bfloat16 sum over the 3,072 terms of a 32x32x3 image would lose about one nat.

    Shapes:
      values: [*batch, *event] -> [*batch].
    """
    accumulate = jnp.result_type(values, jnp.float32)
    return jnp.sum(values, axis=tuple(range(values.ndim - event_ndims, values.ndim)), dtype=accumulate)


def zero_log_det(x: Array, event_ndims: int) -> Array:
    """The log-det of a map that preserves volume: zeros of the batch shape, float32 or wider."""
    dtype = jnp.result_type(x, jnp.float32)
    return jnp.zeros(x.shape[: x.ndim - event_ndims], dtype)


def constant_log_det(x: Array, event_ndims: int, value: Array | float) -> Array:
    """A log-det that is the same for every example, broadcast to the batch shape."""
    dtype = jnp.promote_types(jnp.result_type(x, value), jnp.float32)
    return jnp.broadcast_to(jnp.asarray(value, dtype), x.shape[: x.ndim - event_ndims])


def log_mixture(log_joint: Array) -> Array:
    """log sum_k exp(log_joint_k) over the last axis: [..., K] -> [...]; -inf with gradient 0 where every term is -inf.

    `logsumexp` alone gives the value, but NaN for the gradient there.
    """
    impossible, log_joint = _possible(log_joint)
    return jnp.where(impossible[..., 0], -jnp.inf, logsumexp(log_joint, axis=-1))


def log_shares(log_joint: Array) -> Array:
    """log of each term's share of the sum over the last axis: [..., K]; NaN with gradient 0 where every term is -inf.

    `log_softmax` alone gives the values, but NaN for the gradient there.
    """
    impossible, log_joint = _possible(log_joint)
    return jnp.where(impossible, jnp.nan, log_softmax(log_joint, axis=-1))


def _possible(log_joint: Array) -> tuple[Array, Array]:
    """Whether every term is -inf: [..., 1]; and the terms with 0 in their place there, so that gradients are finite."""
    impossible = jnp.all(jnp.isneginf(log_joint), axis=-1, keepdims=True)
    return impossible, jnp.where(impossible, 0, log_joint)


def value_and_gradient(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """The values of a function of events and their gradients, in one pass forwards and one backwards.

    Each value must depend on its own event alone.

    Shapes:
      x: [*batch, *event_shape] -> [*batch], [*batch, *event_shape].
    """
    values, pull = jax.vjp(function, x)
    return values, pull(jnp.ones_like(values))[0]

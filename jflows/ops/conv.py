"""Square convolutions for image conditioners: matrix products on a CPU, XLA's convolution elsewhere.

XLA's convolution is fast on GPU and TPU. On a CPU its gradient is not, above all inside `lax.scan`; the same sums
written as matrix products are several times faster there. Kernels of 3x3 between at least a dozen channels take
Winograd's form (`jflows/ops/winograd.py`), which needs a quarter of the products. Others take one of two forms, each
the adjoint of the other:

    gather    (in <= out)  collect the k * k shifts of x, then one product:     [rows, k*k*in] @ [k*k*in, out]
    scatter   (out < in)   one product, then add the k * k shifts of its parts: [rows, in] @ [in, k*k*out]

so that what is copied k * k times is always the array with fewer channels, in the backward pass too.

`conv2d` is an operation with derivative rules of its own, see `jflows/ops/primitives.py`: a convolution is linear in
each argument, and its transposes are a convolution with the flipped kernel and a kernel gradient, which is bilinear in
turn. So forward mode, reverse mode and higher orders all work, the residuals are just `x` and `kernel`, and the
platform is known when a rule is lowered, which is the one moment when it is certain: `jax.default_backend()` is wrong
for a program compiled for another backend, and `lax.platform_dependent` traces both forms and keeps residuals of both.
Read next: `jflows/nn/convnet.py`.
"""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jflows.errors import InvalidValueError, check_choice
from jflows.ops import winograd
from jflows.ops.primitives import Operation
from jflows.ops.varying import vary_alike
from jflows.typing import Array

MODES = ("auto", "matrix", "lax")


def conv2d(x: Array, kernel: Array, *, mode: str = "auto", precision: Any = None) -> Array:
    """Convolution with an odd square kernel, stride 1 and zero padding that keeps height and width.

        y[i, j, o] = sum_{a, b, c} x[i + a - r, j + b - r, c] kernel[a, b, c, o],   r = (k - 1) / 2

    Differentiable in both arguments, in forward and reverse mode and to any order, in every mode.

    Args:
      x: images.
      kernel: weights as Flax and `lax` store them (HWIO); k = 1 is a matrix product over the channels.
      mode: "matrix" forces matrix products, "lax" forces `lax.conv_general_dilated`; "auto" takes the products where
        the program is compiled for a CPU.
      precision: precision of the products, as in `lax.dot_general`.
    Shapes:
      x: [*batch, height, width, in], kernel: [k, k, in, out] -> y: [*batch, height, width, out].
    Raises:
      InvalidValueError: on a wrong rank, an even or oblong kernel, or channels that do not match.
    Example:
      >>> conv2d(jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 5))).shape
      (2, 4, 4, 5)
    """
    check_choice("conv2d", "mode", mode, MODES)
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    _check_shapes(x.shape, kernel.shape)
    dtype = jnp.result_type(x, kernel)
    x, kernel = vary_alike(x.astype(dtype), kernel.astype(dtype))
    if mode == "lax":
        return _lax_conv(x, kernel, precision=precision)
    # What the setting is now, as other operations take it; at lowering the context that set it may be gone.
    precision = (
        jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
        if precision is None
        else precision
    )
    return _conv(x, kernel, mode=mode, precision=precision)


def convolution(x: Array, kernel: Array, compute_dtype: str) -> Array:
    """`conv2d` in the type of computing, handed on in the type of the parameters; for shapes see there."""
    if compute_dtype == "full":
        return conv2d(x, kernel)
    x, kernel = vary_alike(x, kernel)  # before they are narrow, as in `product`
    return conv2d(x.astype(compute_dtype), kernel.astype(compute_dtype)).astype(kernel.dtype)


def _check_shapes(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> None:
    if len(x_shape) < 3:
        raise InvalidValueError("conv2d", "x", "must be [*batch, height, width, channels]", f"shape {x_shape}")
    if len(kernel_shape) != 4 or kernel_shape[0] != kernel_shape[1] or kernel_shape[0] % 2 == 0:
        raise InvalidValueError("conv2d", "kernel", "must be [k, k, in, out] with k odd", f"shape {kernel_shape}")
    if kernel_shape[2] != x_shape[-1]:
        rule = f"must have {x_shape[-1]} input channels, as `x` of shape {x_shape} has"
        raise InvalidValueError("conv2d", "kernel", rule, f"shape {kernel_shape}")


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _dot(lhs: Array, rhs: Array, contract: tuple[int, int], precision: Any) -> Array:
    """A product of two matrices. Of matrices only: XLA's CPU products of [*batch, h, w, c] arrays are far slower."""
    return lax.dot_general(lhs, rhs, (((contract[0],), (contract[1],)), ((), ())), precision=precision)


def _flip(kernel: Array) -> Array:
    """The kernel of the adjoint convolution."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _shift(x: Array, offset: int, axis: int) -> Array:
    """y[i] = x[i + offset] along an axis, and 0 outside: one `pad`, which fuses, where padding and slicing copies."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-offset, offset, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _patches(x: Array, k: int) -> Array:
    """[*batch, h, w, c] -> [rows, k * k * c]: what the kernel sees at each pixel, taps in the order of the kernel."""
    x = x.reshape(-1, *x.shape[-3:])
    offsets = range(-(k // 2), k // 2 + 1)
    # Columns, then rows: k + k copies instead of k * k, the second ones of k * c contiguous numbers. Without the
    # barrier XLA fuses both into one gather of k * k short slices.
    x = lax.optimization_barrier(jnp.concatenate([_shift(x, b, 2) for b in offsets], axis=-1))
    return _rows(jnp.concatenate([_shift(x, a, 1) for a in offsets], axis=-1))


def _scatter_conv(x: Array, kernel: Array, precision: Any) -> Array:
    k, _, c_in, c_out = kernel.shape
    offsets = range(-(k // 2), k // 2 + 1)
    # Channels first: the shifted sums then run along the width, not along the few output channels.
    weights = kernel.reshape(k * k, c_in, c_out).swapaxes(1, 2).reshape(-1, c_in)
    parts = _dot(weights, _rows(x), (1, 1), precision).reshape(k, k, c_out, -1, *x.shape[-3:-1])
    shifts = [_shift(_shift(parts[i, j], a, 2), b, 3) for i, a in enumerate(offsets) for j, b in enumerate(offsets)]
    return reduce(lax.add, shifts).transpose(1, 2, 3, 0).reshape((*x.shape[:-1], c_out))


def _matrix_conv(x: Array, kernel: Array, *, precision: Any) -> Array:
    k, _, c_in, c_out = kernel.shape
    if winograd.pays(x, k, c_out):
        return winograd.conv(x, kernel, precision)
    if k > 1 and c_out < c_in:
        return _scatter_conv(x, kernel, precision)
    rows = _patches(x, k) if k > 1 else _rows(x)
    return _dot(rows, kernel.reshape(-1, c_out), (1, 0), precision).reshape((*x.shape[:-1], c_out))


def _matrix_kernel_grad(x: Array, dy: Array, *, k: int, precision: Any) -> Array:
    c_in, c_out = x.shape[-1], dy.shape[-1]
    if winograd.pays(x, k, c_out):
        return winograd.kernel_grad(x, dy, precision)
    if c_out < c_in:
        # The narrower factor comes first, as in `jflows.ops.numerics.product`. For k > 1 these are the patches that the
        # input gradient needs too: XLA builds them once. Patches with the channels first make this product alone a
        # quarter faster, but the whole backward pass a quarter slower.
        rows = _patches(dy, k) if k > 1 else _rows(dy)
        grad = lax.optimization_barrier(_dot(rows, _rows(x), (0, 0), precision))
        return _flip(grad.reshape(k, k, c_out, c_in))
    rows = _patches(x, k) if k > 1 else _rows(x)
    return _dot(rows, _rows(dy), (0, 0), precision).reshape(k, k, c_in, c_out)


def _lax_conv(x: Array, kernel: Array, *, precision: Any) -> Array:
    y = lax.conv_general_dilated(
        x.reshape((-1, *x.shape[-3:])),
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )
    return y.reshape((*x.shape[:-1], kernel.shape[-1]))


def _lax_kernel_grad(x: Array, dy: Array, *, k: int, precision: Any) -> Array:
    kernel = jax.ShapeDtypeStruct((k, k, x.shape[-1], dy.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _lax_conv(x, kernel, precision=precision), kernel)(dy)[0]


def _where_it_pays(matrix: Any, other: Any) -> tuple[Any, Any]:
    """What runs elsewhere, and on a CPU: `matrix` on a CPU and, if the mode says so, everywhere; else `other`."""

    def on_cpu(*args, mode, **params):
        return matrix(*args, **params)

    def elsewhere(*args, mode, **params):
        return (matrix if mode == "matrix" else other)(*args, **params)

    return elsewhere, on_cpu


def _conv_shape(x, kernel, *, mode, precision):
    return x.update(shape=(*x.shape[:-1], kernel.shape[-1]), weak_type=False)


def _kernel_grad_shape(x, dy, *, k, mode, precision):
    return x.update(shape=(k, k, x.shape[-1], dy.shape[-1]), weak_type=False)


# Two bilinear operations, conv(x, kernel) and kernel_grad(x, dy).
_conv = Operation("square_conv", _conv_shape, *_where_it_pays(_matrix_conv, _lax_conv))
_kernel_grad = Operation(
    "square_conv_kernel_grad", _kernel_grad_shape, *_where_it_pays(_matrix_kernel_grad, _lax_kernel_grad)
)

_conv.is_bilinear(
    lambda dy, x, kernel, **params: _conv(dy, _flip(kernel), **params),
    lambda dy, x, kernel, **params: _kernel_grad(x, dy, k=kernel.aval.shape[0], **params),
)
_kernel_grad.is_bilinear(
    lambda dk, x, dy, *, k, **params: _conv(dy, _flip(dk), **params),
    lambda dk, x, dy, *, k, **params: _conv(x, dk, **params),
)


def _batch_conv(args, dims, *, mode, precision):
    x, kernel = args
    if dims[1] is None:
        return _conv(jnp.moveaxis(x, dims[0], 0), kernel, mode=mode, precision=precision), 0
    kernel = jnp.moveaxis(kernel, dims[1], 0)
    if dims[0] is None:
        # Many kernels, one image: the kernels become output channels of one convolution.
        count, k, _, c_in, c_out = kernel.shape
        wide = jnp.moveaxis(kernel, 0, 3).reshape(k, k, c_in, count * c_out)
        y = _conv(x, wide, mode=mode, precision=precision)
        return y.reshape((*x.shape[:-1], count, c_out)), x.ndim - 1
    # A kernel for each image is a batch of matrix products on every platform.
    return jax.vmap(partial(_matrix_conv, precision=precision))(jnp.moveaxis(x, dims[0], 0), kernel), 0


def _batch_kernel_grad(args, dims, *, k, mode, precision):
    x, dy = args
    params = {"k": k, "mode": mode, "precision": precision}
    if None in dims:
        # One image, many cotangents (or the reverse): the batch becomes channels.
        side = 0 if dims[1] is None else 1
        many = jnp.moveaxis(args[side], dims[side], -2)
        count, channels = many.shape[-2:]
        many = many.reshape((*many.shape[:-2], count * channels))
        grad = _kernel_grad(*((many, dy) if side == 0 else (x, many)), **params)
        axis = 2 + side
        return grad.reshape((*grad.shape[:axis], count, channels, *grad.shape[axis + 1 :])), axis
    x, dy = jnp.moveaxis(x, dims[0], 0), jnp.moveaxis(dy, dims[1], 0)
    return jax.vmap(partial(_matrix_kernel_grad, k=k, precision=precision))(x, dy), 0


_conv.has_batching(_batch_conv)
_kernel_grad.has_batching(_batch_kernel_grad)

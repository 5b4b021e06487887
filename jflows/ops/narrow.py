"""Computing in a narrower type than that of data and parameters: what conditioners do with `compute_dtype`.

    product(x, W) = widen(narrow(x) narrow(W))          one product of a network, in bfloat16 or float16

Operands of products and activation functions between products are narrow: sums with biases, norms, and all that leaves
a network have the type of its parameters. So activations that back-propagation stores take half the memory, and the
gradient of a bias is summed over the batch in the type of the parameters; that of a kernel is one product, which
devices accumulate in float32.

No loss is scaled. float16 holds numbers down to 6e-8, which the cotangents of activations, about 1 / batch of a loss
that is a mean, reach only for batches of some 100,000 rows (measured, see docs/scaling.md); scaled by 1024, gradients
of kernels overflowed. An activation or gradient beyond 65,504 does so, and the training loop skips and counts the step.
bfloat16 has the range of float32.
Read next: `jflows/nn/dense.py`.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jflows.ops.conv import conv2d
from jflows.ops.varying import vary_alike
from jflows.typing import Array

COMPUTE_DTYPES = ("full", "bfloat16", "float16")
"""full: the type of the operands themselves."""


def narrow(x: Array, compute_dtype: str) -> Array:
    """x in the type of computing, or as it is if that is "full"; of any shape."""
    return x if compute_dtype == "full" else x.astype(compute_dtype)


def product(x: Array, kernel: Array, compute_dtype: str, precision: Any = None) -> Array:
    """x W in the type of computing, handed on in the type of the parameters.

    Shapes:
      x: [*batch, in], kernel: [in, out] -> [*batch, out].
    """
    dtype = jnp.result_type(x, kernel) if compute_dtype == "full" else kernel.dtype
    low = dtype if compute_dtype == "full" else compute_dtype
    dims = (((x.ndim - 1,), (0,)), ((), ()))
    x, kernel = vary_alike(x, kernel)  # before they are narrow, or gradients would be added up over devices narrow
    return lax.dot_general(x.astype(low), kernel.astype(low), dims, precision=precision).astype(dtype)


def convolution(x: Array, kernel: Array, compute_dtype: str) -> Array:
    """`conv2d` in the type of computing, handed on in the type of the parameters; for shapes see there."""
    if compute_dtype == "full":
        return conv2d(x, kernel)
    x, kernel = vary_alike(x, kernel)  # as in `product`
    return conv2d(x.astype(compute_dtype), kernel.astype(compute_dtype)).astype(kernel.dtype)

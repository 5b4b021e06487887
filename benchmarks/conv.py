"""How fast are the convolutions of a Glow conditioner, and how far from the bare matrix products?

Each row is `num_steps` scanned affine couplings whose conditioner is 3x3, relu, 1x1, relu, 3x3: the loss alone and
with its gradient. The variants are timed in turn, round by round, so that a busy machine slows all of them. Prints one
JSON line per shape and variant; GFLOP/s count the products only (gradient: three times the forward pass).

    python benchmarks/conv.py [--rounds 8] [--steps 8] [--shapes 0,1] [--variants auto,lax]

Variants: `auto`, `matrix`, `lax` are the modes of `conv2d`; `jax_relu` is `auto` with `jax.nn.relu`; `matmul_1x1` is
`auto` with the 1x1 layer as a product of 4-dimensional arrays, and `autodiff` derives the matrix forms by autodiff.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.ops import conv
from jflows.ops.conv import conv2d
from jflows.ops.primitives import relu

# batch, height and width, channels in, hidden channels, channels out: two levels of MNIST, three of CIFAR-10.
SHAPES = [(32, 14, 2, 64, 4), (32, 7, 4, 64, 8), (16, 16, 6, 128, 12), (16, 8, 12, 128, 24), (16, 4, 24, 128, 48)]


def conditioner(layer: Callable, activation: Callable = relu, pointwise: Callable | None = None) -> Callable:
    """A function (x, three kernels) -> parameters of the coupling."""
    pointwise = pointwise or layer

    def apply(x, kernels):
        hidden = activation(layer(x, kernels[0]))
        hidden = activation(pointwise(hidden, kernels[1]))
        return layer(hidden, kernels[2])

    return apply


def matrix_autodiff(x, kernel):
    """The forward pass of mode "matrix", left to autodiff."""
    return conv._matrix_conv(x, kernel, precision=None)


def lax_conv(x, kernel):
    """`lax.conv_general_dilated`."""
    return conv2d(x, kernel, mode="lax")


VARIANTS = {
    "auto": conditioner(conv2d),
    "matrix": conditioner(lambda x, kernel: conv2d(x, kernel, mode="matrix")),
    "jax_relu": conditioner(conv2d, jax.nn.relu),
    "matmul_1x1": conditioner(conv2d, relu, lambda x, kernel: x @ kernel[0, 0]),
    "autodiff": conditioner(matrix_autodiff, jax.nn.relu),
    "lax": conditioner(lax_conv, jax.nn.relu),
}


def make_loss(apply: Callable) -> Callable:
    """(kernels stacked over steps, x) -> scalar: affine couplings in a scan, all of whose input is changed."""

    def loss(kernels, x):
        def step(z, kernels):
            scale, shift = jnp.split(apply(z, kernels), 2, axis=-1)
            return z * jax.nn.sigmoid(scale + 2.0) + shift, None

        return jnp.mean(lax.scan(step, x, kernels)[0] ** 2)

    return loss


def make_inputs(shape: tuple[int, ...], num_steps: int):
    """Random images and kernels; the activations keep their scale through the steps."""
    batch, size, c_in, hidden, c_out = shape
    rng = np.random.default_rng(0)

    def normal(*dims, variance):
        return jnp.asarray(rng.normal(size=dims) * variance**0.5, jnp.float32)

    kernels = (
        normal(num_steps, 3, 3, c_in, hidden, variance=2 / (9 * c_in)),
        normal(num_steps, 1, 1, hidden, hidden, variance=2 / hidden),
        normal(num_steps, 3, 3, hidden, c_out, variance=0.1 / (9 * hidden)),
    )
    return kernels, normal(batch, size, size, c_in, variance=1.0)


def measure(functions: dict, args: tuple, rounds: int) -> dict:
    """Milliseconds (minimum, median) of each compiled function, the functions taking turns."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        jax.block_until_ready(function(*args))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*args))
            seconds[name].append(time.perf_counter() - start)
    return {name: (1e3 * min(values), 1e3 * statistics.median(values)) for name, values in seconds.items()}


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description="Speed of the convolutions of a Glow conditioner.")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--shapes", default=",".join(map(str, range(len(SHAPES)))), help="indices into SHAPES")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    options = parser.parse_args()
    for shape in (SHAPES[int(index)] for index in options.shapes.split(",")):
        batch, size, c_in, hidden, c_out = shape
        kernels, x = make_inputs(shape, options.steps)
        functions = {}
        for name in options.variants.split(","):
            loss = make_loss(VARIANTS[name])
            functions[name, "forward"] = jax.jit(loss).lower(kernels, x).compile()
            functions[name, "gradient"] = jax.jit(jax.value_and_grad(loss)).lower(kernels, x).compile()
        times = measure(functions, (kernels, x), options.rounds)
        per_pixel = hidden * (9 * c_in + hidden + 9 * c_out)
        gflop = 2e-9 * options.steps * batch * size * size * per_pixel
        for name in options.variants.split(","):
            (forward, forward_median), (gradient, gradient_median) = times[name, "forward"], times[name, "gradient"]
            row = {
                "shape": shape,
                "steps": options.steps,
                "variant": name,
                "forward_ms": round(forward, 2),
                "forward_median_ms": round(forward_median, 2),
                "gradient_ms": round(gradient, 2),
                "gradient_median_ms": round(gradient_median, 2),
                "forward_gflops": round(gflop / forward * 1e3, 1),
                "gradient_gflops": round(3 * gflop / gradient * 1e3, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

"""`jflows/ops/programs.py`: operations of traced programs, beside numbers counted by hand."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from jflows.ops.conv import conv2d
from jflows.ops.programs import function_values, product_flops


def test_operations_are_counted():
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    product = 2 * 3 * 4 * 5
    assert product_flops(jax.make_jaxpr(jnp.matmul)(a, b)) == product
    steps = jax.make_jaxpr(lambda b: jax.lax.scan(lambda c, _: (c + (a @ b).sum(), None), 0.0, None, length=7)[0])(b)
    assert product_flops(steps) == 7 * product
    chosen = jax.make_jaxpr(lambda p: jax.lax.cond(p, lambda: (a @ b).sum(), lambda: 0.0))(True)
    assert product_flops(chosen) == product
    image, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 8))
    conv = lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert product_flops(jax.make_jaxpr(conv)(image)) == 2 * (2 * 6 * 6 * 8) * 27
    square = jax.make_jaxpr(jax.grad(lambda kernel: conv2d(image, kernel).sum()))(kernel)
    assert product_flops(square) == 2 * 2 * (2 * 6 * 6 * 8) * 27  # the convolution, and its kernel gradient


def test_values_of_functions_are_counted():
    x = jnp.ones((3, 4))
    assert function_values(jax.make_jaxpr(lambda x: jnp.exp(x) + jnp.tanh(x) / jnp.sqrt(x))(x)) == 2 * 12
    steps = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (jnp.log(c), None), x, None, length=5)[0])(x)
    assert function_values(steps) == 5 * 12


def test_operations_of_all_devices_are_counted():
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    specs = {"in_specs": (PartitionSpec("rows"), PartitionSpec()), "out_specs": PartitionSpec("rows")}
    divided = jax.shard_map(jnp.matmul, mesh=mesh, **specs)
    assert product_flops(jax.make_jaxpr(divided)(jnp.ones((16, 4)), jnp.ones((4, 5)))) == 2 * 16 * 4 * 5

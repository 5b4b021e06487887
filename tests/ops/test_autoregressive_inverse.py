"""The blocked algorithm for every size of block, and the transposed network, against dense matrices."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.ops.autoregressive import made_degrees
from jflows.ops.autoregressive_inverse import MaskedNetwork, block_size, masked_pass, solve_in_order, transposed

DIM, SIZES = 11, (4, 23)


def make_network(order, conditional=False):
    random = np.random.default_rng(0)
    sizes = (DIM, *SIZES, 2 * DIM)
    draw = lambda *shape: jax.device_put(0.5 * random.standard_normal(shape))
    kernels = tuple(draw(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
    biases = tuple(draw(size) for size in sizes[1:])
    return MaskedNetwork(kernels, biases, made_degrees(DIM, SIZES, order, 1, conditional), jnp.tanh)


def params_of(network, x):
    return masked_pass(network, x)[-1].reshape(*x.shape[:-1], 2, DIM)


@pytest.mark.parametrize(("order", "size"), [("natural", 1), ("reversed", 4), ("random", 5), ("natural", 11)])
def test_blocks_of_any_size(order, size):
    network, z = (
        make_network(order, conditional=size == 4),
        jax.device_put(np.random.default_rng(1).standard_normal((2, DIM))),
    )
    solve = lambda z, params: z * jnp.exp(params[..., 0, :]) + params[..., 1, :]
    x = jax.jit(lambda z: solve_in_order(solve, lambda _, x: x[..., None, :], z, network, size))(z)
    np.testing.assert_allclose(x, solve(z, params_of(network, x)), rtol=1e-12)


@pytest.mark.parametrize(("order", "size"), [("natural", 3), ("random", 4)])
def test_the_transposed_network_solves_the_transposed_system(order, size):
    network, random = make_network(order), np.random.default_rng(2)
    x, rhs = jax.device_put(random.standard_normal((2, DIM)))
    diagonal, slopes = jax.device_put(random.uniform(1, 2, DIM)), jax.device_put(random.standard_normal((2, DIM)))
    got = jax.jit(
        lambda x: solve_in_order(
            lambda of_i, later: (of_i[0] - later[..., 0, :]) / of_i[1],
            lambda of_i, u: of_i[2] * u[..., None, :],
            (rhs, diagonal, slopes),
            transposed(network, x),
            size,
        )
    )(x)
    matrix = jnp.diag(diagonal) + jnp.einsum("pi,pij->ij", slopes, jax.jacrev(lambda x: params_of(network, x))(x))
    np.testing.assert_allclose(got, np.linalg.solve(matrix.T, rhs), rtol=1e-10)


def test_sizes_of_blocks():
    assert [block_size(dim) for dim in (1, 2, 6, 63, 64, 784)] == [1, 2, 6, 7, 8, 24]
    assert [block_size(dim) for dim in (10, 21, 32, 40, 43)] == [2, 3, 4, 5, 6]

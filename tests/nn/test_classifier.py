"""The classifier of images: what it computes, odd sides, context, dtypes, and its messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.nn import ConvClassifier
from jflows.ops import conv2d
from jflows.testing.common import perturb

KEY = jax.random.key(0, impl="unsafe_rbg")
NETWORK = ConvClassifier((3, 4), "tanh")


def test_it_is_convolutions_means_and_a_dense_layer():
    x, context = np.random.default_rng(0).normal(size=(2, 3, 6, 5, 2)), jnp.ones((2, 3, 2))

    start, variables = jax.jit(NETWORK.init_with_output, static_argnums=2)(KEY, x, 7, context)
    params = perturb(variables, seed=0, noise=0.3, dtype=jnp.float64)["params"]

    @jax.jit
    def run(params, context):
        def score(params, context):
            y = NETWORK.apply({"params": params}, x, 7, context)
            return jnp.sum(y**2), y

        gradients, y = jax.grad(score, argnums=(0, 1), has_aux=True)(params, context)
        return y, gradients

    y, gradients = run(params, context)
    assert start.shape == y.shape == (2, 3, 7) and not np.any(start)
    assert all(np.any(leaf) and np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))
    h = x
    for index in range(2):
        of_context = context @ params[f"context_{index}"]["Dense_0"]["kernel"]
        h = conv2d(h, params[f"kernel_{index}"]) + params[f"bias_{index}"] + of_context[..., None, None, :]
        h = np.tanh(h)
        rows, columns = (range(0, side, 2) for side in h.shape[2:4])
        h = np.stack([[h[:, :, i : i + 2, j : j + 2].mean((2, 3)) for j in columns] for i in rows]).transpose(
            2, 3, 0, 1, 4
        )
    assert h.shape == (2, 3, 2, 2, 4)  # odd sides are rounded up
    wanted = h.reshape(2, 3, -1) @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(y, wanted, rtol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_it_keeps_the_dtype_and_survives_json(dtype):
    x = jax.ShapeDtypeStruct((5, 1, 1, 1), dtype)
    y, variables = jax.eval_shape(lambda x: NETWORK.init_with_output(KEY, x, 6), x)
    assert (y.shape, y.dtype) == ((5, 6), dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(dtype)}
    assert jflows.from_spec(jflows.to_spec(NETWORK)) == NETWORK


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConvClassifier(()), InvalidValueError, "ConvClassifier: `channels` must hold at least 1 entry"),
        (lambda: ConvClassifier((0,)), InvalidValueError, "`channels` must have entries that are at least 1"),
        (lambda: ConvClassifier(8), InvalidTypeError, r"`channels` must be a tuple of ints; got 8. Write \(8,\)"),
        (lambda: ConvClassifier((8,), "swish"), InvalidValueError, "ConvClassifier: `activation` must be one of"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()

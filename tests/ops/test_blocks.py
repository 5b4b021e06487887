"""`in_blocks`, and attention, cut rows on a CPU alone, and neither values nor derivatives depend on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.ops import blocks, self_attention

SPLINE = b.RationalQuadraticSpline(4, 2.0, boundary="learned")
DIM = 3


def drawn(*batch):
    random = np.random.default_rng(0)
    return 1.5 * random.standard_normal((*batch, DIM)), random.standard_normal((*batch, SPLINE.num_params, DIM))


@pytest.fixture
def small(monkeypatch):
    """Blocks of four rows."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * SPLINE.num_params * DIM * 8)


def traced(run):
    """A function of its own, as JAX keeps what it has traced with blocks of another size."""
    return jax.jit(lambda *args: run(*args))


def loops(run, *args, platform="cpu"):
    return traced(run).trace(*args).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")


@pytest.mark.by_default("rest")
@pytest.mark.parametrize("batch", [(8,), (11,), (2, 7)], ids=["whole", "rest", "axes"])
def test_values_and_derivatives_do_not_depend_on_blocks(batch, monkeypatch):
    z, params = drawn(*batch)

    def everything(z, params):
        outputs, pull = jax.vjp(SPLINE.forward_and_log_det, z, params)
        back = SPLINE.inverse_and_log_det(outputs[0], params)
        return outputs, back, pull(outputs), jax.jvp(SPLINE.inverse_and_log_det, (z, params), (z, params))

    expected = jax.jit(everything)(z, params)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * SPLINE.num_params * DIM * 8)
    assert loops(everything, z, params) >= 3
    found = traced(everything)(z, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def test_only_a_cpu_cuts_and_only_what_is_large(small):
    found = [loops(SPLINE.forward_and_log_det, *drawn(8), platform=platform) for platform in ("cpu", "cuda", "tpu")]
    assert found == [1, 0, 0]
    assert loops(SPLINE.forward_and_log_det, *drawn(7)) == 0  # fewer than two blocks
    z, params = drawn(8)
    assert loops(SPLINE.forward_and_log_det, z, params[0]) == 0  # shared by the batch


def test_transforms(small):
    z, params = drawn(9)
    loss = lambda z, params: sum(jnp.sum(part) for part in SPLINE.forward_and_log_det(z, params))
    gradient = np.asarray(jax.jit(jax.grad(loss))(z, params))
    stacked = jax.jit(jax.vmap(jax.grad(loss)))(np.stack([z, z]), np.stack([params, params]))
    np.testing.assert_allclose(stacked, [gradient, gradient], rtol=1e-12)
    _, scanned = jax.lax.scan(lambda carry, _: (carry, jax.grad(loss)(carry, params)), z, None, length=2)
    scanned = np.asarray(scanned)
    np.testing.assert_allclose(scanned[1], gradient, rtol=1e-12)
    mesh = jax.make_mesh((2,), ("d",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    rows = jax.sharding.PartitionSpec("d")
    z, params = drawn(18)
    divided = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=(rows, rows), out_specs=rows)
    np.testing.assert_allclose(jax.jit(divided)(z, params), jax.jit(jax.grad(loss))(z, params), rtol=1e-12)


def test_the_gradient_needs_memory_for_one_block(small):
    loss = lambda z, params: sum(jnp.sum(part) for part in SPLINE.forward_and_log_det(z, params))
    planned = lambda num: jax.jit(jax.grad(loss)).lower(*drawn(num)).compile().memory_analysis().temp_size_in_bytes
    assert planned(400) < 1.5 * planned(40)


TOKENS, WIDTH = 16, 2  # more pairs of tokens than numbers in queries, keys and values


@pytest.mark.by_default("causal")
@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
def test_attention_does_not_depend_on_blocks(causal, monkeypatch):
    qkv = np.random.default_rng(2).normal(size=(5, TOKENS, 3 * WIDTH))

    def everything(qkv):
        y, pull = jax.vjp(lambda qkv: self_attention(qkv, 2, causal), qkv)
        return y, pull(jnp.sin(y))

    expected = traced(everything)(qkv)
    assert loops(everything, qkv) == 0
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2 * 2 * TOKENS**2 * 8)
    assert [loops(everything, qkv, platform=platform) for platform in ("cpu", "cuda")] == [2, 0]
    found = traced(everything)(qkv)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def test_a_stack_of_attentions_does_not_store_the_weights():
    """Of 64 tokens, the weights of one head would be 4 times as many numbers as what they come from."""

    def planned(num: int) -> int:
        def loss(qkv):
            step = lambda carry, _: (carry + jnp.tile(self_attention(carry, 1), (1, 1, 3)), None)
            return jnp.sum(jax.lax.scan(step, qkv, None, length=num)[0] ** 2)

        qkv = jax.ShapeDtypeStruct((3, 64, 3), jnp.float64)
        return jax.jit(jax.grad(loss)).lower(qkv).compile().memory_analysis().temp_size_in_bytes

    weights = 3 * 64**2 * 8
    assert planned(40) - planned(4) < 36 * weights / 4

"""`in_blocks`, and attention, cut rows on a CPU alone, and neither values nor derivatives depend on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.errors import InvalidValueError
from jflows.ops import blocks, self_attention, side_by_side

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


def moved_first(run):
    """What `side_by_side` is to equal."""
    return lambda values, params: run(values, params.swapaxes(-1, -2))


def moved_in_blocks(run):
    return lambda values, params: side_by_side(run, values, params)


@pytest.mark.by_default("rest")
@pytest.mark.parametrize("batch", [(8,), (11,), (2, 7), ()], ids=["whole", "rest", "axes", "one"])
def test_parameters_side_by_side(batch, small):
    values, params = drawn(*batch)
    params = params.swapaxes(-1, -2)

    def everything(moved):
        def run(values, params):
            forward, inverse = moved(SPLINE.forward_and_log_det), moved(SPLINE.inverse_and_log_det)
            outputs, pull = jax.vjp(forward, values, params)
            loss = lambda params: sum(jnp.sum(jnp.sin(part)) for part in inverse(values, params))
            twice = jax.jvp(jax.grad(loss), (params,), (jnp.cos(params),))
            return outputs, pull(outputs), jax.jvp(inverse, (values, params), (values, params)), twice

        return traced(run)(values, params)

    expected, found = everything(moved_first), everything(moved_in_blocks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def test_transforms_of_parameters_side_by_side(small):
    values, params = drawn(9)
    params = params.swapaxes(-1, -2)
    gradient = lambda moved: jax.grad(
        lambda values, params: sum(jnp.sum(part) for part in moved(SPLINE.inverse_and_log_det)(values, params)), (0, 1)
    )
    expected, run = traced(gradient(moved_first))(values, params), gradient(moved_in_blocks)
    same = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    stacked = traced(jax.vmap(run))(np.stack([values, values]), np.stack([params, params]))
    jax.tree.map(lambda one, all_of: same(all_of, [one, one]), expected, stacked)
    _, scanned = jax.lax.scan(lambda carry, _: (carry, run(carry, params)), values, None, length=2)
    jax.tree.map(lambda one, all_of: same(all_of, [one, one]), expected, scanned)
    assert [loops(run, values, params, platform=platform) for platform in ("cuda", "tpu")] == [0, 0]


def test_parameters_side_by_side_are_not_copied():
    values, params = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((60_000, 8), (60_000, 8, 13)))
    planned = jax.jit(moved_in_blocks(SPLINE.inverse_and_log_det)).lower(values, params).compile().memory_analysis()
    assert planned.temp_size_in_bytes < 60_000 * 8 * 13 * 4 / 4


def test_parameters_side_by_side_of_another_shape():
    values, params = drawn(9)
    with pytest.raises(
        InvalidValueError, match=r"must be \[\.\.\., num_params\] with values of shape \(9, 3\) in front"
    ):
        side_by_side(SPLINE.forward_and_log_det, values, params)


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

"""`side_by_side` equals an inner map of parameters that are moved first, and does not copy all of them on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jflows import bijectors as b
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.ops import blocks

SPLINE = b.RationalQuadraticSpline(4, 2.0, boundary="learned")
DIM, FORWARD, INVERSE = 3, "forward_and_log_det", "inverse_and_log_det"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of four rows."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * SPLINE.num_params * DIM * 8)


def moved_first(inner, method, values, params):
    return getattr(inner, method)(values, params.swapaxes(-1, -2))


def drawn(*batch, inner=SPLINE):
    random = np.random.default_rng(0)
    return 1.5 * random.standard_normal((*batch, DIM)), random.standard_normal((*batch, DIM, inner.num_params))


def both(run, *args):
    """What a function of a way to run a map gives for either way."""
    return [jax.jit(lambda *args, way=way: run(way, *args))(*args) for way in (b.side_by_side, moved_first)]


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


def gradients(way, values, params):
    loss = lambda values, params: sum(jnp.sum(jnp.sin(part)) for part in way(SPLINE, INVERSE, values, params))
    return jax.grad(loss, (0, 1))(values, params)


@pytest.mark.by_default("rest")
@pytest.mark.parametrize("batch", [(8,), (11,), (2, 7), (), (0,)], ids=["whole", "rest", "axes", "one", "none"])
def test_values_and_derivatives(batch):
    def everything(way, values, params):
        outputs, pull = jax.vjp(lambda *args: way(SPLINE, FORWARD, *args), values, params)
        pushed = jax.jvp(lambda *args: way(SPLINE, INVERSE, *args), (values, params), (values, params))
        twice = jax.jvp(lambda params: gradients(way, values, params)[1], (params,), (jnp.cos(params),))
        return outputs, pull(outputs), pushed, twice

    assert_same(*both(everything, *drawn(*batch)))


def test_transforms():
    values, params = drawn(9)
    found, expected = both(gradients, values, params)
    run = lambda *args: gradients(b.side_by_side, *args)
    stacked = jax.jit(jax.vmap(run))(np.stack([values, values]), np.stack([params, params]))
    _, scanned = jax.lax.scan(lambda carry, _: (carry, run(carry, params)), values, None, length=2)
    assert_same(found, expected)
    for doubled in (stacked, scanned):
        assert_same(doubled, jax.tree.map(lambda one: jnp.stack([one, one]), expected))
    lowered = lambda platform: jax.jit(run).trace(values, params).lower(lowering_platforms=(platform,)).as_text()
    assert ["stablehlo.while" in lowered(platform) for platform in ("cpu", "cuda", "tpu")] == [True, False, False]


class Owner(nn.Module):
    """A module around an inner map with parameters of its own."""

    inner: b.InnerMap

    @nn.compact
    def __call__(self, way, values, params):
        return way(self.inner, INVERSE, values, params)


def test_an_inner_map_with_parameters_of_its_own():
    owner = Owner(b.MonotoneIntegral())
    values, params = drawn(5, inner=owner.inner)
    variables = jax.jit(owner.init, static_argnums=1)(jax.random.key(0), moved_first, values, params)

    def gradient(way, variables):
        return jax.grad(lambda variables: sum(map(jnp.sum, owner.apply(variables, way, values, params))))(variables)

    found, expected = both(gradient, variables)
    assert_same(found, expected)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("method", [FORWARD, INVERSE])
def test_parameters_are_not_copied(method, monkeypatch):
    monkeypatch.undo()
    values, params = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((60_000, 8), (60_000, 8, 13)))
    run = jax.jit(lambda *args: b.side_by_side(SPLINE, method, *args))
    assert run.lower(values, params).compile().memory_analysis().temp_size_in_bytes < 60_000 * 8 * 13 * 4 / 4


def test_bad_arguments():
    values, params = drawn(9)
    with pytest.raises(InvalidValueError, match=r"must be \[\*batch, dim\] and \[\*batch, dim, 13\]; got \(9, 3\) and"):
        b.side_by_side(SPLINE, FORWARD, values, params.swapaxes(-1, -2))
    with pytest.raises(InvalidValueError, match="Did you mean forward_and_log_det"):
        b.side_by_side(SPLINE, "forward_and_logdet", values, params)
    with pytest.raises(InvalidTypeError, match="must be an inner map"):
        b.side_by_side(SPLINE.forward_and_log_det, FORWARD, values, params)  # pyright: ignore[reportArgumentType]

"""Splines at their edges, at their knots, beside distrax, and differentiated twice."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.errors import InvalidValueError
from jflows.ops import polynomial_splines, splines

BOUND = 2.0
SPLINES = {
    "linear": b.LinearSpline(4, BOUND, bins="learned"),
    "quadratic": b.QuadraticSpline(4, BOUND),
    "cubic": b.CubicSpline(4, BOUND),
    "rational": b.RationalQuadraticSpline(4, BOUND),
    "rational_learned": b.RationalQuadraticSpline(4, BOUND, boundary="learned"),
    "rational_circular": b.RationalQuadraticSpline(4, BOUND, boundary="circular"),
    "rational_bound": b.RationalQuadraticSpline(4, BOUND, learn_bound=True),
}
every_spline = pytest.mark.parametrize("inner", SPLINES.values(), ids=SPLINES)


def draw(inner, dim, scale=1.0, seed=0, dtype=np.float64):
    return (scale * np.random.default_rng(seed).normal(size=(inner.num_params, dim))).astype(dtype)


# A handful of elements: nearly all of the time would go into optimising the machine code.
PLAIN = {"xla_backend_optimization_level": 0}


@functools.partial(jax.jit, static_argnames="inner", compiler_options=PLAIN)
def both_ways(inner, z, params):
    """x, log_det, and what the inverse makes of x."""
    x, log_det = inner.forward_and_log_det(z, params)
    return x, log_det, *inner.inverse_and_log_det(x, params)


@functools.partial(jax.jit, static_argnames=("inner", "method"), compiler_options=PLAIN)
def values_and_gradients(inner, method, values, params):
    def total(values, params):
        out, log_det = getattr(inner, method)(values, params)
        return jnp.sum(out) + jnp.sum(log_det), (out, log_det)

    return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(values, params)


@every_spline
@pytest.mark.by_default("linear", "quadratic", "cubic", "rational")
def test_float32_gradients_are_finite_at_extreme_raw_parameters(inner):
    """The softmax of raw sizes that are all far below 0 is a quotient of tiny numbers."""
    random, rows = np.random.default_rng(0), inner.num_params
    columns = [np.eye(rows), 1 - np.eye(rows), random.choice([-1, 1], (rows, 8)), np.ones((rows, 1))]
    params = np.concatenate(
        [size * part for size in (40, -40, 100, -100, 1e3, -1e3, -1e30) for part in columns], axis=1
    )
    values = np.asarray(np.resize([-2.0, -1.99, -1.0, -1e-8, 0.0, 0.3, 1.7, 5.0], params.shape[1]), np.float32)
    for shift in range(2):  # another value for every column
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            found = values_and_gradients(inner, method, np.roll(values, 3 * shift), params.astype(np.float32))
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found)), method


@every_spline
@pytest.mark.by_default("linear", "quadratic", "cubic", "rational")
def test_values_and_gradients_are_finite_at_every_edge_and_nan_stays_visible(inner):
    ends = np.array([-BOUND, BOUND], np.float32)
    near = [np.nextafter(ends, np.float32(to)) for to in (-10, 0, 10)]
    edges = np.concatenate([ends, *near, [0, -0.0, 1e-8, -1e-8, 1e-38, 1e4, -1e4, np.nan]]).astype(np.float32)
    for scale in (0.0, 1e-8, 1.0, 1e4):
        params = draw(inner, len(edges), scale, dtype=np.float32)
        for method in ("forward_and_log_det", "inverse_and_log_det"):
            found = values_and_gradients(inner, method, edges, params)
            (_, (out, log_det)), gradients = jax.device_get(found)
            assert np.isnan(out[-1])
            for leaf in (out, log_det, *gradients):
                assert np.all(np.isfinite(leaf[..., :-1])), (scale, method)


@every_spline
@pytest.mark.by_default("linear", "quadratic", "cubic", "rational")
def test_zero_parameters_are_the_identity(inner):
    z = np.linspace(-1.9, 1.9, 9)
    z = z if inner is SPLINES["rational_circular"] else np.append(z, [-7.0, BOUND, 1e4])
    x, log_det, back, back_log_det = both_ways(inner, z, np.zeros((inner.num_params, len(z))))
    np.testing.assert_allclose(x, z, atol=1e-14)
    np.testing.assert_allclose(back, z, atol=1e-14)
    np.testing.assert_allclose([log_det, back_log_det], 0, atol=1e-14)


def knots_of(inner, params):
    """Inner knots and both ends, in z; all columns of params are the same."""
    widths = polynomial_splines.sizes_from_raw(params[: inner.num_bins], 1e-3)
    return (2 * np.append(0, np.cumsum(widths[:, 0])) - 1) * BOUND


@pytest.mark.parametrize("name", ["linear", "quadratic", "cubic", "rational", "rational_learned"])
@pytest.mark.by_default("quadratic", "cubic", "rational")
def test_values_and_slopes_are_continuous_at_knots(name):
    inner, step = SPLINES[name], 1e-11
    params = np.tile(draw(inner, 1, seed=3), 5)
    knots = knots_of(inner, params)
    x_left, slope_left, *_ = map(np.asarray, both_ways(inner, knots - step, params))
    x_right, slope_right, *_ = map(np.asarray, both_ways(inner, knots + step, params))
    np.testing.assert_allclose(x_left, x_right, atol=1e-7)
    difference = np.abs(slope_left - slope_right)
    assert np.all(difference > 1e-2) if name == "linear" else np.all(difference < 1e-6)


def test_angles_of_many_turns_are_wrapped_exactly():
    angles = np.float32([1e30, -1e30, 1e6 + 0.5, -7e7, 2 * BOUND, -BOUND, BOUND, 0.25])
    wrap = lambda angle: splines.wrap(angle, BOUND)
    wrapped, slopes = jax.jit(lambda a: (wrap(a), jax.vmap(jax.grad(wrap))(a)))(angles)
    np.testing.assert_array_equal(wrapped, (np.fmod(np.float64(angles), 2 * BOUND) + 3 * BOUND) % (2 * BOUND) - BOUND)
    np.testing.assert_array_equal(slopes, 1.0)


def test_circular_splines_are_continuous_across_the_cut():
    inner = SPLINES["rational_circular"]
    params = np.tile(draw(inner, 1, seed=5), 4)
    z = np.array([-BOUND + 1e-9, BOUND - 1e-9, 0.3, 0.3 + 2 * BOUND])
    x, log_det, back, _ = map(np.asarray, both_ways(inner, z, params))
    turn = np.abs(x[0] - x[1])
    assert min(turn, 2 * BOUND - turn) < 1e-7
    np.testing.assert_allclose(log_det[0], log_det[1], atol=1e-6)
    np.testing.assert_allclose([x[2], log_det[2]], [x[3], log_det[3]], atol=1e-12)
    np.testing.assert_allclose(back[2:], 0.3, atol=1e-12)
    assert np.all((x >= -BOUND) & (x < BOUND))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("rational", "identity"), ("rational_learned", "unconstrained"), ("rational_circular", "circular")],
)
def test_rational_quadratic_agrees_with_distrax(name, theirs):
    import distrax

    inner, dim = SPLINES[name], 40
    params = np.array(draw(inner, dim, seed=7))
    if theirs == "circular":
        params[-1] = 0  # the phase, which distrax has not
    z = np.linspace(-1.99, 1.99, dim) if theirs == "circular" else np.linspace(-3, 3, dim)
    # distrax takes as many slopes in every mode, and ignores those it does not need.
    slopes = params[8:] if theirs != "identity" else np.pad(params[8:], ((1, 1), (0, 0)))
    spline = distrax.RationalQuadraticSpline(
        jax.device_put(np.concatenate([params[:8], slopes]).T), -BOUND, BOUND, theirs, 1e-3 * 2 * BOUND, 1e-3
    )
    x, log_det = jax.jit(spline.forward_and_log_det)(z)
    got = both_ways(inner, z, params)
    for value, wanted in zip(got, (x, log_det, z, -log_det), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-7)


@every_spline
@pytest.mark.by_default("linear", "quadratic", "cubic", "rational_learned")
def test_splines_rise_and_are_inverted(inner):
    z = np.linspace(-0.999 * BOUND, 0.999 * BOUND, 64)
    for seed, scale in itertools.product((1, 2, 3), (0.1, 1.0, 3.0, 30.0)):
        params = np.tile(draw(inner, 1, scale, seed), 64)
        if inner is SPLINES["rational_circular"]:
            params[-1] = 0  # no phase: x would jump where it is wrapped
        x, log_det, back, back_log_det = both_ways(inner, z, params)
        assert np.all(np.diff(x) > 0)
        np.testing.assert_allclose(back, z, atol=1e-8)
        np.testing.assert_allclose(log_det, -back_log_det, atol=1e-4)


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("name", [pytest.param("cubic", marks=pytest.mark.slow), "rational_learned"])
@pytest.mark.by_default("rational_learned-inverse_and_log_det")
def test_derivatives_of_second_order_and_of_forward_mode(name, method):
    inner, step = SPLINES[name], 1e-6
    point = np.array([-2.6, -1.3, 0.2, 0.9, 2.4]), draw(inner, 5, 0.7, seed=1)
    direction = np.array([0.3, -1.0, 0.5, 0.8, -0.4]), draw(inner, 5, seed=2)

    def loss(point):
        out, log_det = getattr(inner, method)(*point)
        return jnp.sum(out**2) + jnp.sum(jnp.sin(log_det))

    def derivatives(point):
        gradient, curvature = jax.jvp(jax.grad(loss), (point,), (direction,))
        return jax.jvp(loss, (point,), (direction,)), gradient, curvature

    compiled = jax.jit(derivatives, compiler_options=PLAIN)
    at = lambda move: jax.device_get(compiled(jax.tree.map(lambda p, d: p + move * d, point, direction)))
    (_, along), gradient, curvature = at(0)
    (after, _), gradient_after, _ = at(step)
    (before, _), gradient_before, _ = at(-step)
    dot = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose([along, dot], (after - before) / (2 * step), rtol=1e-7)
    differences = jax.tree.map(lambda a, b: (a - b) / (2 * step), gradient_after, gradient_before)
    for got, wanted in zip(curvature, differences, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_slopes_are_not_lost_where_rounding_reaches_the_last_knot():
    inner = b.RationalQuadraticSpline(8, boundary="learned")
    z = np.full(200, np.nextafter(np.float32(5), np.float32(0)))
    params = draw(inner, 200, 2.0, dtype=np.float32)

    @jax.jit
    def slope_and_log_det(z):
        (_, log_det), (slope, _) = jax.jvp(lambda z: inner.forward_and_log_det(z, params), (z,), (jnp.ones_like(z),))
        return slope, log_det

    slope, log_det = slope_and_log_det(z)
    np.testing.assert_allclose(slope, np.exp(log_det), rtol=1e-4)


def test_a_learned_bound_moves_the_interval():
    inner = SPLINES["rational_bound"]
    params = np.tile(draw(inner, 1, seed=2), 2)
    params[-1] = [0.0, 1.0]
    z = np.array([2.5, 2.5])
    x, log_det, *_ = map(np.asarray, both_ways(inner, z, params))
    assert x[0] == 2.5
    assert log_det[0] == 0
    assert abs(x[1] - 2.5) > 1e-2
    factor = np.exp(2 * np.tanh(0.5))
    inside = list(map(np.asarray, both_ways(SPLINES["rational"], z / factor, params[:-1])))
    np.testing.assert_allclose([x[1], log_det[1]], [inside[0][1] * factor, inside[1][1]], rtol=1e-12)


def test_wrapping_leaves_angles_in_the_interval_alone():
    angle = np.array([-2.0, -1e-9, 1.999, 2.0, 5.0, -2.5])
    np.testing.assert_array_equal(jax.jit(splines.wrap)(angle, 2.0), [-2.0, -1e-9, 1.999, -2.0, 1.0, 1.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b.RationalQuadraticSpline(1), "RationalQuadraticSpline: `num_bins` must be at least 2; got 1. With"),
        (lambda: b.QuadraticSpline(2), "QuadraticSpline: `num_bins` must be at least 3; got 2"),
        (lambda: b.LinearSpline(0), "LinearSpline: `num_bins` must be at least 2; got 0"),
        (lambda: b.CubicSpline(bound=0.0), "CubicSpline: `bound` must be 1e-06 to 1e.06; got 0.0"),
        (
            lambda: b.RationalQuadraticSpline(boundary="periodic"),
            "RationalQuadraticSpline: `boundary` must be one of 'linear', 'learned', 'circular'; got 'periodic'",
        ),
        (
            lambda: b.RationalQuadraticSpline(10, min_width=0.1),
            "`min_width` must be below 1 / 10, as 10 bins share the interval; got 0.1. Lower",
        ),
        (lambda: b.CubicSpline(min_height=0), r"CubicSpline: `min_height` must lie in \(0, 1\); got 0"),
        (lambda: b.RationalQuadraticSpline(min_slope=1.0), r"`min_slope` must lie in \(0, 1\); got 1.0"),
        (lambda: b.LinearSpline(bins="free"), "LinearSpline: `bins` must be one of 'equal', 'learned'; got 'free'"),
        (
            lambda: b.RationalQuadraticSpline(boundary="circular", learn_bound=True),
            "`learn_bound` must be False with boundary='circular', as the period is fixed; got True",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()

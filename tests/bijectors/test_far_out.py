"""Far from the data, to the end of float32: a log-det or a log density is right there, or it is not finite.

The reference is the same map in float64, whose rounding is a billion times smaller; where a formula may cancel in both,
`tests/ops/test_logistic_mixture.py` compares with numbers of 120 digits.
"""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jflows import bijectors as b
from jflows import distributions as d
from jflows.testing.common import cast, perturb
from tests.cases import CASES
from tests.distributions.cases import CASES as BASES

MAGNITUDES = 10.0 ** np.array([1, 2, 3, 4, 5, 7, 10, 15, 18, 19, 20, 25, 30])
TOLERANCE = 2e-5  # relative to 1 + |log_det|
PLAIN = {"xla_backend_optimization_level": 0}
# An image, a mean of many examples, an estimate or an equation that is solved to a tolerance is another matter.
MAPS = {
    case.name: case
    for case in CASES
    if len(case.x_event_shape) == 1 and not case.name.startswith(("residual", "continuous"))
}


def rows(shape):
    """Both signs of every magnitude, as whole rows and with other entries left at about 1."""
    base = np.abs(np.random.default_rng(0).normal(size=shape)) + 0.1
    alone = np.where(
        np.arange(base.size).reshape(shape) == base.size - 1, 1, 1 / MAGNITUDES.reshape(-1, *(1,) * base.ndim)
    )
    scales = MAGNITUDES.reshape(-1, *(1,) * base.ndim)
    found = np.concatenate([sign * scales * part * base for sign in (1, -1) for part in (1, alone)])
    return found.astype(np.float32)


def check(where, function, variables, values):
    """`function(variables, values)` gives log-dets, or log densities: those in float32 beside those in float64."""
    run = jax.jit(function, compiler_options=PLAIN)
    narrow, wide = np.asarray(run(variables, values)), np.asarray(run(cast(variables, np.float64), np.float64(values)))
    with np.errstate(invalid="ignore"):
        error = np.abs(narrow - wide) / (1 + np.abs(wide))
    wrong = np.flatnonzero(np.isfinite(narrow) & ~(error <= TOLERANCE))
    found = [(values[i].tolist(), float(narrow[i]), float(wide[i])) for i in wrong[:3]]
    assert not wrong.size, f"{where}: {found}"
    assert np.isfinite(narrow).any() or not np.isfinite(wide).any()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.by_default("gaussianize", "tanh")
def test_log_dets_are_right_or_not_finite(name):
    case = MAPS[name]
    bijector, context_shape = case.make(), case.options.get("context_shape")
    context = (
        None if context_shape is None else jax.device_put(np.random.default_rng(1).normal(size=(1, *context_shape)))
    )
    start = jnp.full((1, *case.x_event_shape), 0.5)
    variables = cast(perturb(bijector.init(jax.random.key(0), start, context), 1, 0.5), np.float32)

    def log_det(method, variables, values):
        given = (
            None if context is None else jnp.broadcast_to(context, (len(values), *context_shape)).astype(values.dtype)
        )
        return bijector.apply(variables, values, given, method=method)[1]

    for method, shape in (
        ("inverse_and_log_det", case.x_event_shape),
        ("forward_and_log_det", bijector.z_event_shape(case.x_event_shape)),
    ):
        check(f"{name}.{method}", functools.partial(log_det, method), variables, rows(shape))


@pytest.mark.parametrize("case", BASES, ids=lambda case: case.name)
@pytest.mark.slow
def test_log_densities_are_right_or_not_finite(case):
    base = case.make(case.event_shape)
    context = None if case.context is None else jnp.asarray(case.context)
    of = lambda variables, z: jax.vmap(lambda z: base.apply(variables, z, context, method="log_prob"))(z)
    check(case.name, of, cast(case.variables(), np.float32), rows(case.event_shape))


def test_students_t_does_not_end_where_squares_overflow():
    z = np.asarray([[1e30], [-1e20], [0.5]], np.float32)
    log_prob = jax.jit(lambda z: d.StudentT((1,), df=3.0).apply({}, z, method="log_prob"))
    norm = np.log(6 * np.sqrt(3) / np.pi)  # of 1 / (3 + z^2)^2
    wanted = [norm - 120 * np.log(10), norm - 80 * np.log(10), norm - 2 * np.log(3.25)]
    np.testing.assert_allclose(log_prob(z), wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda z: log_prob(z).sum())(z)[:, 0], [-4e-30, 4e-20, -2 / 3.25], rtol=1e-5)


# Inner maps that are bounded on both sides, and so defined for every raw parameter; the others take exp of it.
BOUNDED = {
    "affine": b.Affine(),
    "linear_spline": b.LinearSpline(5, 2.0, bins="learned"),
    "quadratic_spline": b.QuadraticSpline(5, 2.0, learn_bound=True),
    "cubic_spline": b.CubicSpline(5, 2.0),
    "spline": b.RationalQuadraticSpline(5, 2.0, boundary="learned"),
    "circular_spline": b.RationalQuadraticSpline(5, 2.0, boundary="circular"),
    "logistic_mixture": b.LogisticMixture(3),
    "gaussianize": b.Gaussianize(3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDED)
@hypothesis.settings(max_examples=40)
@hypothesis.given(seed=st.integers(0, 2**31), size=st.sampled_from([1.0, 10.0, 40.0, 100.0, 1e3]))
def test_float32_values_log_dets_and_gradients_are_finite_at_any_raw_parameters(name, seed, size):
    inner, random = BOUNDED[name], np.random.default_rng(seed)
    params = np.float32(size * random.normal(size=(inner.num_params, 8)))
    values = np.float32(random.normal(size=8) * np.exp(random.normal(size=8)))
    for method in ("forward_and_log_det", "inverse_and_log_det"):
        for found in jax.tree.leaves(_gradients(inner, method, values, params)):
            assert np.all(np.isfinite(found)), method


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=PLAIN)
def _gradients(inner, method, values, params):
    def total(values, params):
        out, log_det = inner.apply({}, values, params, method=method)
        return jnp.sum(out) + jnp.sum(log_det), (out, log_det)

    return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(values, params)

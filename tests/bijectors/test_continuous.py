"""Continuous flows against matrix exponentials; the whole suite on them is slow, as the solver compiles for long."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.scipy.linalg import expm

from jflows import bijectors as b
from jflows.errors import InvalidValueError, JflowsError

pytest.importorskip("diffrax", reason="continuous flows need the optional package diffrax")

INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"
# Arrays are tiny here: nearly all of the time would go into optimising the machine code.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
MATRIX = np.array([[0.3, -1.0, 0.2], [0.8, -0.2, 0.5], [0.1, 0.4, 0.6]])
X = jax.device_put(np.random.default_rng(0).standard_normal((2, 4, 3)))


class LinearField(linen.Module):
    """dx/dt = A x + context: x(1) = exp(A) z for a context of 0, and the log-det is tr(A)."""

    @linen.compact
    def __call__(self, t, x, context=None):
        matrix = self.param("matrix", lambda _: MATRIX.astype(x.dtype))
        return x @ matrix.T + (0 if context is None else context)


VARIABLES = {"params": {"network": {"matrix": MATRIX}}}


@pytest.mark.slow
def test_a_linear_field_gives_the_matrix_exponential():
    bijector = b.Continuous(LinearField(), rtol=1e-10, atol=1e-10)

    @fast_jit
    def run(variables, z):
        (x, log_det), vjp = jax.vjp(lambda v, z: bijector.apply(v, z, method=FORWARD), variables, z)
        return x, log_det, vjp((jnp.ones_like(x), jnp.ones_like(log_det)))

    x, log_det, (d_variables, dz) = run(VARIABLES, X)
    np.testing.assert_allclose(x, X @ expm(MATRIX).T, rtol=1e-8)
    np.testing.assert_allclose(log_det, np.full((2, 4), np.trace(MATRIX)), rtol=1e-10)
    np.testing.assert_allclose(dz, np.broadcast_to(expm(MATRIX).sum(0), X.shape), rtol=1e-8)
    wanted = jax.grad(lambda a: jnp.sum(X @ expm(a).T) + 8 * jnp.trace(a))(MATRIX)
    np.testing.assert_allclose(d_variables["params"]["network"]["matrix"], wanted, rtol=1e-7)
    z, inverse_log_det = fast_jit(functools.partial(bijector.apply, method=INVERSE))(VARIABLES, x)
    np.testing.assert_allclose(z, X, atol=1e-8)
    np.testing.assert_allclose(inverse_log_det, -log_det, rtol=1e-10)


def test_hutchinson_trace_has_one_noise_for_the_whole_path():
    bijector = b.Continuous(LinearField(), "hutchinson", solver="dopri5", noise="normal", rtol=1e-9, atol=1e-9)
    assert bijector.needs_key

    @fast_jit
    def run(seed):
        rngs = {"noise": jax.random.key(seed, impl="unsafe_rbg")}
        x, log_det = bijector.apply(VARIABLES, X, method=FORWARD, rngs=rngs)
        return x, log_det, bijector.apply(VARIABLES, x, method=INVERSE, rngs=rngs)[1]

    x, log_det, back_log_det = run(0)
    np.testing.assert_allclose(x, X @ expm(MATRIX).T, rtol=1e-7)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-7)
    draws = np.stack([run(seed)[1] for seed in range(200)]).reshape(200, -1)
    error = np.std(draws) / np.sqrt(draws.size)
    assert error < 0.06 and abs(np.mean(draws) - np.trace(MATRIX)) < 4 * error


def test_a_path_that_takes_too_many_steps_is_nan():
    bijector = b.Continuous(LinearField(), rtol=1e-10, atol=1e-10, max_steps=3)
    x, log_det = fast_jit(functools.partial(bijector.apply, method=FORWARD))(VARIABLES, X[0])
    assert np.isnan(x).all() and np.isnan(log_det).all()


def test_velocity_is_public():
    bijector = b.Continuous(LinearField())
    np.testing.assert_allclose(
        bijector.apply(VARIABLES, jnp.zeros((2, 4)), X, method="velocity"), X @ MATRIX.T, rtol=1e-12
    )


def test_without_diffrax_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    bijector = b.Continuous(LinearField(), max_steps=77)  # settings that nothing else has traced
    message = r"Continuous: `diffrax` must be installed .* Run `pip install diffrax`\."
    with pytest.raises(JflowsError, match=message):
        bijector.apply(VARIABLES, X[0], method=INVERSE)


@pytest.mark.parametrize(
    "derive",
    [
        lambda f, x: jax.jvp(f, (x,), (x,)),
        lambda f, x: jax.jvp(jax.jit(f), (x,), (x,)),
        lambda f, x: jax.jit(jax.hessian(lambda x: f(x).sum())).lower(x),
        lambda f, x: jax.jacrev(jax.grad(lambda x: f(x).sum()))(x),
    ],
    ids=["jvp", "jvp_of_jit", "hessian", "reverse_twice"],
)
@pytest.mark.by_default("jvp_of_jit", "hessian")
def test_derivatives_that_need_a_setting_name_it(derive, request):
    if request.node.callspec.id == "jvp_of_jit" and getattr(jax.config, "jax_custom_vjp3", False):
        pytest.skip("with JAX's coming custom_vjp, the loop of Equinox fails first, in words of its own")
    bijector = b.Continuous(LinearField())
    message = "Continuous: `derivatives` must be 'all' for derivatives in forward mode .* second order; got 'reverse'"
    with pytest.raises(InvalidValueError, match=message):
        derive(lambda x: bijector.apply(VARIABLES, x, method=INVERSE)[0], X[0, :1])


@pytest.mark.slow
def test_all_derivatives_of_a_linear_field():
    bijector = b.Continuous(LinearField(), rtol=1e-9, atol=1e-9, max_steps=32, derivatives="all")
    squared = lambda z: 0.5 * jnp.sum(bijector.apply(VARIABLES, z, method=FORWARD)[0] ** 2)
    wanted = expm(MATRIX).T @ expm(MATRIX)
    np.testing.assert_allclose(fast_jit(jax.hessian(squared))(X[0, 0]), wanted, rtol=1e-6)
    np.testing.assert_allclose(fast_jit(jax.jacfwd(squared))(X[0, 0]), wanted @ X[0, 0], rtol=1e-6)

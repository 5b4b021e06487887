"""Solves and factorisations: JAX's values and derivatives, and on a CPU no batch that threads would divide."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.scipy import linalg

import jflows
from jflows.ops import factorisations
from jflows.ops.linear import skew_exp, skew_matrix
from jflows.ops.lipschitz import squared_norm_bound
from jflows.ops.trace import exact_log_det

SIZE, WIDE = 3, 2


def positive(matrix):
    return matrix @ matrix.T + jnp.diag(jnp.arange(1.0, 1.0 + SIZE))


def hermitian(matrix):
    complex_matrix = matrix + 1j * jnp.roll(matrix, 1)
    return complex_matrix @ complex_matrix.conj().T


PAIRS = {
    "lower": (
        lambda a, b: factorisations.solve_triangular(a, b, lower=True),
        lambda a, b: linalg.solve_triangular(a, b, lower=True),
    ),
    "upper": (
        lambda a, b: factorisations.solve_triangular(a, b, lower=False),
        lambda a, b: linalg.solve_triangular(a, b, lower=False),
    ),
    "solve": (factorisations.solve, jnp.linalg.solve),
    "cholesky": (
        lambda a, b: factorisations.cholesky(positive(a)),
        lambda a, b: jnp.linalg.cholesky(positive(a)),
    ),
    "qr": (lambda a, b: factorisations.qr(a[:, :WIDE]), lambda a, b: tuple(jnp.linalg.qr(a[:, :WIDE]))),
    "eigh": (
        lambda a, b: factorisations.eigh(hermitian(a))[0],
        lambda a, b: jnp.linalg.eigvalsh(hermitian(a)),
    ),
    "log_abs_det": (lambda a, b: factorisations.log_abs_det(a), lambda a, b: jnp.linalg.slogdet(a)[1]),
    "skew_exp": (lambda a, b: skew_exp(30 * (a - a.T)), lambda a, b: linalg.expm(30 * (a - a.T))),
}


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(0)
    a = random.normal(size=(2, 2, SIZE, SIZE)) + 3 * np.eye(SIZE)
    return jnp.asarray(a), jnp.asarray(random.normal(size=(2, 2, SIZE, WIDE)))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("undivided", [factorisations.UNDIVIDED, 0], ids=["at_once", "in_turn"])
def test_values_and_derivatives_are_those_of_jax(name, undivided, matrices, monkeypatch):
    """Of a batch of batches: in reverse, forwards, of second order, and inside `vmap`."""
    monkeypatch.setattr(factorisations, "UNDIVIDED", undivided)

    def found(function):
        def one(a, b):
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(function(a, b)))

        def of_all(a, b):
            slope = jax.vmap(jax.vmap(jax.grad(one)))(a, b)
            forwards = jax.vmap(lambda a, b: jax.jvp(lambda b: one(a[0], b), (b[0],), (b[1],))[1])(a, b)
            shared = jax.vmap(one, (None, 0))(a[0, 0], b[0])
            return jnp.sum(jax.vmap(jax.vmap(one))(a, b)) + jnp.sum(slope**2) + jnp.sum(forwards * shared)

        return jax.jit(jax.value_and_grad(of_all, argnums=(0, 1)))(*matrices)

    ours, theirs = (found(function) for function in PAIRS[name])
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8), ours, theirs)


def test_equal_eigenvalues_have_slopes():
    slope = jax.grad(lambda a: jnp.sum(factorisations.eigh(a)[0] ** 2))(jnp.eye(3))
    np.testing.assert_allclose(slope, 2 * np.eye(3))


def test_narrow_types_are_widened_and_large_angles_are_refused():
    assert factorisations.solve(jnp.eye(2, dtype="bfloat16"), jnp.ones((2, 1), "bfloat16")).dtype == "float32"
    functions = (factorisations.cholesky, factorisations.qr, factorisations.eigh, factorisations.log_abs_det)
    for function in functions:
        slope = jax.grad(lambda a, f=function: jnp.sum(jax.tree.leaves(f(a))[0]))(2 * jnp.eye(2, dtype="bfloat16"))
        assert slope.dtype == "bfloat16" and np.isfinite(slope.astype("float32")).all()
    assert np.isnan(skew_exp(skew_matrix(jnp.asarray([1e6]), 2))).all()


def lapack_batches(function, *args) -> list[tuple[int, ...]]:
    """The shapes of batches of matrices that a CPU hands to LAPACK as one."""
    text = jax.jit(function).trace(*args).lower(lowering_platforms=("cpu",)).as_text()
    calls = re.findall(r"stablehlo.custom_call @lapack_\w+\(.*?-> (.*)", text)
    assert calls, "no factorisation was found"
    shapes = [
        tuple(map(int, re.findall(r"(\d+)x", kind))) for call in calls for kind in re.findall(r"tensor<(.*?)>", call)
    ]
    return [shape for shape in shapes if len(shape) > 2 and shape[0] > 1]


SIXTEEN = jax.ShapeDtypeStruct((16, 48, 48), jnp.float32)


@pytest.mark.parametrize(
    "function",
    [
        jax.vmap(jax.grad(lambda a: jnp.sum(factorisations.solve(a, a)))),
        jax.vmap(jax.grad(lambda a: jnp.sum(factorisations.cholesky(a)))),
        jax.vmap(jax.grad(lambda a: jnp.sum(factorisations.qr(a)[0]))),
        jax.vmap(jax.grad(lambda a: jnp.sum(factorisations.eigh(a)[0]))),
        jax.vmap(factorisations.plu),
        jax.vmap(jax.grad(lambda a: jnp.sum(skew_exp(a)))),
        jax.grad(lambda a: jnp.sum(exact_log_det(lambda x: 0.1 * jnp.tanh(x) ** 2, a[0], 1))),
        jax.grad(lambda a: squared_norm_bound(a[:9].reshape(3, 3, 48, 48))),
    ],
    ids=["solve", "cholesky", "qr", "eigh", "plu", "skew_exp", "exact_log_det", "squared_norm_bound"],
)
def test_a_cpu_gets_no_batch_that_threads_would_divide(function):
    """Batches that threads divide wait for each other for ever where threads are few, and such a test would not end."""
    assert not lapack_batches(function, SIXTEEN)


def test_a_cpu_gets_small_matrices_together():
    small = jax.ShapeDtypeStruct((100, 2, 2), jnp.float32)
    assert set(lapack_batches(jax.vmap(lambda a: factorisations.solve(a, a)), small)) == {(100, 2, 2)}
    on_a_gpu = jax.jit(jax.vmap(factorisations.qr)).trace(SIXTEEN).lower(lowering_platforms=("cuda",)).as_text()
    assert "16x48x48" in re.search(r"custom_call @cusolver_geqrf\w*\(.*", on_a_gpu)[0]


def test_many_right_hand_sides_may_be_open():
    """As many as a batch of unknown size has rows, which a base with a full covariance divides by its factor."""
    (rows,) = export.symbolic_shape("rows")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((40, 3, 3), (3, rows))]
    solve = jax.jit(jax.vmap(lambda t, b: factorisations.solve_triangular(t, b, lower=True), (0, None)))
    program = export.export(solve)(*shapes)
    triangles, values = jnp.tile(2 * jnp.eye(3, dtype="float32"), (40, 1, 1)), jnp.ones((3, 5), "float32")
    np.testing.assert_array_equal(program.call(triangles, values), np.full((40, 3, 5), 0.5))


def test_nobody_else_calls_lapack():
    """A call of JAX's own under `jax.vmap` would be a batch."""
    root = Path(jflows.__file__).parent
    called, imported = (
        r"(jnp|jax\.scipy|lax)\.linalg\b(?!\.norm)",
        r"from jax\.scipy(\.linalg)? import .*(linalg|solve)",
    )
    lapack = re.compile(f"{called}|{imported}")
    found = [str(path.relative_to(root)) for path in root.rglob("*.py") if lapack.search(path.read_text())]
    assert found == ["ops/factorisations.py"]

"""Linear maps, permutations and shapes: golden values, initial values, one channel, bfloat16, and what is solved."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.testing.common import named_leaves, perturb

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"
LEARNED = {
    "plu": b.InvertibleLinear(),
    "diagonal": b.DiagonalLinear(),
    "lower": b.TriangularLinear(),
    "upper": b.TriangularLinear(lower=False),
    "low_rank": b.LowRankLinear(1),
    "householder": b.Householder(2),
    "cayley": b.Orthogonal(),
    "exp": b.Orthogonal("exp"),
    "qr": b.QRLinear(),
    "svd": b.SVDLinear(),
}
each_learned_map = pytest.mark.parametrize("name", LEARNED)


@functools.cache
def initial(name, channels):
    x = jnp.zeros((1, channels), jnp.float64)
    return jax.jit(functools.partial(LEARNED[name].init, method=INVERSE))(KEY, x)


@functools.partial(jax.jit, static_argnames=("name", "method"))
def apply(name, variables, values, method):
    return LEARNED[name].apply(variables, values, method=method)


def matrix_of(name, variables, channels):
    return np.asarray(apply(name, variables, np.eye(channels), INVERSE)[0]).T


def assert_equals_distrax(got, reference, x):
    """`reference` maps x to z, as its forward."""
    for part, wanted in zip(got, jax.jit(reference.forward_and_log_det)(x), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-11, atol=1e-11)


def golden(name):
    x = np.random.default_rng(0).normal(size=(5, 4))
    variables = jax.device_get(perturb(initial(name, 4), 1, 0.3))
    return x, variables, variables["params"], apply(name, variables, x, INVERSE)


def test_diagonal_equals_distrax():
    distrax = pytest.importorskip("distrax")
    x, _, params, got = golden("diagonal")
    assert_equals_distrax(got, distrax.DiagLinear(jax.device_put(np.exp(params["log_scale"]))), x)


@pytest.mark.parametrize("name", ["lower", "upper"])
def test_triangular_equals_distrax(name):
    distrax = pytest.importorskip("distrax")
    x, _, params, got = golden(name)
    matrix = np.zeros((4, 4))
    matrix[np.tril_indices(4)] = params["triangle"]
    np.fill_diagonal(matrix, np.exp(np.diagonal(matrix)))
    is_lower = name == "lower"
    matrix = jax.device_put(matrix if is_lower else matrix.T)
    assert_equals_distrax(got, distrax.TriangularLinear(matrix, is_lower=is_lower), x)


def test_plu_equals_distrax():
    distrax = pytest.importorskip("distrax")
    x, _, params, _ = golden("plu")
    constants = {"sign": np.array([1.0, -1.0, 1.0, 1.0]), "permutation": np.arange(4)}
    packed = params["plu"].copy()
    np.fill_diagonal(packed, constants["sign"] * np.exp(np.diagonal(packed)))
    got = apply("plu", {"params": params, "constants": constants}, x, INVERSE)
    assert_equals_distrax(got, distrax.LowerUpperTriangularAffine(jax.device_put(packed), jnp.zeros(4)), x)


@pytest.mark.parametrize("name", ["plu", "qr", "svd"])
def test_general_matrices_equal_distrax(name):
    distrax = pytest.importorskip("distrax")
    x, variables, _, got = golden(name)
    matrix = jax.device_put(matrix_of(name, variables, 4))
    assert_equals_distrax(got, distrax.UnconstrainedAffine(matrix, jnp.zeros(4)), x)


def test_low_rank_equals_distrax():
    distrax = pytest.importorskip("distrax")
    x, _, params, got = golden("low_rank")
    diagonal, factor = jax.device_put((np.exp(params["log_diagonal"]), params["factor"]))
    reference = distrax.DiagPlusLowRankLinear(diagonal, factor, factor)
    assert_equals_distrax(got, reference, x)


def test_householder_equals_tfp():
    operators = pytest.importorskip("tensorflow_probability.substrates.jax").tf2jax.linalg
    x, _, params, (z, _) = golden("householder")
    first, second = (operators.LinearOperatorHouseholder(v) for v in params["vectors"])
    np.testing.assert_allclose(z, first.matvec(second.matvec(x)), atol=1e-12)


@pytest.mark.parametrize("name", ["plu", "householder", "cayley", "exp", "qr", "svd"])
def test_mixing_maps_start_orthogonal(name):
    matrix = matrix_of(name, initial(name, 4), 4)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-10)
    assert np.abs(matrix - np.eye(4)).max() > 0.1


@pytest.mark.parametrize("name", ["diagonal", "lower", "upper"])
def test_scales_and_triangles_start_as_the_identity(name):
    np.testing.assert_array_equal(matrix_of(name, initial(name, 4), 4), np.eye(4))


@pytest.mark.parametrize("name", ["householder", "cayley", "exp"])
def test_orthogonal_maps_stay_orthogonal(name):
    matrix = matrix_of(name, perturb(initial(name, 4), 2, 3.0), 4)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-12)


@each_learned_map
@pytest.mark.by_default("plu", "qr", "diagonal")
def test_one_channel(name):
    variables = perturb(initial(name, 1), 1, 0.3)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def measure(params, x):
        def loss(params):
            z, log_det = apply(name, {**variables, "params": params}, x, INVERSE)
            return jnp.sum(z) + jnp.sum(log_det), (z, log_det)

        gradients, (z, log_det) = jax.grad(loss, has_aux=True)(params)
        return z, log_det, apply(name, {**variables, "params": params}, z, FORWARD), gradients

    x = np.array([[1.0], [-3.0]])
    z, log_det, (back, back_log_det), gradients = measure(variables.get("params", {}), x)
    np.testing.assert_allclose(back, x, rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(np.abs(z / x))[:, 0], atol=1e-12)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-12)
    for path, leaf in named_leaves(gradients):
        assert np.isfinite(leaf).all(), path


@each_learned_map
def test_init_takes_the_dtype_of_its_input(name):
    def init(x):
        return LEARNED[name].init_with_output(jax.random.key(0), x, method=INVERSE)

    (z, log_det), variables = jax.eval_shape(init, jax.ShapeDtypeStruct((2, 4), jnp.bfloat16))
    assert {leaf.dtype for _, leaf in named_leaves(variables["params"])} == {np.dtype(jnp.bfloat16)}
    assert (z.dtype, log_det.dtype) == (jnp.bfloat16, jnp.float32)


SOLVES = {
    INVERSE: ("low_rank", "householder", "cayley", "exp", "qr", "svd"),
    FORWARD: ("plu", "lower", "upper", "low_rank", "householder", "cayley", "exp", "qr", "svd"),
}


def equations(jaxpr):
    """All equations, those inside calls and loops included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values())):
            if hasattr(value, "eqns"):
                yield from equations(value)


@each_learned_map
@pytest.mark.parametrize("method", [INVERSE, FORWARD])
def test_nothing_is_solved_per_example_and_products_are_exact(name, method):
    x = jnp.zeros((64, 4))
    jaxpr = jax.make_jaxpr(lambda v, x: apply(name, v, x, method))(initial(name, 4), x).jaxpr
    solvers = ("triangular_solve", "lu", "cholesky", "custom_linear_solve")
    solved = [e for e in equations(jaxpr) if e.primitive.name in solvers]
    assert all(v.aval.size <= 16 for e in solved for v in e.outvars), solved
    assert bool(solved) == (name in SOLVES[method])
    products = [e.params["precision"] for e in equations(jaxpr) if e.primitive.name == "dot_general"]
    assert set(products) <= {(jax.lax.Precision.HIGHEST,) * 2}
    assert bool(products) == (name != "diagonal")


@pytest.mark.parametrize(("size", "wanted"), [(4, [2, 3, 0, 1]), (5, [3, 4, 0, 1, 2]), (1, [0])])
def test_halves_are_swapped_where_couplings_cut(size, wanted):
    x = jnp.arange(size)[None] * 1.0
    z = b.SwapHalves().apply({}, x, method="inverse")
    assert z[0].astype(int).tolist() == wanted
    np.testing.assert_array_equal(b.SwapHalves().apply({}, z, method="forward"), x)


def test_permute_follows_the_given_order():
    x = np.array([10.0, 20.0, 30.0])
    assert b.Permute((2, 0, 1)).apply({}, x, method="inverse").tolist() == [30, 10, 20]
    assert b.Permute((2, 0, 1)).apply({}, x, method="forward").tolist() == [20, 30, 10]


def test_transpose_and_reshape_equal_numpy():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    transposed = b.Transpose((2, 0, 1)).apply({}, jnp.asarray(x), method="inverse")
    np.testing.assert_array_equal(transposed, x.transpose(0, 3, 1, 2))
    flat = b.Reshape((3, 2, 2), (12,)).apply({}, jnp.asarray(x), method="inverse")
    np.testing.assert_array_equal(flat, x.reshape(2, 12))
    assert b.Transpose((1, 2, 0)).z_event_shape((3, 4, 5)) == (4, 5, 3)
    assert b.Transpose((1, 2, 0)).x_event_shape((4, 5, 3)) == (3, 4, 5)
    scalar = b.Reshape((), (1,)).apply({}, jnp.ones(4), method="inverse")
    assert scalar.shape == (4, 1)

"""Bases: moments, temperature, densities against SciPy and distrax, integrals, gradients, dtypes, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jflows
from jflows import distributions as d
from jflows.distributions import Base
from jflows.errors import InvalidValueError
from jflows.nn import MLP, ClassEmbed
from jflows.ops.special import log_gamma_half_step
from tests.distributions.cases import CASES, LOG_STD, LOG_STDS, LOGITS, MEAN, MEANS, factor
from tests.distributions.cases import one_dimensional as first_coordinate

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling them is all that they cost
NUM_SAMPLES = 4000
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

every_sample = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case.slow_to_sample else ()) for case in CASES],
    ids=lambda case: case.name,
)


def test_every_exported_base_has_a_case():
    exported = {name for name in d.__all__ if name != "Base"}
    assert {type(case.make(case.event_shape)).__name__ for case in CASES} == exported


@functools.cache
def measured(name: str):
    """Everything that the tests below look at, from one compiled program per base."""
    case = next(case for case in CASES if case.name == name)
    base = case.make(case.event_shape)
    variables = case.variables()
    shape = (NUM_SAMPLES,)
    context = None if case.context is None else np.broadcast_to(case.context, (*shape, len(case.context)))

    def measure(variables):
        def draw(temperature):
            return base.apply(variables, KEY, shape, context, temperature, method="sample")

        def loss(params, z):
            log_prob = base.apply({**variables, "params": params}, z, context, method="log_prob")
            return jnp.sum(log_prob), log_prob

        cold, cool, z = jax.lax.map(draw, np.array([0.0, 0.7, 1.0]))
        gradients, log_prob = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables.get("params", {}), z)
        mean = None
        if case.mean is not None or "resampled" in name:
            one = None if context is None else context[0]
            mean = base.apply(variables, one, method="mean")
        deviation = None
        if type(base).deviation is not Base.deviation:
            deviation = base.apply(variables, None if context is None else context[0], method="deviation")
        return {
            "samples": z,
            "cold": cold,
            "cool": cool,
            "log_prob": log_prob,
            "gradients": gradients,
            "mean": mean,
            "deviation": deviation,
        }

    return jax.tree.map(np.asarray, jax.jit(measure, compiler_options=QUICK)(variables))


def log_prob_of(base: Base):
    """Compiled once instead of operation by operation."""
    compiled = functools.partial(jax.jit, compiler_options=QUICK)
    return compiled(lambda variables, z, context=None: base.apply(variables, z, context, method="log_prob"))


@every_sample
def test_samples_have_the_stated_mean_and_deviation(case):
    found = measured(case.name)
    samples, shape = found["samples"], case.event_shape
    assert samples.shape == (NUM_SAMPLES, *shape)
    assert found["mean"].shape == shape
    error = 5 * samples.std(axis=0) / np.sqrt(NUM_SAMPLES)
    assert np.all(np.abs(samples.mean(axis=0) - found["mean"]) < error)
    if case.mean is not None:
        np.testing.assert_allclose(found["mean"], np.broadcast_to(case.mean, shape), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(samples.std(axis=0), np.broadcast_to(case.std, shape), rtol=0.1)
    if found["deviation"] is not None:
        np.testing.assert_allclose(found["deviation"], np.broadcast_to(case.std, shape), rtol=1e-12)


@every_sample
def test_temperature_scales_the_deviation_from_the_mean(case):
    found = measured(case.name)
    mean = found["mean"]
    np.testing.assert_allclose(found["cold"], np.broadcast_to(mean, found["cold"].shape), atol=1e-12)
    np.testing.assert_allclose(found["cool"] - mean, 0.7 * (found["samples"] - mean), atol=1e-12)


@every_sample
def test_gradients_are_finite_and_reach_every_parameter(case):
    of_params, of_z = measured(case.name)["gradients"]
    assert np.all(np.isfinite(of_z))
    for path, gradient in jax.tree_util.tree_leaves_with_path(of_params):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient), path


@every_case
def test_density_integrates_to_one(case):
    base, variables = first_coordinate(case)
    z = np.linspace(*case.support, 24001)
    context = None if case.context is None else np.broadcast_to(case.context, (*z.shape, len(case.context)))
    log_prob = log_prob_of(base)(variables, z[:, None], context)
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), z), 1.0, atol=case.tol)


@every_case
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_log_prob_is_per_event_and_wide(case, dtype):
    base = case.make((2, 3))
    z = jax.ShapeDtypeStruct((5, 4, 2, 3), dtype)
    context = None if case.context is None else jnp.ones((5, 4, 2))
    log_prob, variables = jax.eval_shape(lambda z: base.init_with_output(KEY, z, context, method="log_prob"), z)
    assert log_prob.shape == (5, 4)
    assert log_prob.dtype == jnp.result_type(jnp.float32, dtype, *jax.tree.leaves(variables))
    sample = jax.eval_shape(lambda v: base.apply(v, KEY, (5, 4), context, method="sample"), variables)
    assert sample.shape == (5, 4, 2, 3)
    sampled_first = jax.eval_shape(lambda: base.init(KEY, KEY, (5, 4), context, method="sample"))
    assert jax.tree.map(jnp.shape, sampled_first) == jax.tree.map(jnp.shape, variables)


@every_case
def test_survives_json(case):
    base = case.make(case.event_shape)
    assert jflows.from_spec(jflows.to_spec(base)) == base


def test_the_transform_of_a_base_has_its_density_and_is_uniform():
    transformed = set()
    for case in CASES:
        base, variables, context = case.make(case.event_shape), case.variables(), case.context
        if not base.has_pit:
            with pytest.raises(
                InvalidValueError, match=f"{case.make((3,)).__class__.__name__}: `pit` is not known for"
            ):
                base.apply(variables, jnp.zeros(case.event_shape), context, method="pit")
            continue
        transformed.add(type(base).__name__)
        found, size = measured(case.name), 2000

        def pit(z, base=base, variables=variables, context=context):
            own = None if context is None else jnp.broadcast_to(context, (*z.shape[:-1], *context.shape))
            return base.apply(variables, z, own, method="pit")

        z = found["samples"][:size]
        run = jax.jit(lambda z, pit=pit: (pit(z), jax.vmap(jax.jacfwd(pit))(z[:50])), compiler_options=QUICK)
        u, slopes = jax.device_get(run(z))
        np.testing.assert_allclose(np.linalg.slogdet(slopes)[1], found["log_prob"][:50], atol=1e-8)
        assert max(scipy.stats.kstest(column, "uniform").statistic for column in u.T) < 2.1 / np.sqrt(size)
        assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 0.12
    normals = {"StandardNormal", "DiagonalNormal", "FullNormal", "ClassConditionalNormal"}
    assert transformed == normals | {
        "StandardLogistic",
        "Laplace",
        "StudentT",
        "Uniform",
        "UniformAngle",
        "Product",
    } | {"LocationScale"}


def test_the_transform_of_students_t_keeps_its_digits():
    z = np.asarray([-50.0, -3.0, -1e-3, 0.0, 1e-3, 0.5, 4.0], np.float32)[:, None]
    pit = jax.jit(lambda df, z: d.StudentT((1,), df).apply({}, z, method="pit")[..., 0], static_argnums=0)
    for df in (1.0, 4.0, 1e6):
        got = pit(df, z)
        np.testing.assert_allclose(got, scipy.stats.t.cdf(np.asarray(z, np.float64)[:, 0], df), rtol=2e-5, atol=1e-9)
    assert np.isnan(pit(4.0, np.full_like(z, np.nan))).all()


SCIPY = {
    "standard_normal": lambda z: scipy.stats.norm.logpdf(z).sum(-1),
    "diagonal_normal": lambda z: scipy.stats.norm.logpdf(z, MEAN, np.exp(LOG_STD)).sum(-1),
    "class_conditional_normal": lambda z: scipy.stats.norm.logpdf(z, MEAN, np.exp(LOG_STD)).sum(-1),
    "full_normal": lambda z: scipy.stats.multivariate_normal.logpdf(z, MEAN, factor() @ factor().T),
    "standard_logistic": lambda z: scipy.stats.logistic.logpdf(z).sum(-1),
    "laplace": lambda z: scipy.stats.laplace.logpdf(z).sum(-1),
    "student_t_learned": lambda z: scipy.stats.t.logpdf(z, [5.0, 8.0, 30.0]).sum(-1),
    "uniform": lambda z: scipy.stats.uniform.logpdf(z, -1, 4).sum(-1),
    "normal_mixture": lambda z: scipy.special.logsumexp(
        LOGITS + scipy.stats.norm.logpdf(z[:, None], MEANS, np.exp(LOG_STDS)).sum(-1), axis=-1
    ),
}


@pytest.mark.parametrize("name", SCIPY)
def test_log_prob_equals_scipy(name):
    found = measured(name)
    np.testing.assert_allclose(found["log_prob"], SCIPY[name](found["samples"]), rtol=1e-9, atol=1e-9)


def test_log_prob_equals_distrax():
    distrax = pytest.importorskip("distrax")
    z = np.random.default_rng(0).normal(size=(5, 3))
    wanted = {
        "diagonal_normal": distrax.MultivariateNormalDiag(*jax.device_put((MEAN, np.exp(LOG_STD)))),
        "full_normal": distrax.MultivariateNormalTri(jax.device_put(MEAN), jax.device_put(factor())),
        "standard_logistic": distrax.Independent(distrax.Logistic(jnp.zeros(3), jnp.ones(3)), 1),
        "normal_mixture": distrax.MixtureSameFamily(
            distrax.Categorical(jax.device_put(LOGITS)),
            distrax.MultivariateNormalDiag(*jax.device_put((MEANS, np.exp(LOG_STDS)))),
        ),
    }
    for case in CASES:
        if case.name in wanted:
            got = log_prob_of(case.make((3,)))(case.variables(), z)
            np.testing.assert_allclose(got, jax.jit(wanted[case.name].log_prob)(z), rtol=1e-10)


def test_modes():
    for case in CASES:
        base = case.make(case.event_shape)
        mode = jax.jit(functools.partial(base.apply, method="mode"))
        name = "UniformAngle" if case.name == "product" else type(base).__name__  # its base without a mode
        if name in ("Uniform", "UniformAngle", "NormalMixture", "ResampledNormal", "AutoregressiveMixture"):
            with pytest.raises(
                InvalidValueError, match=f"{name}: `mode` is not unique or has no closed form. Compare log_prob"
            ):
                mode(case.variables(), case.context)
        else:
            found = mode(case.variables(), case.context)
            np.testing.assert_array_equal(found, np.broadcast_to(case.mean, case.event_shape))


def test_narrow_latents_keep_a_float32_density():
    z = jnp.ones((5, 2, 3), jnp.bfloat16)
    assert log_prob_of(d.StandardNormal((2, 3)))({}, z).dtype == jnp.float32


def test_far_tails_and_nan_stay_what_they_are():
    z = np.array([[1e4], [-1e4], [np.nan]])
    for base, wanted in (
        (d.StandardLogistic((1,)), -1e4),
        (d.Laplace((1,)), -1e4 - np.log(2)),
        (d.StudentT((1,), 2.0), scipy.stats.t.logpdf(1e4, 2.0)),
        (d.Uniform((1,)), -np.inf),
    ):
        log_prob = log_prob_of(base)({}, z)
        np.testing.assert_allclose(log_prob, [wanted, wanted, np.nan], rtol=1e-12)
    base = d.Uniform((1,), 0.1, 0.7)  # 0.4 - 0.3 < 0.1 in float32
    with jax.enable_x64(False):
        samples = base.apply({}, jax.random.key(0), (4000,), method="sample")
        edges = np.asarray([[0.1], [0.7]], np.float32)
        assert np.all(np.isfinite(log_prob_of(base)({}, np.concatenate([samples, edges]))))
    ends = log_prob_of(d.Uniform((1,), -1.0, 3.0))({}, np.array([[-1.0], [3.0], [3.001]]))
    np.testing.assert_allclose(ends, [-np.log(4), -np.log(4), -np.inf])


def test_student_t_keeps_its_digits_at_many_degrees_of_freedom():
    z = np.array([[0.3], [2.5]], np.float32)
    df = np.array([30.0, 1e3, 1e7])
    variables = {"params": {"log_df": np.log(df).astype(np.float32)}}
    got = log_prob_of(d.StudentT((3,), learned=True))(variables, z * np.ones(3, np.float32))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, scipy.stats.t.logpdf(z, df).sum(-1), rtol=2e-6)
    x = np.array([1e-3, 0.5, 15.9, 16.0, 40.0, 1e9])
    exact = np.array([scipy.special.loggamma(v + 0.5) - scipy.special.loggamma(v) for v in x[:-1]])
    values, slope = jax.jit(jax.vmap(jax.value_and_grad(log_gamma_half_step)))(x)
    values, slope = np.asarray(values), np.asarray(slope)
    np.testing.assert_allclose(values[:-1], exact, rtol=1e-12)
    wanted = scipy.special.digamma(x + 0.5) - scipy.special.digamma(x)
    np.testing.assert_allclose(slope[:-1], wanted[:-1], rtol=1e-10)
    np.testing.assert_allclose(slope[-1], 0.5e-9, rtol=1e-8)


def test_student_t_has_no_mean_at_one_degree_of_freedom():
    assert np.all(np.isnan(d.StudentT((2,), 1.0).apply({}, method="mean")))


def test_a_class_owns_its_normal():
    base = d.ClassConditionalNormal((1,))
    context = np.concatenate([ClassEmbed(2).apply({}, np.array([0, 1])), np.zeros((1, 2))])
    variables = {"params": {"mean": np.array([[3.0], [-3.0]]), "log_std": np.zeros((2, 1))}}
    np.testing.assert_array_equal(base.apply(variables, context, method="mean"), [[3], [-3], [0]])
    rule = "ClassConditionalNormal: `context` must be given. Give the flow context_shape, and embed=ClassEmbed"
    with pytest.raises(InvalidValueError, match=rule):
        base.init(KEY, jnp.ones((2, 1)), method="log_prob")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: d.StudentT((1,), 0.0), "StudentT: `df` must be positive; got 0.0"),
        (lambda: d.Uniform((1,), 1.0, 1.0), r"Uniform: `low, high` must hold low < high; got \(1.0, 1.0\)"),
        (lambda: d.Uniform((1,), 0.0, np.inf), r"Uniform: `high` must be finite; got inf"),
        (lambda: d.NormalMixture((1,), 0), "NormalMixture: `num_components` must be at least 1; got 0"),
        (lambda: d.ResampledNormal((1,), MLP(), 1), "ResampledNormal: `max_tries` must be at least 2; got 1"),
        (lambda: d.ResampledNormal((1,), MLP(), 2, 0), "ResampledNormal: `num_points` must be at least 1; got 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_a_base_must_be_whole():
    class Half(Base):
        event_shape: tuple = ()

        def log_prob(self, z, context=None):
            return z

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_a_base_without_a_mean_says_so():
    class Plain(Base):
        def log_prob(self, z, context=None):
            return z

        def sample(self, key, shape, context=None, temperature=1.0):
            return key

    assert hash(Plain([2])) == hash(Plain((2,)))
    with pytest.raises(InvalidValueError, match="Plain: `mean` has no closed form. Average samples."):
        Plain((2,)).mean()
    with pytest.raises(InvalidValueError, match="Plain: `deviation` has no closed form. Average samples."):
        Plain((2,)).deviation()
    assert np.isinf(d.StudentT((2,), 2.0).apply({}, method="deviation")).all()

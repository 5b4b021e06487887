"""What two bases learn: where a mixture starts, and the rejections of a resampled normal."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jflows
from jflows import bijectors as b
from jflows.distributions import ClassConditionalNormal, FullNormal, NormalMixture, ResampledNormal, StandardNormal
from jflows.nn import MLP, ClassEmbed
from jflows.ops.clustering import kmeans
from jflows.testing import check_flow
from tests.distributions.cases import CASES
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling them is all that they cost
CENTRES = np.array([[-5.0, 0.0], [5.0, 5.0], [0.0, -6.0]])


def clusters(sizes=(60, 30, 10)) -> np.ndarray:
    random = np.random.default_rng(0)
    deviations = (0.5, 1.0, 0.3)
    rows = [c + s * random.standard_normal((n, 2)) for c, s, n in zip(CENTRES, deviations, sizes, strict=True)]
    return np.concatenate(rows)


compiled_kmeans = jax.jit(kmeans, static_argnums=2, compiler_options=QUICK)


def test_kmeans_finds_separate_clusters():
    points = clusters()
    centres, cluster = compiled_kmeans(KEY, points, 3)
    order = [int(np.argmin(np.sum((centres - c) ** 2, axis=-1))) for c in CENTRES]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_array_equal(cluster, np.repeat(order, (60, 30, 10)))
    for number, start, stop in zip(order, (0, 60, 90), (60, 90, 100), strict=True):
        np.testing.assert_allclose(centres[number], points[start:stop].mean(axis=0), rtol=1e-10)


def test_kmeans_of_equal_points_is_finite():
    centres, cluster = compiled_kmeans(KEY, np.ones((100, 2)), 3)
    np.testing.assert_array_equal(np.unique(cluster), [0])
    np.testing.assert_array_equal(centres, np.ones((3, 2)))


def test_a_mixture_starts_at_the_clusters_of_the_first_batch():
    points = jnp.asarray(clusters())
    flow = jflows.Flow(b.Reverse(), NormalMixture((2,), 3), (2,))
    params = flow.init(KEY, points)["params"]["base"]
    order = [int(np.argmin(np.sum((params["means"] - c) ** 2, axis=-1))) for c in CENTRES[:, ::-1]]
    np.testing.assert_allclose(jax.nn.softmax(params["logits"])[np.array(order)], np.array([61, 31, 11]) / 103)
    pseudo = np.var(points[:, ::-1], axis=0) / 61
    expected = np.sqrt(np.var(points[:60, ::-1], axis=0) * 60 / 61 + pseudo)
    np.testing.assert_allclose(np.exp(params["log_stds"][order[0]]), expected, rtol=1e-10)
    few = flow.init(KEY, points[:2])["params"]["base"]
    assert not np.any(few["log_stds"])
    assert np.any(few["means"])


@pytest.mark.slow
def test_a_flow_on_a_resampled_base_is_consistent():
    base = ResampledNormal((2,), MLP((4,), "tanh"), 3, 16)
    check_flow(jflows.Flow(b.ActNorm(), base, (2,)), np.random.default_rng(0).normal(size=(8, 2)))


@pytest.mark.slow
def test_flows_on_other_learned_bases_are_consistent():
    x = np.random.default_rng(0).normal(size=(8, 2))
    check_flow(jflows.Flow(b.ActNorm(), NormalMixture((2,), 2), (2,)), x)
    check_flow(jflows.Flow(b.ActNorm(), FullNormal((2,)), (2,)), x)
    conditional = {"embed": ClassEmbed(3), "context_shape": ()}
    flow = jflows.Flow(b.ActNorm(), ClassConditionalNormal((2,)), (2,), **conditional)
    check_flow(flow, x, context=jnp.arange(8) % 3)


def test_rejection_samples_follow_the_density():
    (case,) = (case for case in CASES if case.name == "resampled_normal")
    base, variables = case.make((1,)), case.variables()
    z = np.linspace(-8, 8, 4001)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def measure(variables, z):
        samples = base.apply(variables, KEY, (4000,), method="sample")
        return samples[:, 0], jnp.exp(base.apply(variables, z[:, None], method="log_prob"))

    samples, density = map(np.asarray, measure(variables, z))
    cdf = np.cumsum(density) * (z[1] - z[0])
    distance = scipy.stats.kstest(samples, lambda value: np.interp(value, z, cdf)).statistic
    assert distance < 1.95 / np.sqrt(len(samples))  # the 0.1% point of Kolmogorov's law
    assert scipy.stats.kstest(samples, scipy.stats.norm.cdf).statistic > 0.1  # and it is not the proposal


def test_resampling_starts_at_the_proposal():
    base = ResampledNormal((2,), MLP((4,)), 5, 8)
    z = np.random.default_rng(0).normal(size=(7, 2))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def measure(z):
        log_prob, variables = base.init_with_output(KEY, z, method="log_prob")
        return log_prob, base.apply(variables, method="mean"), StandardNormal((2,)).apply({}, z, method="log_prob")

    log_prob, mean, wanted = measure(z)
    np.testing.assert_allclose(log_prob, wanted, rtol=1e-12)
    np.testing.assert_array_equal(mean, np.zeros(2))


def test_fresh_points_are_used_when_noise_is_given():
    (case,) = (case for case in CASES if case.name == "resampled_normal")
    base, variables, z = case.make((1,)), case.variables(), jnp.zeros((1, 1))
    assert base.needs_key

    @functools.partial(jax.jit, compiler_options=QUICK)
    def log_prob(key=None):
        rngs = {} if key is None else {"fresh": key}
        return base.apply(variables, z, method="log_prob", rngs=rngs)[0]

    stored, fresh = float(log_prob()), [float(log_prob(jax.random.key(seed))) for seed in (0, 0, 1)]
    assert fresh[0] == fresh[1] != fresh[2]
    np.testing.assert_allclose(fresh, stored, atol=0.2)
    assert stored not in fresh


def test_a_network_that_rejects_nearly_everything_stays_finite():
    base = ResampledNormal((1,), MLP((1,), "tanh"), 4, 8)
    z = jnp.zeros((1, 1), jnp.float32)
    shapes = jax.eval_shape(lambda: base.init(KEY, z, method="log_prob"))
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape).astype(np.float32), shapes)
    measure = jax.jit(jax.value_and_grad(lambda v: base.apply(v, z, method="log_prob")[0]))
    for bias in (-200.0, 200.0):
        variables["params"]["acceptance"]["output"]["bias"] = jnp.full(1, bias, jnp.float32)
        value, slope = measure(variables)
        np.testing.assert_allclose(value, -0.5 * np.log(2 * np.pi), rtol=1e-6)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_only_training_draws_fresh_points():
    flow = jflows.Flow(b.Identity(), ResampledNormal((1,), MLP((2,), "tanh"), 4, 16), (1,))
    variables = filled(jax.eval_shape(flow.init, KEY, jnp.zeros((2, 1))), 0)
    keys = jax.random.key(1), jax.random.key(2)
    x, density = flow.sample_and_log_prob(variables, keys[0], (3,))
    for key in (None, *keys):
        np.testing.assert_array_equal(flow.log_prob(variables, x, key=key), density)
    losses = [flow.apply_loss(variables, x, key=key)[0] for key in keys]
    assert flow.needs_key and not np.allclose(*losses, rtol=1e-6)

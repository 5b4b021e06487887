"""Tests of latents: statistics against SciPy, false alarms at 5 %, known faults found, any base, groups, flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jflows
from jflows import bijectors as b
from jflows.data import TableData, eval_batches
from jflows.distributions import ClassConditionalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import auroc
from jflows.eval.latent_tests import base_of_flow, groups_of, latent_null, latent_tests, latents_of
from jflows.eval.latent_tests.classifier import RIDGE, aurocs, make_rival
from jflows.eval.latent_tests.statistics import measured
from jflows.flows import UniformDequantize
from tests.presets import filled

NUM, DIM = 1000, 8


@pytest.fixture(scope="module")
def null():
    return latent_null(NUM, DIM, num_sets=119)


def draws(seed, num=NUM, dim=DIM):
    return np.random.default_rng(seed).standard_normal((num, dim))


def p_values(report):
    return {test.name: test.p_value for test in report.tests}


def test_statistics_are_those_of_scipy(null):
    z = draws(0) @ (np.eye(DIM) + 0.1) + 0.2
    found = measured(jnp.asarray(z), null.reference)
    mean, variance, skewness, kurtosis = np.asarray(found.moments)
    np.testing.assert_allclose(mean, z.mean(axis=0))
    np.testing.assert_allclose(np.exp(variance), z.var(axis=0))
    np.testing.assert_allclose(skewness, stats.skew(z))
    np.testing.assert_allclose(np.exp(kurtosis), stats.kurtosis(z, fisher=False))
    distances = lambda rows, law: [stats.kstest(row, law).statistic for row in rows]
    np.testing.assert_allclose(found.ks, distances(z.T, "norm"))
    along = z @ np.asarray(null.reference.directions)
    np.testing.assert_allclose(found.sliced_ks, np.mean(distances(along.T, "norm")))
    np.testing.assert_allclose(found.radius, distances([np.linalg.norm(z, axis=1)], stats.chi(DIM).cdf)[0])
    np.testing.assert_allclose(found.correlation, np.max(np.abs(np.corrcoef(z.T) - np.eye(DIM))))


def test_the_classifier_is_a_ridge_regression_tried_on_other_rows():
    z, base, group = draws(1, 75, 3) + 0.4, draws(2, 75, 3), np.repeat([4, -1, 9], [21, 10, 44])
    make = lambda values: make_rival(jax.random.key(0), jnp.asarray(values), np.zeros(3), np.ones(3), group)
    own, rival = np.asarray(make(z).features), make(base)
    other, expected = np.asarray(rival.features), []
    parts = [pair for halves in zip(rival.halves, rival.counts, strict=True) for pair in zip(*halves, strict=True)]
    for rows, counts in parts:  # of all, of group 4, of group 9
        halves = [part[count > 0] for part, count in zip(rows, np.asarray(counts), strict=True)]
        areas = []
        for fit, new in (halves, halves[::-1]):
            x, y = np.concatenate([own[fit], other[fit]]), np.repeat([1.0, -1.0], len(fit))
            penalty = np.sqrt(2 * RIDGE * len(fit)) * np.eye(x.shape[1], x.shape[1] + 1)  # the intercept has none
            rows_and_penalty = np.concatenate([np.pad(x, [(0, 0), (0, 1)], constant_values=1), penalty])
            weights = np.linalg.lstsq(rows_and_penalty, np.pad(y, (0, len(penalty))), rcond=None)[0][:-1]
            areas.append(auroc(own[new] @ weights, other[new] @ weights).value)
        expected.append(np.mean(areas))
    assert [int(np.sum(counts)) for _, counts in parts] == [75, 21, 44]
    np.testing.assert_allclose(jax.jit(aurocs)(jnp.asarray(z), rival), expected, rtol=1e-9)


def test_draws_of_the_base_are_called_unusual_as_often_as_stated(null):
    reports = [latent_tests(draws(1000 + seed), null) for seed in range(60)]
    alarms = np.array([[report.p_value, *p_values(report).values()] for report in reports]) <= 0.05
    most = stats.binom(60, 0.05).isf(1e-4)  # the sets from the base, which all seeds share, add some more spread
    assert (alarms.sum(axis=0) <= most + 4).all() and alarms[:, 0].sum() >= 1
    assert sum(bool(report.found()) for report in reports) <= most + 4


def skewed(z, random):
    z[:, 3] = (random.gamma(16.0, size=len(z)) - 16) / 4  # of skewness 2 / sqrt(16)


def correlated(z, random):
    z[:, 3] = 0.15 * z[:, 6] + np.sqrt(1 - 0.15**2) * z[:, 3]


def narrow(z, random):
    z *= 0.95


def two_modes(z, random):
    z[:, 3] = (z[:, 3] + 1.2 * random.choice([-1, 1], len(z))) / np.sqrt(1 + 1.2**2)


@pytest.mark.parametrize(
    ("fault", "tests"),
    [
        (skewed, ["skewness"]),
        (correlated, ["correlation"]),
        (narrow, ["variance", "sliced_ks", "radius"]),
        (two_modes, ["kurtosis"]),
    ],
)
def test_known_faults_are_found(null, fault, tests):
    z, random = draws(7), np.random.default_rng(8)
    fault(z, random)
    report = latent_tests(z.reshape(NUM, 2, 2, 2), null)
    found = p_values(report)
    assert report.p_value <= 0.05 and all(found[name] <= 0.05 for name in tests), found
    if fault in (skewed, two_modes):
        first = report.found()[0]
        assert (first.dimension, first.statistic) == (3, tests[0]) and abs(first.deviations) > 4
    if fault is correlated:
        assert report.pairs[0][:2] == (3, 6) and report.pairs[0].correlation == pytest.approx(0.15, abs=0.06)
        assert len(report.pairs) == 5 and not report.found()
    if fault is narrow:
        assert {each.statistic for each in report.found()} >= {"variance"}


@jax.jit
def heavy(key):
    """A base that is no product: heavy tails, another place and scale for each dimension, and correlations."""
    normal = jax.random.normal(key, (300, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]]) + 2
    return normal * jnp.sqrt(5 / jax.random.chisquare(jax.random.fold_in(key, 1), 5.0, shape=(300, 1)))


THIRDS = np.arange(300, dtype=np.int32) % 3


def test_any_base_serves_from_draws_alone():
    of_heavy = latent_null(300, 3, heavy, THIRDS + 10, num_sets=79)
    reports = [latent_tests(heavy(jax.random.key(seed)), of_heavy) for seed in range(20)]
    most = stats.binom(20, 0.05).isf(1e-4) + 1
    assert sum(report.p_value <= 0.05 for report in reports) <= most
    assert sum(any(each.q_value <= 0.05 for each in report.groups) for report in reports) <= most
    twin = np.asarray(heavy(jax.random.key(50)))
    report = latent_tests(twin[:, ::-1], of_heavy)  # its dimensions in the wrong order
    assert report.p_value == 1 / 80
    normal = twin.mean(axis=0) + draws(0, 300, 3) @ np.linalg.cholesky(np.cov(twin.T)).T  # right but for the tails
    assert p_values(latent_tests(normal, of_heavy))["radius"] <= 0.05
    # All rows together are draws of the base, but those of one group are large.
    order = np.argsort(twin[:, 0])
    places = np.argsort(np.argsort((THIRDS == 2) + draws(5, 1, 300)[0]))
    report = latent_tests(twin[order[places]], of_heavy)
    found = p_values(report)
    assert found["classifier"] > 0.05 >= found["classifier_per_group"] and report.p_value <= 0.05
    assert [each.group for each in report.groups] == [10, 11, 12]
    assert max(report.groups, key=lambda each: each.auroc).group == 12 and report.groups[2].q_value <= 0.05


def test_constant_dimensions_are_called_so(null):
    z = draws(9)
    z[:, 5] = 0.25
    report = latent_tests(z, null)
    assert report.p_value == 1 / 120 and report.found()[0].dimension == 5
    assert np.isfinite(report.deviations).all() and all(np.isfinite(test.value) for test in report.tests)


def test_latents_of_a_conditional_flow_are_tested_against_the_base_of_their_contexts():
    embed = jflows.nn.ClassEmbed(3)
    flow = jflows.Flow(b.ActNorm(), ClassConditionalNormal((3,)), (3,), embed=embed, context_shape=())
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), jax.device_put(draws(0, 300, 3)), THIRDS), 0)
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.8 * (1 + np.arange(leaf.size).reshape(leaf.shape)) for leaf in leaves]
    variables = jax.tree.unflatten(tree, moved)
    x = jax.jit(flow.sample, static_argnums=2)(variables, jax.random.key(1), (), THIRDS)
    data = TableData("drawn", np.asarray(x), label=THIRDS, num_classes=3)
    z = latents_of(flow, variables, eval_batches(data, 128, flow.reading), jax.random.key(2))
    np.testing.assert_allclose(z, jax.jit(flow.encode)(variables, data.x, THIRDS)[0], rtol=1e-5)
    draw, seen = base_of_flow(flow, variables, 300, THIRDS), []
    of_base = latent_null(300, 3, draw, THIRDS, num_sets=59, on_set=seen.append)
    assert seen == list(range(1, 60))
    assert latent_tests(z, of_base).p_value > 0.05
    assert latent_tests(z[::-1], of_base).p_value <= 0.05  # with the contexts of other rows


def test_contexts_of_numbers_are_cut_into_quarters_along_their_widest_direction():
    a = np.random.default_rng(0).permutation(100.0 * np.arange(40))
    group = groups_of(np.stack([a, 1 - a / 1e4, np.zeros(40)], axis=1).astype(np.float32))
    assert sorted({tuple(np.sort(a[group == number])[[0, -1]]) for number in range(4)}) == [
        (0, 900), (1000, 1900), (2000, 2900), (3000, 3900)]  # fmt: skip
    np.testing.assert_array_equal(groups_of(np.array([3, 1, -1])), [3, 1, -1])


def test_latents_of_integers_have_the_noise_of_dequantization():
    shape = (2, 2, 1)
    flow = jflows.Flow(b.Identity(event_ndims=3), StandardNormal(shape), shape, UniformDequantize(1))
    assert base_of_flow(flow, {}, 10) is None
    x = np.random.RandomState(0).randint(0, 2, (40, 2, 2, 1)).astype(np.uint8)
    data = jflows.data.ImageData("bits", x, num_bits=1)
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), x), 0)
    first, second = (
        latents_of(flow, variables, eval_batches(data, 16, flow.reading), jax.random.key(seed)) for seed in (0, 1)
    )
    assert first.shape == (40, 4) and len(np.unique(first[:, 0])) == 40 and (first != second).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda null: latent_tests(np.zeros((1, 8)), null), InvalidValueError,
         r"latent_tests: `latents` must be numbers \[num, \*latent_shape\] with at least 20 rows; got shape \(1, 8\)"),
        (lambda null: latent_tests(np.zeros(50), null), InvalidValueError, r"got shape \(50,\)"),
        (lambda null: latent_tests(np.zeros((50, 0)), null), InvalidValueError, r"got shape \(50, 0\)"),
        (lambda null: latent_tests(np.where(np.eye(30, 8) > 0, np.nan, 0), null), InvalidValueError,
         "`latents` must be finite; got NaN or infinite entries in 8 of 30 rows, the first of which is row 0. Leave"),
        (lambda null: latent_tests(np.zeros((NUM, 9)), null), InvalidValueError,
         "as large as the sets from the base, 1,000 rows of 8 entries; got 1,000 of 9"),
        (lambda null: latent_tests(draws(0), StandardNormal((8,))), InvalidTypeError,
         "`null` must be made by latent_null; got StandardNormal"),
        (lambda _: latent_null(40, 2, StandardNormal((2,))), InvalidTypeError,
         r"`draw` must be a function of a key .* got StandardNormal. That of a flow is `base_of_flow"),
        (lambda _: latent_null(40, 2, lambda key: np.zeros((40, 3))), InvalidValueError,
         r"`draw` must draw 40 latents of 2 entries; got shape \(40, 3\)"),
        (lambda _: latent_null(40, 2, lambda key: np.full((40, 2), np.inf)), InvalidValueError,
         "`draw` must draw finite latents of at most 1e.15 in size; got NaN or larger"),
        (lambda _: latent_null(19, 2), InvalidValueError, "`num` must be at least 20; got 19"),
        (lambda _: latent_null(40, 2, num_sets=9), InvalidValueError, "`num_sets` must be at least 19; got 9"),
        (lambda _: latent_null(40, 2, group=np.zeros(39, int)), InvalidValueError,
         r"`group` must be integers of shape \(40,\); got int64 of shape \(39,\)"),
        (lambda _: latent_null(40, 2, group=np.full(40, -1)), InvalidValueError, "must hold a number that is not neg"),
        (lambda _: latent_null(40, 2, group=np.arange(40) // 38), InvalidValueError,
         "must have at least 20 rows in each group; got 2 in group 1. Join groups"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_refused(null, call, error, message):
    with pytest.raises(error, match=message):
        call(null)

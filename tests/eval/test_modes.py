"""Modes of latents: the dip by linear programming, gains, what a t misses, known modes, false alarms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval.coherence import gaussian_gamma
from jflows.eval.modes import (
    dip,
    dip_p_values,
    fit_student_t,
    fit_two_normals,
    mixture_gain,
    modality,
    modality_figure,
    modality_null,
    predictive_divergence,
    student_gain,
)
from jflows.eval.modes.projections import chosen_directions, leading_axes

NUM, DIM = 300, 4


@pytest.fixture(scope="module")
def null():
    return modality_null(NUM, DIM, num_sets=39)


def draws(seed, num=NUM, dim=DIM):
    return np.random.default_rng(seed).standard_normal((num, dim))


def two(seed, separation, num=NUM, dim=DIM):
    """Two modes along one direction that is none of the axes, in latents of covariance 1."""
    z, label = draws(seed, num, dim), np.arange(num) % 2
    z[:, 0] = (z[:, 0] + separation * (label - 0.5)) / np.sqrt(1 + separation**2 / 4)
    turn = np.linalg.qr(draws(99, dim, dim))[0]
    return z @ turn, turn[0]


def dip_by_linear_programming(values):
    """The least d for which some function, convex before a mode and concave after it, is within d of the steps."""
    x, num, best = np.sort(values), len(values), 1.0
    for mode in range(num):  # it may jump there: its value before the jump is variable `num`, and d the last
        rows, rights = [], []

        def add(right, rows=rows, rights=rights, **parts):
            row = np.zeros(num + 2)
            for name, factor in parts.items():
                row[int(name[1:])] += factor
            rows.append(row)
            rights.append(right)

        names = [f"v{i}" for i in range(num + 2)]
        before, d = names[num], names[num + 1]
        left = lambda i, mode=mode, names=names, before=before: before if i == mode else names[i]
        for i in range(num):
            low_name, high_name = left(i), names[i]
            for name, height in {(low_name, i / num), (high_name, (i + 1) / num)}:
                add(height, **{name: 1.0, d: -1.0})
                add(-height, **{name: -1.0, d: -1.0})
        add(0.0, **{before: 1.0, names[mode]: -1.0})
        for i in range(num - 1):
            end = left(i + 1) if i < mode else names[i + 1]
            add(0.0, **{names[i]: 1.0, end: -1.0})
        for i in range(1, num - 1):
            if i == mode:
                continue
            end = left(i + 1) if i < mode else names[i + 1]
            first, second, sign = 1 / (x[i] - x[i - 1]), 1 / (x[i + 1] - x[i]), 1.0 if i < mode else -1.0
            add(0.0, **{names[i - 1]: -sign * first, names[i]: sign * (first + second), end: -sign * second})
        bounds = [(None, None)] * (num + 1) + [(0, None)]
        found = optimize.linprog(np.eye(num + 2)[-1], np.array(rows), rights, bounds=bounds, method="highs")
        best = min(best, found.fun)
    return best


def test_the_dip_is_the_least_distance_from_a_single_mode():
    random = np.random.default_rng(0)
    for trial in range(12):
        num = 5 + trial % 7
        x = random.standard_normal(num) + (0, 6)[trial % 2] * random.integers(0, 3, num)
        assert dip(x) == pytest.approx(dip_by_linear_programming(x), abs=1e-9)
        assert dip(-3 * x + 1) == pytest.approx(dip(x), abs=1e-9)  # turned round, scaled, shifted
    assert dip(np.arange(50.0)) == pytest.approx(1 / 100)  # evenly spaced: as flat as can be
    assert dip(np.zeros(50)) == pytest.approx(1 / 100) == dip(np.r_[np.zeros(25), 1e-300 * np.ones(25)]) / 25
    assert dip(np.repeat([0.0, 1.0], 40)) == pytest.approx(0.25)


def test_dips_are_ranked_among_those_of_uniform_samples():
    random = np.random.default_rng(1)
    of_uniform = [dip(random.random(100)) for _ in range(100)]
    p_values = dip_p_values(of_uniform, 100, num_sets=199)
    assert stats.kstest(p_values, "uniform").statistic < 0.2  # the null of 199 sets is shared
    assert (dip_p_values([dip(random.standard_normal(100)) for _ in range(50)], 100, num_sets=199) > 0.05).mean() > 0.96
    assert dip_p_values(0.2, 100, num_sets=199) == 1 / 200


def test_two_normals_are_fitted_by_the_largest_likelihood():
    random = np.random.default_rng(2)
    x = np.r_[random.normal(-2, 0.7, 900), random.normal(1.5, 1.2, 2100)]
    found = fit_two_normals(x[None])
    order = np.argsort(found.mean[0])
    np.testing.assert_allclose(found.share[0][order], [0.3, 0.7], atol=0.03)
    np.testing.assert_allclose(found.mean[0][order], [-2, 1.5], atol=0.12)
    np.testing.assert_allclose(found.deviation[0][order], [0.7, 1.2], atol=0.1)

    def nll(at):
        share = special.expit(at[0])
        each = share * stats.norm.pdf(x, at[1], np.exp(at[2])) + (1 - share) * stats.norm.pdf(x, at[3], np.exp(at[4]))
        return -np.log(each).mean()

    best = optimize.minimize(nll, (-0.8, -2.0, -0.3, 1.5, 0.2)).fun
    assert -float(found.log_prob(jnp.asarray(x)[None]).mean()) == pytest.approx(best, abs=2e-4)
    assert mixture_gain(random.permutation(x)) > 0.1 > 0.005 > mixture_gain(random.standard_normal(3000))


def test_a_fitted_t_does_not_see_two_modes_and_two_normals_do():
    random = np.random.default_rng(3)
    x = random.standard_normal(600) + 4 * random.integers(0, 2, 600)
    assert fit_student_t(x).degrees == pytest.approx(1000) and abs(student_gain(x)) < 0.01 < 0.1 < mixture_gain(x)
    t = 3 * random.standard_t(4, 2000) + 1
    degrees, location, scale = (float(each) for each in fit_student_t(t))
    assert degrees == pytest.approx(4, abs=1.2) and (location, scale) == pytest.approx((1, 3), abs=0.3)
    assert student_gain(t) > 0.03


def test_the_divergence_of_the_predictive_vanishes_whatever_the_modes():
    found = []
    for num in (20, 200, 2000):
        alike = [draws(num, num, 3), 6.0 + draws(num, num, 3) * [0.1, 1, 9] + 20 * (np.arange(num)[:, None] % 2)]
        posteriors = [gaussian_gamma((3,)).update(z) for z in alike]
        one, other = (predictive_divergence(posterior, num_draws=20_000) for posterior in posteriors)
        assert one.total == pytest.approx(other.total, rel=1e-6) and one.dims.shape == (3,)
        t, normal = posteriors[0].predictive, posteriors[0].map_normal
        v, half = t.degrees, 0.5 * (t.degrees + 1)
        entropy = half * (special.digamma(half) - special.digamma(v / 2))
        entropy += 0.5 * np.log(v) + special.betaln(v / 2, 0.5) + np.log(t.scale)
        cross = 0.5 * np.log(2 * np.pi / normal.precision) + 0.5 * normal.precision * t.scale**2 * v / (v - 2)
        assert abs(one.total - (cross - entropy).sum()) < 4 * one.standard_error < 0.6 * one.total
        np.testing.assert_allclose(one.standard_error, np.linalg.norm(one.dims_standard_error))
        found.append(one.total)
    np.testing.assert_allclose(np.divide(found[:-1], found[1:]), 100, rtol=0.25)  # as 1 / n^2


def test_draws_of_the_base_have_one_mode_as_often_as_stated(null):
    reports = [modality(draws(100 + seed), null) for seed in range(15)]
    alarms = np.array([[r.p_value, r.unimodal_p_value, *(test.p_value for test in r.tests)] for r in reports]) <= 0.05
    assert (alarms.sum(axis=0) <= stats.binom(15, 0.05).isf(1e-4) + 2).all() and alarms[:, 1].sum() <= 1


def test_known_modes_are_found_and_shown(null, tmp_path):
    z, direction = two(0, 5.0)
    report = modality(z.reshape(NUM, 2, 2), null)
    assert report.p_value == 1 / 40 and report.unimodal_p_value < 0.01
    best = report.projection
    assert best.family == "found" and abs(best.direction @ direction) > 0.97
    assert np.ptp(best.mean) / best.deviation.mean() == pytest.approx(5, abs=0.8) and best.gain > 0.2
    assert best.dip == pytest.approx(dip(z @ best.direction)) and best.share.sum() == pytest.approx(1)
    names = ["dip_random", "dip_principal", "dip_found", "gain_random", "gain_principal", "gain_found"]
    assert [test.name for test in report.tests] == names
    ordered = modality(z[np.argsort(z @ direction)], null)  # halves of rows are not modes
    assert ordered.p_value == 1 / 40 and ordered.projection.gain > 0.2
    modality_figure(z, report, "two").savefig(tmp_path / "m.png")
    assert (tmp_path / "m.png").stat().st_size > 10_000
    tails = modality(np.random.default_rng(1).standard_t(3, (NUM, DIM)), null)  # not normal, and of one mode
    assert tails.p_value <= 0.05 < tails.unimodal_p_value


def test_a_direction_that_is_given_shows_modes_that_many_dimensions_hide():
    (z, direction), seen = two(0, 5.0, 100, 40), []
    null = modality_null(100, 40, directions=3 * direction[:, None], num_sets=19, on_set=seen.append)
    assert seen == list(range(1, 20))
    without = null._replace(directions=np.zeros((40, 0)), statistics=null.statistics[:, :, :-1])
    assert modality(z, without).p_value > 0.05
    found = {test.name: test for test in modality(z, null).tests}
    assert len(found) == 8 and found["dip_given"].p_value == found["gain_given"].p_value == 0.05
    assert found["dip_given"].value == pytest.approx(dip(z @ direction))


def test_any_base_serves(null):
    heavy = lambda key: jax.random.t(key, 3.0, (NUM, DIM))
    of_heavy = modality_null(NUM, DIM, heavy, num_sets=19)
    z = np.asarray(heavy(jax.random.key(5)))
    assert modality(z, null).p_value <= 0.05 < modality(z, of_heavy).p_value
    assert modality(two(0, 5.0)[0], of_heavy).p_value <= 0.05


def test_leading_axes_of_many_dimensions_are_those_of_largest_variance():
    z = draws(0, 200, 130)
    z[:, 7] *= 6
    z[:, 11] *= 4
    axes = np.asarray(leading_axes(jax.random.key(0), jnp.asarray(z), 8))
    np.testing.assert_allclose(axes.T @ axes, np.eye(8), atol=1e-9)
    assert abs(axes[7, 0]) > 0.9 and abs(axes[11, 1]) > 0.85
    principal, found = chosen_directions(jax.random.key(0), jnp.asarray(z))
    assert principal.shape == (130, 8) and found.shape == (130, 16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([principal, found], axis=1), axis=0), 1)
    flat = np.where(np.arange(5) == 2, 0.0, draws(1, 60, 5))  # one dimension is constant
    assert all(np.isfinite(part).all() for part in chosen_directions(jax.random.key(0), jnp.asarray(flat)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda _: dip([1.0, 2.0, 3.0]), InvalidValueError, r"dip: `values` must be at least 4 finite numbers \[num\]"),
        (lambda _: dip(np.array([1.0, np.nan, 3.0, 4.0])), InvalidValueError, r"got shape \(4,\)"),
        (lambda _: mixture_gain(np.zeros(10)), InvalidValueError, "mixture_gain: `values` must be at least 20 finite"),
        (lambda _: fit_student_t(np.ones(30)), InvalidValueError, "must be at least 20 finite .*, not all equal"),
        (lambda _: student_gain(np.ones((30, 2))), InvalidValueError, r"student_gain: .* got shape \(30, 2\)"),
        (lambda _: predictive_divergence("t"), InvalidTypeError, "`posterior` must be a GaussianGamma; got str. Call"),
        (lambda _: predictive_divergence(gaussian_gamma((2,))), InvalidValueError, "must have a shape above 1/2"),
        (lambda null: modality(draws(0)[:39], null), InvalidValueError,
         "`latents` must be as large as the sets from the base, 300 rows of 4 entries; got 39 of 4"),
        (lambda null: modality(np.where(np.eye(60, 4) > 0, np.nan, 0), null), InvalidValueError, "must be finite; got"),
        (lambda _: modality(draws(0), "null"), InvalidTypeError, "`null` must be made by modality_null; got str"),
        (lambda _: modality_null(39, 2), InvalidValueError, "`num` must be at least 40; got 39"),
        (lambda _: modality_null(40, 2, "draw"), InvalidTypeError, "`draw` must be a function of a key .*; got str"),
        (lambda _: modality_null(40, 2, lambda key: np.zeros((40, 3))), InvalidValueError,
         r"modality_null: `draw` must draw 40 latents of 2 entries; got shape \(40, 3\)"),
        (lambda _: modality_null(40, 2, directions=np.ones((3, 1))), InvalidValueError,
         r"`directions` must be finite numbers \[\*latent_shape, k\] of 2 entries each; got shape \(3, 1\)"),
        (lambda _: modality_null(40, 2, directions=np.eye(2, 3)), InvalidValueError, "must not be 0; got column 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_refused(null, call, error, message):
    with pytest.raises(error, match=message):
        call(null)

"""Conjugate normals of latents: batches against all rows at once, SciPy, classes, high dimension, refused input."""

import numpy as np
import pytest
from scipy import stats

from jflows.errors import InvalidValueError
from jflows.eval.coherence import gaussian_gamma


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_batches_give_the_posterior_of_all_rows_at_once():
    z, label = 1e3 + 3 * draws(0, 200, 2, 3), np.random.default_rng(1).integers(-1, 3, 200)
    whole = gaussian_gamma((2, 3), 3).update(z, label)
    parts = gaussian_gamma((2, 3), 3)
    for rows in (slice(0, 1), slice(1, 7), slice(7, 7), slice(7, 150), slice(150, 200)):
        parts = parts.update(z[rows], label[rows])
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10)
    alone = gaussian_gamma((2, 3)).update(z[label == 2])
    np.testing.assert_allclose(alone.rate, whole.rate[2], rtol=1e-12)


def test_posterior_and_mode_are_those_of_the_formulas():
    z, start = draws(2, 40, 5) * 2 + 1, gaussian_gamma((5,), mean=0.5, strength=2.0, shape=3.0, rate=4.0)
    posterior = start.update(z)
    np.testing.assert_allclose(posterior.mean, (2 * 0.5 + z.sum(axis=0)) / 42)
    np.testing.assert_allclose(posterior.shape, 3 + 20.0)
    # b = b0 + (sum z^2 + l0 mu0^2 - l' mu'^2) / 2, another form of the same.
    np.testing.assert_allclose(posterior.rate, 4 + 0.5 * ((z**2).sum(axis=0) + 2 * 0.25 - 42 * posterior.mean**2))
    mean, precision = posterior.map_normal
    log_joint = lambda mu, tau: (
        stats.norm.logpdf(mu, posterior.mean, (42 * tau) ** -0.5)
        + stats.gamma.logpdf(tau, posterior.shape, scale=1 / posterior.rate)
    )
    best = log_joint(mean, precision)
    for change in (0.99, 1.01):
        assert (log_joint(mean, precision * change) < best).all()
        assert (log_joint(mean * change, precision) < best).all()


def test_densities_are_those_of_scipy_and_the_predictive_integrates_mean_and_precision():
    z, label = draws(3, 60, 2, 2), np.arange(60) % 2
    posterior = gaussian_gamma((2, 2), 2).update(z, label)
    new = draws(4, 7, 2, 2)
    normal, student = posterior.map_normal, posterior.predictive
    of_normal = [stats.norm.logpdf(new, normal.mean[c], normal.deviation[c]).sum(axis=(1, 2)) for c in range(2)]
    np.testing.assert_allclose(normal.log_prob(new), np.stack(of_normal, axis=1))
    of_student = [stats.t.logpdf(new, *(part[c] for part in student)).sum(axis=(1, 2)) for c in range(2)]
    np.testing.assert_allclose(student.log_prob(new), np.stack(of_student, axis=1))
    one = gaussian_gamma((1,)).update(z[:5, 0, :1])
    tau = stats.gamma.rvs(one.shape, scale=1 / one.rate, size=200_000, random_state=0)
    mu = stats.norm.rvs(one.mean, (one.strength * tau) ** -0.5, random_state=1)
    likelihood = stats.norm.pdf(0.7, mu, tau**-0.5)
    error = likelihood.std() / len(tau) ** 0.5
    assert np.exp(one.predictive.log_prob([[0.7]]))[0] == pytest.approx(likelihood.mean(), abs=4 * error)


def test_log_densities_of_many_dimensions_keep_their_digits():
    z = draws(5, 20, 49152).astype(np.float32)
    normal = gaussian_gamma((49152,)).update(z).map_normal
    exact = [sum(stats.norm.logpdf(row.astype(np.float64), normal.mean, normal.deviation).tolist()) for row in z[:2]]
    found = normal.log_prob(z)
    assert found.dtype == np.float64 and abs(found[0]) > 1e4
    np.testing.assert_allclose(found[:2], exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_gamma((2,)).update([[0.0, np.nan]]),
         "GaussianGamma.update: `batch` must be finite; got NaN or infinite entries in row 0. Leave such rows out"),
        (lambda: gaussian_gamma((2,)).update(np.zeros((3, 4))), r"must be numbers of shape \[num, 2\]; got float64 of"),
        (lambda: gaussian_gamma((2,)).update(np.zeros((3, 2)), [0, 0, 0]), "`label` must be None for the posterior of"),
        (lambda: gaussian_gamma((2,), 2).update(np.zeros((3, 2)), [0, 1, 2]), "of shape .3,. below 2; got int"),
        (lambda: gaussian_gamma((2,), 2).update(np.zeros((3, 2)), [0, 1]), r"got int64 of shape \(2,\)"),
        (lambda: gaussian_gamma((2,), 2).update(np.zeros((3, 2)), [0, 0, 0]).map_normal,
         "must have a shape above 1/2 in each class, for a mode; got 0.001. Update it with a row of each class"),
        (lambda: gaussian_gamma((2,)).update(np.zeros((3, 2))).map_normal.log_prob(np.zeros((3, 3))),
         "MapNormal.log_prob: `latents` must be numbers of shape"),
        (lambda: gaussian_gamma((2,), 0), "`num_classes` must be at least 1; got 0"),
        (lambda: gaussian_gamma((2,), rate=0.0), "`rate` must be positive; got 0.0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call()

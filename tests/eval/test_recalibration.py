"""Bases fitted to embedded data: the right one is found, its density is explicit, and a good base is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jflows
from jflows.distributions import LocationScale, NormalMixture
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import fit_base, recalibrate
from jflows.eval.coherence import base_of
from jflows.eval.recalibration import KINDS, UNCHANGED
from jflows.flows import with_base, with_latent_flow
from tests.presets import filled

DIM, NUM = 3, 4000
RANDOM = np.random.RandomState(0)


@functools.cache
def flow():
    own = jflows.realnvp((DIM,), num_layers=2, hidden_sizes=(4,), standardize=False)
    return own, filled(jax.eval_shape(own.init, jax.random.key(0), np.ones((64, DIM))), 0)


def log_prob_of_base(flow, variables, z):
    return base_of(flow, variables).log_prob(z, None)


def drawn(kind):
    """Latents that follow one kind of base, and their classes."""
    noise, label = RANDOM.standard_normal((NUM, DIM)), RANDOM.randint(0, 2, NUM)
    found = {
        "scale": 1.3 * noise,
        "diagonal": np.array([0.5, 1.0, 2.0]) * noise + np.array([1.0, 0.0, -1.0]),
        "student_t": RANDOM.standard_t(3, (NUM, DIM)),
        "full": noise @ np.array([[1.0, 0.8, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 1.0]]),
        "classes": 0.3 * noise + np.where(label, 1.0, -1.0)[:, None],
    }
    return found[kind], label


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_base_that_latents_follow_is_found(kind):
    z, label = drawn(kind)
    half = NUM // 2
    found = recalibrate(*flow(), z[:half], z[half:], label=label[:half])
    assert found.kind == kind
    assert set(found.gains) == set(KINDS)
    gain = log_prob_of_base(found.flow, found.variables, z[half:]) - log_prob_of_base(*flow(), z[half:])
    assert gain.mean() == pytest.approx(found.gains[kind].nats, rel=1e-5)


def test_a_right_base_is_kept():
    for seed in range(5):
        z = np.random.RandomState(seed).standard_normal((400, DIM))
        found = recalibrate(*flow(), z[:200], z[200:])
        assert found.kind == UNCHANGED and found.flow == flow()[0]
        assert "classes" not in found.gains


def test_fitted_bases_have_the_density_of_their_formulas():
    z, label = drawn("student_t")
    at = jnp.asarray(z[:50], jnp.float32)
    diagonal = log_prob_of_base(*with_base(*flow(), *fit_base(*flow(), z, "diagonal")), at)
    np.testing.assert_allclose(
        diagonal, scipy.stats.norm.logpdf(at, z.mean(axis=0), z.std(axis=0, ddof=1)).sum(axis=1), rtol=1e-5
    )
    base, params = fit_base(*flow(), z, "student_t")
    assert isinstance(base, LocationScale)
    np.testing.assert_allclose(np.exp(params["base"]["log_df"]), 3.0)  # the grid of degrees has 2.5, 3, 5, ...
    own = [scipy.stats.t.fit(column, fdf=3.0) for column in z.T]
    np.testing.assert_allclose(np.exp(params["log_std"]), [scale for _, _, scale in own], rtol=2e-3)
    np.testing.assert_allclose(params["mean"], [place for _, place, _ in own], atol=2e-3)
    mixture, params = fit_base(*flow(), z, "classes", label)
    assert isinstance(mixture, NormalMixture)
    np.testing.assert_allclose(params["means"], [z[label == own].mean(axis=0) for own in (0, 1)], rtol=1e-5)


def test_the_density_stays_explicit_and_samples_follow_it():
    z, _ = drawn("diagonal")
    new, variables = with_base(*flow(), *fit_base(*flow(), z, "diagonal"))
    x = np.random.default_rng(2).normal(size=(16, DIM))
    z_of_x, log_det = flow()[0].encode(flow()[1], x)
    expected = log_prob_of_base(new, variables, z_of_x) + log_det
    np.testing.assert_allclose(new.log_prob(variables, x), expected, rtol=1e-5)
    drawn_x, log_prob = new.sample_and_log_prob(variables, jax.random.key(3), (500,))
    np.testing.assert_allclose(new.log_prob(variables, drawn_x), log_prob, rtol=1e-4, atol=1e-4)
    latent = new.sample_latent(variables, jax.random.key(3), (4000,))
    np.testing.assert_allclose(np.std(latent, axis=0), z.std(axis=0), rtol=0.06)


def test_a_flow_of_latents_becomes_part_of_the_flow():
    outer, variables = flow()
    inner = jflows.maf((DIM,), num_layers=2, hidden_sizes=(4,))
    inner_variables = filled(jax.eval_shape(inner.init, jax.random.key(4), np.ones((64, DIM))), 0)
    joined, own = with_latent_flow(outer, variables, inner, inner_variables)
    x = np.random.default_rng(6).normal(size=(16, DIM))

    @jax.jit
    def run(own, variables, inner_variables, x):
        z, log_det = outer.encode(variables, x)
        expected = inner.log_prob(inner_variables, z) + log_det
        return joined.log_prob(own, x), expected, joined.decode(own, joined.encode(own, x)[0])[0]

    log_prob, expected, back = run(own, variables, inner_variables, x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(back, x, atol=1e-4)
    assert jax.tree.structure(own) == jax.tree.structure(jax.eval_shape(joined.init, jax.random.key(0), x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(latents=np.zeros((10, DIM))), DataError, "`latents` must have at least 20 rows; got 10"),
        (dict(latents=np.zeros((30, 2))), InvalidValueError, r"`latents` must be numbers of the shape \[num, 3\]"),
        (
            dict(held_out=np.full((30, DIM), np.nan)),
            DataError,
            "`held_out` must be finite; got NaN or infinite entries in 30",
        ),
        (dict(kinds=["diagonal"], latents=np.zeros((30, DIM))), DataError, "must vary in each dimension"),
        (dict(kinds=["normal"]), InvalidValueError, "`kind` must be one of 'scale', 'diagonal'"),
        (dict(kinds=["classes"]), InvalidValueError, "`label` must be given for kind='classes'"),
        (dict(kinds=["classes"], label=np.zeros(30, int)), DataError, "must have two classes or more"),
        (
            dict(kinds=["classes"], label=np.zeros(3, int)),
            InvalidValueError,
            r"`label` must be integers from 0 of shape",
        ),
    ],
)
def test_wrong_input(change, error, message):
    good = dict(latents=RANDOM.standard_normal((30, DIM)), held_out=RANDOM.standard_normal((30, DIM)))
    with pytest.raises(error, match=message):
        recalibrate(*flow(), **(good | change))


def test_wrong_flows():
    own, variables = flow()
    with pytest.raises(InvalidTypeError, match="with_base: `flow` must be a Flow"):
        with_base("flow", variables, own.base, {})
    with pytest.raises(InvalidValueError, match=r"`latent_flow` must be one of events of shape \(3,\)"):
        with_latent_flow(own, variables, jflows.flows.normal((2,)), {})
    conditional = jflows.maf((DIM,), num_layers=1, hidden_sizes=(4,), context_dim=2)
    with pytest.raises(InvalidValueError, match="must be of floats without a context; got a flow with a context"):
        with_latent_flow(own, variables, conditional, {})
    with pytest.raises(InvalidValueError, match="recalibrate: `flow` must have no context"):
        recalibrate(conditional, {}, np.zeros((30, DIM)), np.zeros((30, DIM)))


def test_a_student_t_that_is_fitted_has_a_finite_deviation():
    """Of tails without a variance too: otherwise nothing could be told in deviations of the base."""
    z = np.random.default_rng(0).standard_cauchy((200, DIM))
    base, params = fit_base(*flow(), z, "student_t")
    assert np.isfinite(base.apply({"params": params}, method="deviation")).all()

"""BlackJAX's samplers with a flow: each finds a normal target, whatever the flow, and tells what cannot be sampled."""

import importlib
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("blackjax")

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError
from jflows.interop.blackjax import independence_metropolis, nuts, pulled_back, smc
from jflows.testing.common import perturb
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
MEAN, STD = np.array([1.0, 0.0]), np.array([0.5, 1.2])
LOG_Z = 3 + math.log(2 * math.pi * 0.6)
FLOW = jflows.Flow(b.Elementwise(b.Affine()), d.StandardNormal((2,)), (2,), context_shape=(1,))
VARIABLES = perturb(FLOW.init(KEY, context=jnp.ones((4, 1))), 1, 0.1, jnp.float64)
NORMAL, SHARP, FLAT, EXPLOSIVE, NOWHERE = (jnp.array([kind]) for kind in (0.0, 1.0, 2.0, 3.0, 4.0))
CHAINS = dict(num_chains=3, num_draws=200)
FEW = {nuts: CHAINS | dict(num_warmup=60), independence_metropolis: CHAINS, smc: dict(num_runs=3, num_particles=300)}


def target(x):
    return 3 - 0.5 * jnp.sum(((x - MEAN) / STD) ** 2, axis=-1)


def density(x, kind):
    """The kind is a context, so that one program serves all tests."""
    square = jnp.sum(x**2, axis=-1)
    return jnp.select([kind[:, 0] == i for i in range(4)], [target(x), 50 * target(x), 0 * square, square], jnp.nan)


def run(sampler, kind, **options):
    return sampler(density, FLOW, VARIABLES, KEY, context=kind, **FEW[sampler] | options)


def test_a_density_is_pulled_back():
    flow = jflows.Flow(b.Chain((b.Elementwise(b.Affine()), b.Exp())), d.StandardNormal((2,)), (2,), context_shape=(1,))
    variables = filled(jax.eval_shape(flow.init, KEY, context=jnp.ones((3, 1))), 0)
    context = np.array([0.7])
    pulled = jax.jit(pulled_back(lambda x, c: flow.log_prob(variables, x, c), flow, variables, context))
    z = jax.device_put(np.random.default_rng(0).normal(size=(3, 4, 2)))
    normal = -0.5 * jnp.sum(z**2, axis=-1) - math.log(2 * math.pi)
    np.testing.assert_allclose(pulled(z), normal, rtol=1e-9)  # the flow is the density: it becomes the base
    assert pulled(z[0, 0]).shape == ()


@pytest.mark.parametrize("sampler", [nuts, independence_metropolis], ids=lambda sampler: sampler.__name__)
def test_chains_find_the_target(sampler):
    chains, draws = run(sampler, NORMAL), CHAINS["num_draws"]
    assert chains.x.shape == (3, draws, 2)
    assert chains.acceptance.shape == chains.divergences.shape == (3,)
    assert np.all((chains.acceptance > 0.2) & (chains.acceptance < 1)) and not np.any(chains.divergences)
    assert np.all(chains.rhat < 1.05) and np.all((chains.ess > 60) & (chains.ess < 6 * draws))
    error = 4 / np.sqrt(chains.ess)
    assert np.all(abs(chains.x.mean((0, 1)) - MEAN) < error * STD)
    assert np.all(abs(chains.x.std((0, 1)) / STD - 1) < error)


def test_particles_find_the_target_and_its_integral():
    particles = run(smc, NORMAL)
    assert particles.x.shape == (3, 300, 2)
    assert np.all(abs(particles.log_normalizer - LOG_Z) < 0.3)
    assert np.all(abs(particles.x.mean((0, 1)) - MEAN) < 0.15) and np.all(abs(particles.x.std((0, 1)) / STD - 1) < 0.1)
    assert np.all((particles.num_stages >= 1) & (particles.num_stages < 9)) and np.all(particles.acceptance > 0.5)


@pytest.mark.slow
def test_a_flow_that_is_the_target_takes_one_stage():
    score = lambda x, context: FLOW.log_prob(VARIABLES, x, context)
    exact = smc(score, FLOW, VARIABLES, KEY, num_runs=2, num_particles=50, context=NORMAL)
    np.testing.assert_array_equal(exact.num_stages, 1)
    np.testing.assert_allclose(exact.log_normalizer, 0, atol=1e-9)


@pytest.mark.slow
def test_a_target_with_a_hard_edge_is_kept_to():
    """Half of the flow's samples have no density; at temperature 0, they must give no NaN."""
    edge = lambda x, kind: jnp.where(x[:, 0] > MEAN[0], target(x), -jnp.inf)
    particles = smc(edge, FLOW, VARIABLES, KEY, num_runs=2, num_particles=200, context=NORMAL)
    assert np.all(particles.x[..., 0] > MEAN[0])
    assert np.all(abs(particles.log_normalizer - (LOG_Z - math.log(2))) < 0.5)


@pytest.mark.parametrize("sampler", FEW, ids=lambda sampler: sampler.__name__)
def test_a_density_that_is_finite_nowhere_is_told(sampler):
    rule = f"{sampler.__name__}: `log_density` must be finite at some samples of the flow; got 192 samples at which it"
    with pytest.raises(InvalidValueError, match=rule):
        run(sampler, NOWHERE)


def test_a_density_without_an_integral_is_told_where_it_shows():
    rule = "nuts: `log_density` must have a finite integral; got chains that go to .* in the latent space. Check its"
    with pytest.raises(InvalidValueError, match=rule):
        run(nuts, FLAT)
    with pytest.warns(UserWarning, match=r"smc: runs find log Z from .* to .*\. Take more particles, train the flow"):
        run(smc, EXPLOSIVE)
    rule = r"smc: `log_density` must be reached after max_stages=1 temperatures; got a run at temperature 0\..*\. Train"
    with pytest.raises(InvalidValueError, match=rule):
        run(smc, SHARP, max_stages=1)


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidTypeError, match="pulled_back: `log_density` must be a function of x"):
        pulled_back(3, FLOW, VARIABLES)
    with pytest.raises(InvalidTypeError, match="nuts: `flow` must be a Flow; got Elementwise"):
        nuts(target, FLOW.bijector, VARIABLES, KEY)
    with pytest.raises(InvalidTypeError, match="nuts: `key` must be a typed key; got int"):
        nuts(target, FLOW, VARIABLES, 0)
    with pytest.raises(InvalidValueError, match="nuts: `num_chains` must be at least 2; got 1"):
        nuts(target, FLOW, VARIABLES, KEY, num_chains=1)
    with pytest.raises(InvalidValueError, match="smc: `flow` must have an exact density; got one that dequantizes"):
        smc(target, jflows.glow((4, 4, 1), 1, 1, 4), {}, KEY)
    box = jflows.Flow(b.Identity(), d.Uniform((2,)), (2,))
    with pytest.raises(
        InvalidValueError, match="nuts: `flow` must have a base over all real numbers; got Uniform over"
    ):
        nuts(target, box, {}, KEY)
    rule = r"nuts: `log_density` must return one float per event, shape \(128,\), .*; got shape \(128, 2\)"
    with pytest.raises(InvalidValueError, match=rule):
        nuts(lambda x, kind: x, FLOW, VARIABLES, KEY, num_chains=2, context=NORMAL)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)  # makes `import blackjax` fail
    for name in ("jflows.interop.blackjax", "jflows.interop.blackjax.target"):
        monkeypatch.delitem(sys.modules, name)
    rule = r"jflows.interop.blackjax: `blackjax` must be installed; got .* Run `pip install 'jflows-flax\[blackjax\]'`."
    with pytest.raises(ImportError, match=rule) as caught:
        importlib.import_module("jflows.interop.blackjax")
    assert isinstance(caught.value, JflowsError)

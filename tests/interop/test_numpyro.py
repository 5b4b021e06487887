"""Flows in NumPyro: as distributions and priors, as guides that SVI trains, and as NeuTra's reparameterisation."""

import functools
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

numpyro = pytest.importorskip("numpyro")

from numpyro import distributions as dist
from numpyro import handlers
from numpyro.distributions.transforms import biject_to
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.reparam import NeuTraReparam
from numpyro.infer.util import potential_energy

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError
from jflows.interop.numpyro import AutoFlow, FlowDistribution, FlowTransform
from jflows.nn import MLP, LipschitzMLP
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default


def coupling(event_shape=(2,), base=None) -> jflows.Flow:
    parts = (b.Coupling(MLP((4,), "tanh"), b.Affine()), b.RandomPermutation(), b.Elementwise(b.Affine()))
    return jflows.Flow(b.Chain(parts), base or d.StandardNormal(event_shape), event_shape)


def normal(*after: b.Bijector, **options) -> jflows.Flow:
    """What most tests need no more than, as it compiles fast."""
    bijector = b.Chain((b.Elementwise(b.Affine()), *after)) if after else b.Elementwise(b.Affine())
    return jflows.Flow(bijector, d.StandardNormal((2,)), (2,), **options)


def box() -> jflows.Flow:
    return jflows.Flow(b.Identity(), d.Uniform((2,)), (2,))


def variables_of(flow: jflows.Flow, context=None) -> dict:
    return filled(jax.eval_shape(flow.init, KEY, context=context), 0)


def test_a_flow_is_a_distribution():
    flow = normal()
    variables = variables_of(flow)
    density = FlowDistribution(flow, variables, validate_args=True)
    assert (density.batch_shape, density.event_shape, density.has_rsample) == ((), (2,), True)
    assert density.support == dist.constraints.real_vector
    x = density.rsample(jax.random.PRNGKey(1), (3, 4))  # a raw key, as NumPyro's own may be
    assert x.shape == (3, 4, 2)
    np.testing.assert_allclose(density.log_prob(x), flow.log_prob(variables, x), rtol=1e-12)
    learned = lambda params: FlowDistribution(flow, {**variables, "params": params}).rsample(KEY).sum()
    slope = jax.grad(learned)(variables["params"])
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(slope))
    np.testing.assert_allclose(jax.jit(lambda density, x: density.log_prob(x))(density, x), density.log_prob(x))
    many = density.expand((5,)).to_event(1)
    assert many.log_prob(many.sample(KEY, (3,))).shape == (3,)


def test_contexts_are_the_batch():
    flow = normal(context_shape=(3,))
    context = jax.device_put(np.random.default_rng(0).normal(size=(4, 3)))
    variables = variables_of(flow, context)
    density = FlowDistribution(flow, variables, context)
    assert density.batch_shape == (4,)
    x = density.sample(KEY, (6,))
    assert x.shape == (6, 4, 2)
    np.testing.assert_allclose(density.log_prob(x)[:, 2], flow.log_prob(variables, x[:, 2], context[2]), rtol=1e-12)
    transform = FlowTransform(flow, variables, context)
    assert transform.forward_shape((2,)) == transform.inverse_shape((1, 2)) == (4, 2)


@pytest.mark.parametrize("make", [lambda: normal(b.Sigmoid()), box], ids=["bijector", "base"])
def test_a_restricted_flow_states_its_support_and_the_way_there(make):
    flow = make()
    variables = variables_of(flow)
    density = FlowDistribution(flow, variables, validate_args=True)
    support = density.support
    assert support(np.array([[0.5, 0.2], [0.5, 1.2]])).tolist() == [True, False]
    assert support(support.feasible_like(jnp.zeros((3, 2)))).all()
    z = np.array([0.3, -2.0])
    transform = biject_to(support)
    x = transform(z)
    np.testing.assert_allclose(transform.inv(x), z, rtol=1e-9)
    wanted = np.linalg.slogdet(jax.jacrev(transform)(z))[1]
    np.testing.assert_allclose(transform.log_abs_det_jacobian(z, x), wanted, rtol=1e-9)
    with pytest.warns(UserWarning, match="Out-of-support"):
        density.log_prob(np.array([0.5, 1.2]))

    def model():
        numpyro.sample("x", density)

    energy = potential_energy(model, (), {}, {"x": z})
    np.testing.assert_allclose(energy, -density.log_prob(x) - wanted, rtol=1e-9)


def test_a_simplex_has_the_density_of_a_dirichlet():
    flow = jflows.Flow(b.StickBreaking(), d.StandardNormal((2,)), (3,))
    transform = FlowTransform(flow, flow.init(KEY))
    assert transform.forward_shape((5, 2)) == (5, 3) and transform.inverse_shape((5, 3)) == (5, 2)
    posterior = dist.TransformedDistribution(dist.Normal(jnp.zeros(2), 1.0).to_event(1), transform)
    x = posterior.sample(KEY, (4,))
    np.testing.assert_allclose(x.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(posterior.log_prob(x), flow.log_prob(transform.variables, x), rtol=1e-9)


def test_the_log_det_comes_with_the_map(monkeypatch):
    flow = normal()
    transform = FlowTransform(flow, variables_of(flow))
    z = np.array([[0.3, -2.0]])
    x, log_det = transform.call_with_intermediates(z)
    np.testing.assert_allclose(log_det, flow.decode(transform.variables, z)[1], rtol=1e-12)
    fresh = transform.log_abs_det_jacobian(z, x)
    kept, decode = transform(z), type(flow).decode
    monkeypatch.setattr(type(flow), "decode", None)  # neither needs another pass
    np.testing.assert_array_equal(transform.log_abs_det_jacobian(z, x, log_det), log_det)
    np.testing.assert_array_equal(transform.log_abs_det_jacobian(z, kept), fresh)
    monkeypatch.setattr(type(flow), "decode", decode)
    with jax.checking_leaks():
        jax.jit(lambda z: transform.log_abs_det_jacobian(z, transform(z)))(z)
    np.testing.assert_allclose(transform.log_abs_det_jacobian(2 * z, kept), flow.decode(transform.variables, 2 * z)[1])


def model(y=None):
    """A posterior that is not normal: a scale above 0, and a mean that depends on it."""
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    mean = numpyro.sample("mean", dist.Normal(0.0, scale))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


@pytest.fixture(scope="module")
def trained():
    guide = AutoFlow(model, coupling)
    svi = SVI(model, guide, numpyro.optim.Adam(3e-2), Trace_ELBO(num_particles=16))
    return guide, svi.run(jax.random.key(1), 150, jnp.array(2.0), progress_bar=False)


def test_svi_trains_a_guide(trained):
    guide, result = trained
    # log p(y = 2) by quadrature over the scale, as the mean can be integrated out: y ~ N(0, scale^2 + 1).
    log_scale = np.linspace(-4, 4, 2001)
    variance = np.exp(2 * log_scale) + 1
    parts = -0.5 * (log_scale / 0.5) ** 2 - np.log(0.5) - 2.0 / variance - 0.5 * np.log(variance) - np.log(2 * np.pi)
    evidence = np.log(np.sum(np.exp(parts)) * (log_scale[1] - log_scale[0]))
    bound = -np.mean(result.losses[-20:])
    assert evidence - 0.1 < bound < evidence + 0.05
    assert set(result.params) == {"auto_flow"}  # constants, such as the permutation, are no parameters
    assert set(guide._initial) == {"params", "constants"}
    drawn = guide.sample_posterior(jax.random.key(2), result.params, sample_shape=(7,))
    assert {name: value.shape for name, value in drawn.items()} == {"scale": (7,), "mean": (7,)}
    y = Predictive(model, guide=guide, params=result.params, num_samples=5)(jax.random.key(3))["y"]
    assert y.shape == (5,)


def test_neutra_runs_nuts_in_the_latent_space(trained):
    guide, result = trained
    neutra = NeuTraReparam(guide, result.params)
    z = np.array([0.4, -0.3])
    energy = potential_energy(neutra.reparam(model), (jnp.array(2.0),), {}, {"auto_shared_latent": z})
    values = neutra.transform_sample(z)
    log_joint = handlers.substitute(model, values)
    trace = handlers.trace(log_joint).get_trace(jnp.array(2.0))
    log_det = guide.get_transform(result.params).log_abs_det_jacobian(z, None) + jnp.log(values["scale"])
    wanted = sum(site["fn"].log_prob(site["value"]) for site in trace.values()) + log_det
    np.testing.assert_allclose(energy, -wanted, rtol=1e-9)


@pytest.mark.slow
def test_nuts_finds_the_posterior_by_neutra(trained):
    guide, result = trained
    neutra = NeuTraReparam(guide, result.params)
    chains = MCMC(NUTS(neutra.reparam(model)), num_warmup=200, num_samples=1000, progress_bar=False)
    chains.run(jax.random.key(4), jnp.array(2.0))
    z = chains.get_samples()["auto_shared_latent"]
    scale = neutra.transform_sample(z)["scale"]
    grid = np.linspace(-4, 4, 2001)
    variance = np.exp(2 * grid) + 1
    weights = np.exp(-0.5 * (grid / 0.5) ** 2 - 2.0 / variance - 0.5 * np.log(variance))
    wanted = np.sum(weights * grid) / np.sum(weights)
    assert abs(float(jnp.log(scale).mean()) - wanted) < 0.06


def test_a_jitted_svi_leaves_no_tracer_behind():
    guide = AutoFlow(model, coupling)
    svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
    state = jax.jit(svi.init)(jax.random.key(0), jnp.array(2.0))
    assert jnp.isfinite(svi.evaluate(state, jnp.array(2.0)))


def test_models_and_flows_that_cannot_serve_are_refused():
    def discrete():
        which = numpyro.sample("which", dist.Bernoulli(0.5))
        numpyro.sample("x", dist.Normal(which, 1.0))

    def observed():
        numpyro.sample("x", dist.Normal(0.0, 1.0), obs=0.5)

    start = lambda model, make_flow: handlers.seed(AutoFlow(model, make_flow), rng_seed=0)()
    posterior = functools.partial(model, 2.0)
    rule = "AutoFlow: `model` must have continuous latent sites; got which. Sum over discrete sites inside the model"
    with pytest.raises(InvalidValueError, match=rule):
        start(discrete, coupling)
    with pytest.raises(InvalidValueError, match="AutoFlow: `model` must have a latent site; got a model without any"):
        start(observed, coupling)
    rule = r"AutoFlow: `make_flow` must return a flow of event shape \(2,\), the number of .*; got one of \(3,\). Use"
    with pytest.raises(InvalidValueError, match=rule):
        start(posterior, lambda shape: coupling((3,)))
    rule = "AutoFlow: `make_flow` must return a flow over a StandardNormal; got one over DiagonalNormal. Put learned"
    with pytest.raises(InvalidValueError, match=rule):
        start(posterior, functools.partial(coupling, base=d.DiagonalNormal((2,))))
    with pytest.raises(InvalidTypeError, match="AutoFlow: `flow` must be a Flow; got int"):
        start(posterior, lambda shape: 3)
    with pytest.raises(InvalidValueError, match="FlowDistribution: `flow` must not dequantize; got UniformDequantize"):
        FlowDistribution(jflows.glow((4, 4, 1), 1, 1, 4), {})
    keyed = jflows.Flow(b.Residual(LipschitzMLP((4,)), "roulette"), d.StandardNormal((2,)), (2,))
    with pytest.raises(InvalidValueError, match="FlowTransform: `flow` must have an exact log-det; got an estimated"):
        FlowTransform(keyed, {})


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro", None)  # makes `import numpyro` fail
    monkeypatch.delitem(sys.modules, "jflows.interop.numpyro")
    rule = r"jflows.interop.numpyro: `numpyro` must be installed; got .* Run `pip install 'jflows-flax\[numpyro\]'`."
    with pytest.raises(ImportError, match=rule) as caught:
        importlib.import_module("jflows.interop.numpyro")
    assert isinstance(caught.value, JflowsError)

"""Flows whose log-det is estimated: their keys, their messages, their training; and flow matching."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jflows import bijectors as b
from jflows import nn as networks
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval.latent import interpolate, reconstruct
from jflows.flows import Flow, UniformDequantize, flow_matching_loss, mixture_of_flows
from jflows.testing import check_flow
from jflows.testing.common import perturb
from jflows.train.losses import FlowMatching, NegativeLogLikelihood
from jflows.train.step import init_state, make_train_step
from jflows.typing import Batch
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")
# Arrays are tiny here: nearly all of the time would go into optimising the machine code.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def residual_flow(estimator="roulette") -> Flow:
    bijector = b.Chain((b.Residual(networks.LipschitzMLP((8,), coefficient=0.7), estimator), b.ActNorm()))
    return Flow(bijector, StandardNormal((3,)), (3,))


@functools.cache
def prepared():
    flow = residual_flow()
    x = 1 + 2 * np.random.default_rng(0).normal(size=(8, 3))
    return flow, filled(jax.eval_shape(flow.init, KEY, x), 0), x


def test_methods_are_consistent_for_one_key():
    check_flow(residual_flow(), np.random.default_rng(0).normal(size=(8, 3)))


def test_a_key_is_asked_for():
    flow, variables, x = prepared()
    assert flow.needs_key and not residual_flow("exact").needs_key
    message = r"Flow: `key` must be given, as the log-det is estimated. Pass key=jax.random.key\(seed\)."
    for call in (flow.log_prob, flow.encode, flow.decode, flow.bits_per_dim, flow.activations):
        with pytest.raises(InvalidValueError, match=message):
            call(variables, x)


def test_the_importance_weighted_bound_is_refused():
    flow, variables, x = prepared()
    with pytest.raises(InvalidValueError, match="`num_draws` must be 1, as the log-det is estimated; got 4. Use an ex"):
        flow.bits_per_dim(variables, x, key=KEY, num_draws=4)


@pytest.mark.slow
def test_of_many_keys_the_first_is_taken():
    flow, variables, x = prepared()
    keys = jax.random.split(KEY, 8)
    log_prob = fast_jit(flow.log_prob)
    together = log_prob(variables, x, key=keys)
    np.testing.assert_array_equal(together, log_prob(variables, x, key=keys[0]))
    assert np.all(together != log_prob(variables, x, key=keys[1]))


def test_the_mean_over_keys_is_the_exact_log_prob():
    flow, variables, x = prepared()
    draws = fast_jit(jax.vmap(lambda key: flow.log_prob(variables, x, key=key)))(jax.random.split(KEY, 2048))
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    wanted = fast_jit(residual_flow("exact").log_prob)(variables, x)
    assert np.max(error) < 0.02
    np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - wanted), 4 * error)


@pytest.mark.slow
def test_latents_need_no_key():
    bijector = b.Residual(networks.LipschitzMLP((4,)), "roulette", event_ndims=3)
    flow = Flow(bijector, StandardNormal((2, 2, 1)), (2, 2, 1), UniformDequantize(3))
    x = jnp.arange(12).reshape(3, 2, 2, 1) % 8
    variables = perturb(flow.init(KEY, x), 0, 1.0)
    np.testing.assert_array_equal(fast_jit(interpolate, static_argnums=(0, 4))(flow, variables, x, x[::-1], 3)[:, 0], x)
    rebuilt, error = fast_jit(reconstruct, static_argnums=0)(flow, variables, x)
    np.testing.assert_allclose(rebuilt, x, atol=1e-10)
    assert np.max(error) < 1e-10


def test_round_trips_and_samples_of_integers_need_no_key():
    """The key of an estimated log-det that is dropped must not add noise to integers."""
    residual = b.Residual(networks.LipschitzMLP((2,), coefficient=0.5), "roulette", event_ndims=3)
    flow = Flow(residual, StandardNormal((2, 2, 1)), (2, 2, 1), UniformDequantize(3))
    x = jnp.arange(12).reshape(3, 2, 2, 1) % 8
    part = Flow(b.ActNorm(3), StandardNormal((2, 2, 1)), (2, 2, 1))
    for density in (flow, mixture_of_flows((part, part), None, trunk=flow)):
        variables = filled(jax.eval_shape(density.init, KEY, x), 0)
        assert fast_jit(density.reconstruction_error)(variables, x) < 1e-10
        assert fast_jit(density.sample, static_argnums=2)(variables, KEY, (3,)).shape == x.shape


@pytest.mark.slow
def test_trains():
    flow, variables, x = prepared()
    optimizer = optax.adam(3e-3)
    step = fast_jit(make_train_step(flow, optimizer, NegativeLogLikelihood()))
    state = init_state(variables, optimizer, jax.random.key(1))
    losses = []
    for visit in range(60):
        index = jnp.arange(8 * visit, 8 * visit + 8, dtype=jnp.uint32)
        state, metrics = step(state, Batch(x, None, jnp.ones(8), index))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2


class BestField(linen.Module):
    """(1 + a) times the field that carries N(0, 1) to N(0, 4) by straight lines: v = E[x - z | x_t]."""

    @linen.compact
    def __call__(self, t, x, context=None):
        excess = self.param("excess", linen.initializers.zeros, (), x.dtype)
        t = t[..., None]
        return (1 + excess) * x * (4 * t - (1 - t)) / (4 * t**2 + (1 - t) ** 2)


def matching_flow():
    return Flow(b.Continuous(BestField()), StandardNormal((1,)), (1,))


def test_flow_matching_is_least_at_the_true_field():
    flow, x = matching_flow(), 2 * np.random.default_rng(0).normal(size=(20_000, 1))

    def slope(excess):
        variables = {"params": {"bijector": {"network": {"excess": jnp.asarray(excess)}}}}
        tangent = lambda e: flow_matching_loss(
            flow, {"params": {"bijector": {"network": {"excess": e}}}}, x, jax.random.key(1)
        )
        return np.asarray(jax.jvp(tangent, (variables["params"]["bijector"]["network"]["excess"],), (jnp.ones(()),))[1])

    at_best = slope(0.0)
    assert at_best.shape == (20_000,)
    error = np.std(at_best) / np.sqrt(len(at_best))
    assert error < 0.1 and abs(np.mean(at_best)) < 4 * error
    assert np.mean(slope(0.2)) > 0.3 > -0.3 > np.mean(slope(-0.2))


@pytest.mark.slow
def test_flow_matching_takes_a_key_per_example():
    flow, x, keys = matching_flow(), jnp.arange(3.0)[:, None], jax.random.split(jax.random.key(0), 3)
    variables = {"params": {"bijector": {"network": {"excess": jnp.zeros(())}}}}
    loss_of = fast_jit(functools.partial(flow_matching_loss, flow))
    together = loss_of(variables, x, keys)
    alone = [loss_of(variables, x[i], keys[i]) for i in range(3)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-12)
    batch = Batch(x, None, jnp.ones(3), jnp.arange(3, dtype=jnp.uint32))
    loss, updates = FlowMatching()(flow, variables, batch, jax.random.key(0))
    assert loss.shape == (3,) and np.all(loss >= 0) and updates == {}


def test_flow_matching_is_for_continuous_flows():
    flow, variables, x = prepared()
    with pytest.raises(InvalidTypeError, match="flow_matching_loss: `flow` must have a Continuous bijector; got Chain"):
        flow_matching_loss(flow, variables, x, KEY)

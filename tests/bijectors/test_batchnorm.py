"""Batch normalisation in training, where it is not the map that the property suite sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows import Flow
from jflows.testing import integrate_density

KEY = jax.random.key(0)
INVERSE = "inverse_and_log_det"


def batch(seed: int, num: int = 64, dim: int = 3):
    return 3 + 2 * np.random.default_rng(seed).normal(size=(num, dim))


def test_training_takes_the_statistics_of_the_batch_and_keeps_running_ones():
    x, first = batch(1), batch(0)
    layer = b.BatchNorm(momentum=0.8)
    variables = layer.init(KEY, first, method=INVERSE)
    (z, log_det), updates = layer.apply(variables, x, method=INVERSE, mutable=["batch_stats"])
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(log_det, -0.5 * np.log(x.var(0) + 1e-5).sum() * np.ones(64), rtol=1e-12)
    stats = updates["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.8 * first.mean(0) + 0.2 * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats["variance"], 0.8 * first.var(0) + 0.2 * x.var(0), rtol=1e-12)


def test_evaluation_uses_running_statistics_and_inverts():
    layer = b.BatchNorm()
    variables = layer.init(KEY, batch(0), method=INVERSE)
    z, _ = layer.apply(variables, batch(1)[:1], method=INVERSE)
    back, _ = layer.apply(variables, z, method="forward_and_log_det")
    np.testing.assert_allclose(back, batch(1)[:1], rtol=1e-12)


def test_apply_loss_updates_and_log_prob_does_not():
    flow = Flow(b.Chain((b.Coupling(nn.MLP((4,)), b.Affine()), b.BatchNorm())), StandardNormal((3,)), (3,))
    variables = flow.init(KEY, batch(0))
    trained, updates = flow.apply_loss(variables, batch(1))
    assert set(updates) == {"batch_stats"}
    score = jax.jit(flow.log_prob)
    assert not np.allclose(trained, score(variables, batch(1)))
    np.testing.assert_allclose(score(variables, batch(1)[:5]), score(variables, batch(1))[:5])


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_statistics_are_those_of_all_devices(how):
    x, layer = batch(1), b.BatchNorm(axis_name="data")
    variables = layer.init(KEY, batch(0), method=INVERSE)

    def step(x):
        return layer.apply(variables, x, method=INVERSE, mutable=["batch_stats"])

    if how == "pmap":
        (z, _), updates = jax.pmap(step, axis_name="data", devices=jax.devices()[:2])(x.reshape(2, 32, 3))
        stats = jax.tree.map(lambda leaf: leaf[0], updates["batch_stats"])
    else:
        mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
        specs = dict(mesh=mesh, in_specs=P("data"), out_specs=((P("data"), P("data")), P()), check_vma=False)
        (z, _), updates = jax.jit(jax.shard_map(step, **specs))(x)
        stats = updates["batch_stats"]
    one = b.BatchNorm()
    (wanted, _), wanted_updates = one.apply(variables, x, method=INVERSE, mutable=["batch_stats"])
    np.testing.assert_allclose(z.reshape(64, 3), wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(stats["variance"], wanted_updates["batch_stats"]["variance"], rtol=1e-12)


def test_scanned_steps_keep_their_own_statistics():
    flow = Flow(b.Repeat(b.Chain((b.Coupling(nn.MLP((4,)), b.Affine()), b.BatchNorm())), 2), StandardNormal((3,)), (3,))
    variables = flow.init(KEY, batch(0))
    _, updates = flow.apply_loss(variables, batch(1))
    means = updates["batch_stats"]["bijector"]["layers"]["layers_1"]["mean"]
    assert means.shape == (2, 3) and not np.allclose(means[0], means[1])


def images(seed: int):
    return 2 + 3 * np.random.default_rng(seed).normal(size=(6, 4, 4, 2))


def normalised_network():
    return nn.ResidualConvNet(4, 1, "gelu", norm="batch")


def test_networks_normalise_by_the_batch_in_training_and_by_running_averages_otherwise():
    network, x = normalised_network(), images(1)
    variables = network.init(KEY, images(0), 3)
    assert set(variables["batch_stats"]) == {"block_0_in_norm", "block_0_out_norm", "conv_out_norm"}
    full = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"])  # its last layer starts at zero
    apply = functools.partial(network.apply, {**variables, "params": full}, num_features=3)
    score, train = jax.jit(apply), jax.jit(functools.partial(apply, mutable=["batch_stats"]))
    trained, updates = train(x)
    one_by_one = np.concatenate([score(row[None]) for row in x])
    np.testing.assert_allclose(score(x), one_by_one, rtol=1e-9, atol=1e-12)
    assert not np.allclose(trained, score(x))
    assert not np.allclose(trained[:3], train(x[:3])[0])
    h = nn.WeightNormConv(4).apply({"params": full["conv_in"]}, x)
    old, new = (c["batch_stats"]["block_0_in_norm"] for c in (variables, updates))
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * h.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(new["variance"], 0.9 * old["variance"] + 0.1 * h.var((0, 1, 2)), rtol=1e-9)


def normalised_coupling():
    return b.Coupling(normalised_network(), b.Affine(), event_ndims=3)


def test_steps_with_such_networks_cannot_be_replayed():
    with pytest.raises(InvalidValueError, match="must be replayable for backprop='invertible'; got Coupling. Use back"):
        b.Repeat(normalised_coupling(), 2, "invertible")


@pytest.mark.slow
def test_steps_with_such_networks_are_rematerialised():
    found, programs = [], []
    for mode in ("standard", "remat"):
        layer = b.Repeat(b.Chain((b.BatchNorm(3), normalised_coupling())), 2, mode)
        variables = layer.init(KEY, images(0))
        full = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"])

        def loss(params, layer=layer, variables=variables):
            (z, log_det), updates = layer.apply({**variables, "params": params}, images(1), mutable=["batch_stats"])
            return jnp.sum(z**2) - jnp.sum(log_det), updates

        grad = jax.grad(loss, has_aux=True)
        programs.append(str(jax.make_jaxpr(grad)(full)))
        found.append(jax.jit(grad)(full))
    for a, c in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-8, atol=1e-10)
    assert ["remat" in program or "checkpoint" in program for program in programs] == [False, True]


def test_refused_where_a_step_must_be_replayed():
    with pytest.raises(InvalidValueError, match="Repeat: `layer` must be replayable for backprop='invertible'; got Ch"):
        b.Repeat(b.Chain((b.Reverse(), b.BatchNorm())), 2, "invertible")


def test_density_integrates_to_one():
    flow = Flow(b.Chain((b.Elementwise(b.Affine("exp")), b.BatchNorm())), StandardNormal((1,)), (1,))
    variables = flow.init(KEY, batch(0, dim=1))
    np.testing.assert_allclose(integrate_density(flow, variables, bound=30.0), 1, rtol=1e-6)


def test_bad_settings():
    with pytest.raises(InvalidValueError, match=r"BatchNorm: `momentum` must lie in \[0, 1\); got 1.0"):
        b.BatchNorm(momentum=1.0)
    with pytest.raises(InvalidValueError, match="BatchNorm: `epsilon` must be positive; got 0"):
        b.BatchNorm(epsilon=0)

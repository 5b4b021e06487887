"""The loss of mixtures: its formula, schedule and phases; and a run that tells clusters apart by few labels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import TableData, hide_labels
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import cluster_scores, component_use, fit_gaussian_mixture
from jflows.flows import Flow, mixture_of_flows, with_mixture_base
from jflows.nn import MLP
from jflows.runs import RunDirectory
from jflows.train import FunctionLoss, MixtureLoss, TrainConfig, fit, init_state, make_train_step
from jflows.typing import Batch
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LABELS = np.array([0, -1, 2, -1, 1])


def normal() -> Flow:
    return Flow(b.ActNorm(), StandardNormal((2,)), (2,))


def batch(labels=LABELS) -> Batch:
    x = np.random.default_rng(0).normal(size=(5, 2))
    return Batch(x, labels, jnp.ones(5, jnp.float32), jnp.arange(5, dtype=jnp.uint32))


@functools.cache
def mixture_and_variables():
    mixture = mixture_of_flows(normal(), MLP((4,)), 3)
    return mixture, filled(jax.eval_shape(mixture.init, KEY, batch().x), 0)


@functools.partial(QUICK, static_argnames="loss")
def _losses(loss: MixtureLoss, variables, batch: Batch, step):
    return loss(mixture_and_variables()[0], variables, batch, KEY, step)[0]


def losses(loss: MixtureLoss, labels=LABELS, step=0):
    return np.asarray(_losses(loss, mixture_and_variables()[1], batch(labels), step))


def parts():
    mixture, variables = mixture_and_variables()
    x = batch().x
    return mixture.log_joint(variables, x), mixture.log_q(variables, x), mixture.elbo(variables, x)


def test_without_labels_it_is_the_negative_bound():
    mixture, variables = mixture_and_variables()
    np.testing.assert_allclose(losses(MixtureLoss(), None), -parts()[2], rtol=1e-10)
    hot = mixture.elbo(variables, batch().x, temperature=1 + 3 * np.exp(-0.5))
    np.testing.assert_allclose(losses(MixtureLoss(4.0, 100.0), None, step=50), -hot, rtol=1e-10)


def test_rows_with_a_label_have_the_joint_density_and_cross_entropy():
    log_joint, log_q, elbo = parts()
    found = losses(MixtureLoss(supervised=0.5))
    np.testing.assert_allclose(found[[1, 3]], -elbo[np.array([1, 3])], rtol=1e-10)
    for row, label in ((0, 0), (2, 2), (4, 1)):
        np.testing.assert_allclose(found[row], -log_joint[row, label] - 0.5 * log_q[row, label], rtol=1e-10)


def test_labels_out_of_range_are_nan():
    found = losses(MixtureLoss(), np.array([0, 3, -2, -1, 2]))
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False, False])


def test_steps_decide_which_rows_count():
    loss = MixtureLoss(pretrain_steps=10, interleave_every=5)
    labelled = np.asarray(LABELS) >= 0
    for step, mask in ((0, labelled), (9, labelled), (10, labelled), (15, ~labelled), (19, ~labelled), (20, labelled)):
        np.testing.assert_array_equal(loss.select(batch(), step).weight, mask)
    np.testing.assert_array_equal(MixtureLoss(pretrain_steps=10).select(batch(), 10).weight, 1)
    assert loss.select(batch(None), 0) is not None


def test_the_mean_is_over_the_rows_that_count():
    mixture, variables = mixture_and_variables()
    optimizer, everything = optax.sgd(0.0), losses(MixtureLoss())
    step = QUICK(make_train_step(mixture, optimizer, MixtureLoss(pretrain_steps=1, interleave_every=1)))
    state = init_state(variables, optimizer, KEY)
    labelled = np.asarray(LABELS) >= 0
    for rows in (labelled, labelled, ~labelled):
        state, metrics = step(state, batch())
        np.testing.assert_allclose(metrics["loss"], everything[rows].mean(), rtol=1e-6)
    _, metrics = step(state, batch(jnp.full(5, -1)))  # a turn of labelled rows, and there are none
    assert metrics["loss"] == 0 and metrics["skipped"] == 0


@pytest.mark.slow
def test_consistency_is_a_divergence_between_neighbours():
    plain, near, far = (
        losses(MixtureLoss(consistency=c, consistency_noise=s)) for c, s in ((0.0, 1.0), (2.0, 1e-6), (2.0, 0.5))
    )
    np.testing.assert_allclose(near, plain, atol=1e-9)
    assert np.all(far > plain)
    double = losses(MixtureLoss(consistency=4.0, consistency_noise=0.5))
    np.testing.assert_allclose(double - plain, 2 * (far - plain), rtol=1e-8)
    gmm = with_mixture_base(normal(), 3)
    variables = gmm.init(KEY, batch().x)
    loss = MixtureLoss(consistency=1.0, consistency_noise=0.5, supervised=0.0)
    found = loss(gmm, variables, batch(None), KEY, 0)[0]
    assert np.all(found > -gmm.log_prob(variables, batch().x))


def test_the_step_reaches_a_loss_that_asks_for_it():
    def stepwise(flow, variables, batch, key, step):
        return -flow.log_prob(variables, batch.x) * 0 + step, {}

    flow, x = normal(), batch().x
    state = init_state(flow.init(KEY, x), optax.sgd(0.1), KEY)
    step = QUICK(make_train_step(flow, optax.sgd(0.1), FunctionLoss(stepwise)))
    for wanted in (0.0, 1.0):
        state, metrics = step(state, batch(None))
        assert metrics["loss"] == wanted


CONFIG = dict(steps=60, batch_size=32, log_every=60, checkpoint_every=60, init_batch=200, warmup_steps=1, ema_decay=0.5)
CONFIG |= dict(learning_rate=2e-2, eval_batch_size=50, parallel="none")


def half_rings() -> TableData:
    """Two halves of a ring: one cluster by distance, two by label."""
    random = np.random.default_rng(0)
    label = np.arange(200) % 2
    angle = np.pi * (label + random.uniform(0.05, 0.95, 200))
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * random.standard_normal((200, 2))
    return TableData("half_rings", x, label)


@pytest.mark.slow
def test_a_run_with_few_labels_is_enough_to_predict(tmp_path):
    rows = half_rings()
    data = hide_labels(rows, 8, share=0.5)
    mixture = mixture_of_flows(jflows.realnvp((2,), 2, (8,), norm="actnorm"), MLP((8,)), 2)
    config = TrainConfig(**CONFIG)
    run = RunDirectory.create(tmp_path / "run", mixture, dataclasses.asdict(config))
    loss = MixtureLoss(temperature=2.0, temperature_decay=20.0, pretrain_steps=20)
    result = fit(mixture, data, config, validation=data, run=run, loss=loss)
    assert result.history[-1]["skipped"] == 0
    assert np.isfinite(result.history[-1]["validation_nll"])
    loaded, variables = jflows.load(tmp_path / "run")
    assert loaded == mixture
    q = QUICK(loaded.responsibilities)(variables, jax.device_put(rows.x))
    assert cluster_scores(rows.label, np.argmax(q, axis=1)).accuracy > 0.9
    np.testing.assert_array_equal(cluster_scores(rows.label, np.argmax(q, axis=1)).matching, [0, 1])
    assert component_use(q).unused == ()


def test_a_run_starts_from_the_clusters_of_a_gaussian_mixture():
    """EM's clusters initialise the components; `fit` goes on from there, and leaves what it was given as it is."""
    rows = half_rings()
    rows = rows.take(np.arange(200), x=rows.x + 6 * rows.label[:, None])
    mixture = mixture_of_flows(normal(), MLP((4,)), 2)
    found = fit_gaussian_mixture(rows.x, 2, num_starts=1)
    variables = mixture.init(KEY, rows.x, assignment=found.clusters)
    config = TrainConfig(**CONFIG | dict(steps=2, log_every=2, checkpoint_every=2, learning_rate=1e-6))
    result = fit(mixture, rows, config, variables=variables)
    for got, wanted in zip(jax.tree.leaves(result.variables), jax.tree.leaves(variables), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    clusters = np.argmax(QUICK(mixture.log_joint)(result.variables, rows.x), axis=1)
    np.testing.assert_array_equal(clusters, found.clusters)
    assert result.history[-1]["loss"] > -np.mean(mixture.log_prob(variables, rows.x))  # the ELBO
    with pytest.raises(InvalidValueError, match="`variables` must have the names and shapes that flow.init"):
        fit(mixture, rows, config, variables=variables["params"])


def test_clusters_are_found_without_labels():
    random = np.random.default_rng(0)
    label = np.arange(200) % 3
    centres = np.array([[-6.0, 0.0], [6.0, 6.0], [0.0, -6.0]])
    data = TableData("blobs", centres[label] + random.standard_normal((200, 2)), label)
    mixture = mixture_of_flows(normal(), MLP((8,)), 3, start="kmeans")
    result = fit(mixture, data, TrainConfig(**CONFIG))
    predicted = QUICK(mixture.predict)(result.variables, jax.device_put(data.x))
    assert cluster_scores(label, predicted).accuracy > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(temperature=0.5), "`temperature` must be at least 1; got 0.5"),
        (dict(temperature_decay=0), "`temperature_decay` must be positive; got 0"),
        (dict(consistency_noise=0), "`consistency_noise` must be positive; got 0"),
        (dict(supervised=-1), "`supervised` must be at least 0; got -1"),
        (dict(consistency=-1), "`consistency` must be at least 0; got -1"),
        (dict(pretrain_steps=-1), "`pretrain_steps` must be at least 0; got -1"),
        (dict(interleave_every=-1), "`interleave_every` must be at least 0; got -1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InvalidValueError, match=f"MixtureLoss: {message}"):
        MixtureLoss(**settings)


def test_bad_use():
    mixture, variables = mixture_and_variables()
    rule = "`pretrain_steps, interleave_every` need labels; got a batch without labels. Train on partly labelled data"
    with pytest.raises(InvalidValueError, match=rule):
        MixtureLoss(pretrain_steps=1)(mixture, variables, batch(None), KEY, 0)
    with pytest.raises(InvalidTypeError, match="MixtureLoss: `flow` must be a MixtureOfFlows; got Flow"):
        fit(normal(), half_rings(), TrainConfig(**CONFIG), loss=MixtureLoss())
    labels = np.array([0, 1, 2, 3])
    some = TableData("x", np.zeros((4, 2)) + np.arange(4)[:, None], labels, partly_labelled=True)
    with pytest.raises(DataError, match=r"fit: `data` must have labels in 0\.\.2 for this density; got labels 0\.\.3"):
        fit(mixture, some, TrainConfig(**CONFIG))

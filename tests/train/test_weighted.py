"""Training and scores by whole-number weights equal those of repeated rows, on any devices; their scale is free."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.bijectors import ActNorm, Affine, BatchNorm, Chain, Coupling
from jflows.data import NoData, TableData, TrainBatches, eval_batches
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidValueError
from jflows.eval import cluster_scores, component_use, evaluate, gaussian_baseline, mixture_report
from jflows.nn import MLP
from jflows.train import MixtureLoss, NegativeLogLikelihood, Runner, TrainConfig, fit, init_state, make_train_step
from jflows.train.sharding import PARALLEL_MODES

RANDOM = np.random.RandomState(1)
WEIGHT = np.array([3, 1, 2, 4, 1, 1, 2, 2, 5, 1, 1, 1, 3, 2, 2, 1])  # 16 rows worth 32
X = RANDOM.randn(16, 2) * [1, 3] + [0, 2]
LABEL = np.arange(16) % 2
REPEATED = np.repeat(np.arange(16), WEIGHT)
WEIGHTED = TableData("weighted", X, LABEL, weight=WEIGHT)
PLAIN = TableData("plain", X[REPEATED], LABEL[REPEATED])
FLOW = jflows.realnvp((2,), num_layers=2, hidden_sizes=(4,))
CONFIG = TrainConfig(steps=3, batch_size=16, learning_rate=0.05, parallel="none", init_batch=32)


@pytest.fixture(scope="module")
def variables():
    return FLOW.init(jax.random.key(0), WEIGHTED.x, None, WEIGHTED.statistics())


def one_step(data, variables, size, parallel="none", accumulate=1):
    """The loss and the parameters after one step of plain SGD on a batch of all rows."""
    make_step = functools.partial(make_train_step, FLOW, optax.sgd(0.1), NegativeLogLikelihood(), accumulate=accumulate)
    runner = Runner(make_step, parallel, size, steps_per_call=1)
    state = init_state(jax.tree.map(jnp.array, variables), optax.sgd(0.1), jax.random.key(1))
    state, metrics = runner.run(runner.put_state(state), TrainBatches(data, size, 0, FLOW.reading).at(0))
    return float(metrics["loss"][0]), runner.get_state(state).params


def assert_equal(found, wanted, rtol=1e-6):
    for obtained, expected in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(obtained, expected, rtol=rtol, atol=rtol)


@pytest.fixture(scope="module")
def of_repeated_rows(variables):
    return one_step(PLAIN, variables, 32)


@pytest.mark.parametrize(("parallel", "accumulate"), [*((mode, 1) for mode in PARALLEL_MODES), ("jit", 2), ("none", 4)])
@pytest.mark.by_default("none-1", "shard_map-1", "jit-2")
def test_the_full_batch_gradient_is_that_of_repeated_rows(parallel, accumulate, variables, of_repeated_rows):
    assert_equal(one_step(WEIGHTED, variables, 16, parallel, accumulate), of_repeated_rows)


def test_the_loss_of_batches_of_one_row_has_the_mean_of_the_weighted_loss(variables, of_repeated_rows):
    step = jax.jit(make_train_step(FLOW, optax.sgd(0.0), NegativeLogLikelihood()))
    state = init_state(variables, optax.sgd(0.0), jax.random.key(1))
    batches = TrainBatches(WEIGHTED, 1, 0, FLOW.reading).at(0, 16)
    losses = [step(state, jax.tree.map(lambda leaf, i=i: leaf[i], batches))[1]["loss"] for i in range(16)]
    np.testing.assert_allclose(np.mean(losses), of_repeated_rows[0], rtol=1e-6)


def test_fit_and_its_validation_do_not_depend_on_the_scale_and_equal_repeated_rows():
    config = dataclasses.replace(CONFIG, steps=1, eval_every=1)
    results = [
        fit(FLOW, data, dataclasses.replace(config, batch_size=len(data)), validation=data)
        for data in (PLAIN, WEIGHTED, dataclasses.replace(WEIGHTED, weight=WEIGHT * 1000.0))
    ]
    assert_equal(results[1].state.params, results[0].state.params)
    assert_equal(results[2].state.params, results[1].state.params, rtol=1e-12)
    for name in ("loss", "grad_norm", "validation_nll"):
        np.testing.assert_allclose([r.history[-1][name] for r in results], results[0].history[-1][name], rtol=1e-6)


def test_data_dependent_initialisation_sees_rows_by_weight():
    flow = jflows.Flow(Chain((Coupling(MLP((4,)), Affine()), ActNorm())), StandardNormal((2,)), (2,))
    config = dataclasses.replace(CONFIG, steps=1, learning_rate=1e-12)
    found, wanted = (fit(flow, data, config).variables["params"] for data in (WEIGHTED, PLAIN))
    assert_equal(found["bijector"]["layers_1"], wanted["bijector"]["layers_1"])


def test_scores_are_those_of_repeated_rows(variables):
    score = lambda data, size=5: evaluate(FLOW, variables, eval_batches(data, size, FLOW.reading), jax.random.key(0))
    found, wanted = score(WEIGHTED), score(PLAIN)
    np.testing.assert_allclose(found.nats, wanted.nats, rtol=1e-6)
    np.testing.assert_allclose(found.bits_per_dim, wanted.bits_per_dim, rtol=1e-6)
    np.testing.assert_allclose(score(WEIGHTED, 16), found, rtol=1e-5)
    assert score(dataclasses.replace(WEIGHTED, weight=WEIGHT * 1000.0)) == found
    log_prob = np.asarray(FLOW.log_prob(variables, WEIGHTED.x), float)
    spread = np.sqrt(np.sum(WEIGHT**2 * (log_prob - found.nats) ** 2)) / WEIGHT.sum()
    np.testing.assert_allclose(found.nats_standard_error, spread, rtol=1e-5)
    assert found.num_examples == 16
    np.testing.assert_allclose(found.effective_examples, WEIGHT.sum() ** 2 / np.sum(WEIGHT**2), rtol=1e-6)


def test_the_standard_error_covers_the_spread_of_weighted_means():
    """Over 400 data sets the weighted mean of a score deviates by its standard error, root mean square."""
    flow, random = jflows.flows.normal((1,), standardize=False), np.random.RandomState(0)
    variables, found = flow.init(jax.random.key(0)), []
    for _ in range(400):
        data = TableData("t", random.randn(200, 1), weight=random.exponential(size=200))
        found.append(evaluate(flow, variables, eval_batches(data, 200, flow.reading), jax.random.key(0)))
    off = [score.nats + 0.5 * np.log(2 * np.pi * np.e) for score in found]
    stated = [score.nats_standard_error for score in found]
    assert 0.9 < np.sqrt(np.mean(np.square(off)) / np.mean(np.square(stated))) < 1.1


def test_baselines_and_clusters_are_those_of_repeated_rows():
    found = gaussian_baseline(X, X, WEIGHT, WEIGHT * 7.0).nats
    np.testing.assert_allclose(found, gaussian_baseline(PLAIN.x, PLAIN.x).nats, rtol=1e-6)
    clusters, shares = RANDOM.randint(0, 3, 16), RANDOM.dirichlet(np.ones(3), 16)
    by_weight, plain = (
        cluster_scores(LABEL, clusters, weight=WEIGHT),
        cluster_scores(LABEL[REPEATED], clusters[REPEATED]),
    )
    np.testing.assert_array_equal(by_weight.table, plain.table)
    np.testing.assert_allclose([by_weight.accuracy, by_weight.nmi], [plain.accuracy, plain.nmi])
    ari = [cluster_scores(LABEL, clusters, weight=w).ari for w in (None, np.ones(16), WEIGHT, WEIGHT * 1e3)]
    assert ari[0] == pytest.approx(ari[1]) and ari[2] == pytest.approx(ari[3])
    use = component_use(shares, weight=WEIGHT * 0.1)
    np.testing.assert_allclose(use.share, component_use(shares[REPEATED]).share)


def test_the_scores_of_a_mixture_are_those_of_repeated_rows():
    mixture = jflows.flows.presets.vmonf((2,), num_components=2, component=jflows.flows.normal)
    variables = mixture.init(jax.random.key(0), WEIGHTED.x, None, WEIGHTED.statistics())
    reading = mixture.reading.with_labels()
    found, wanted = (mixture_report(mixture, variables, eval_batches(data, 16, reading)) for data in (WEIGHTED, PLAIN))
    np.testing.assert_allclose([found.elbo, found.nats], [wanted.elbo, wanted.nats], rtol=1e-6)
    np.testing.assert_allclose(found.use.share, wanted.use.share, rtol=1e-6)
    assert found.scores.accuracy == pytest.approx(wanted.scores.accuracy)
    with pytest.raises(InvalidValueError, match="`weight` must be None with pretrain_steps or interleave_every"):
        partly = dataclasses.replace(WEIGHTED, partly_labelled=True)
        fit(mixture, partly, CONFIG, loss=MixtureLoss(interleave_every=2))


def test_what_mixes_rows_refuses_weights():
    flow = jflows.Flow(Chain((BatchNorm(), ActNorm())), StandardNormal((2,)), (2,))
    with pytest.raises(DataError, match="fit: `data` must have no weights for a flow with BatchNorm"):
        fit(flow, WEIGHTED, CONFIG)


def test_contexts_without_data_have_weights():
    batches = TrainBatches(NoData(np.array([[0.0], [2.0]]), np.array([1.0, 3.0])), 2)
    assert sorted(batches.at(0).weight.ravel().tolist()) == [0.5, 1.5]

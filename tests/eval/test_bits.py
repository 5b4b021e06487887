"""Scores of a whole data set: exact over the ragged end, independent of the batch size."""

import jax
import numpy as np
import pytest

import jflows
from jflows.bijectors import Standardize
from jflows.data import ImageData, TableData, eval_batches
from jflows.data.domains import Domains
from jflows.distributions import StandardNormal
from jflows.eval import evaluate, gaussian_baseline, row_scores
from jflows.typing import Batch
from tests.presets import filled

NUM = 11


@pytest.fixture(scope="module")
def model():
    flow = jflows.glow((4, 4, 1), num_levels=1, num_steps=1, width=4)
    x = np.random.default_rng(0).integers(0, 256, (NUM, 4, 4, 1)).astype(np.uint8)
    return flow, flow.init(jax.random.key(0), x), ImageData("noise", x)


def test_mean_is_over_examples_and_does_not_depend_on_the_batch_size(model):
    flow, variables, data = model
    key = jax.random.key(1)
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(np.arange(NUM, dtype=np.uint32))
    each = np.asarray(jax.jit(flow.bits_per_dim)(variables, data.x, key=keys))
    for batch_size in (4, NUM, 16):
        done = []
        score = evaluate(flow, variables, eval_batches(data, batch_size), key, on_batch=done.append)
        assert score.num_examples == NUM
        assert score.bits_per_dim == pytest.approx(each.mean(), rel=1e-5)
        assert score.standard_error == pytest.approx(each.std() / np.sqrt(NUM), rel=1e-3)
        assert score.nats == pytest.approx(-each.mean() * 16 * np.log(2), rel=1e-5)
        assert done[-1] >= NUM


def test_more_draws_tighten_the_bound(model):
    flow, variables, data = model
    one = evaluate(flow, variables, eval_batches(data, NUM), jax.random.key(1))
    many = evaluate(flow, variables, eval_batches(data, NUM), jax.random.key(1), num_draws=32)
    assert many.bits_per_dim < one.bits_per_dim


def test_no_example_is_an_error(model):
    flow, variables, _ = model
    with pytest.raises(jflows.InvalidValueError, match="at least one example"):
        evaluate(flow, variables, [], jax.random.key(0))


def test_rows_of_a_table_are_scored_in_nats():
    x = np.random.RandomState(0).randn(13, 3) * [1, 2, 3]
    data = TableData("made", x)
    flow = jflows.Flow(Standardize(event_ndims=1), StandardNormal((3,)), event_shape=(3,))
    variables = flow.init(jax.random.key(0), data.x)
    found = evaluate(flow, variables, eval_batches(data, 5), jax.random.key(0))
    # Standardised by all rows, a standard normal is one normal for each column.
    expected = sum(gaussian_baseline(column, column).nats for column in np.split(x, 3, axis=1))
    assert found.num_examples == 13
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert found.bits_per_dim == pytest.approx(-expected / (3 * np.log(2)), rel=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.full((4, 4, 4, 1), 200, np.uint8),
            r"evaluate: `x` must hold integers in 0\.\.31.*values 200\.\.200 in row 0",
        ),
        (np.full((4, 4, 4, 1), 0.5, np.float32), r"evaluate: `x` must hold integers in 0\.\.31.*; got dtype float32"),
        (np.zeros((4, 4, 4), np.uint8), r"evaluate: `x` must have shape \(4, 4, 4, 1\)"),
    ],
)
def test_values_that_the_flow_cannot_mean_are_never_scored(x, message):
    flow = jflows.glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_bits=5)
    batch = Batch(x, None, np.ones(4, np.float32), np.arange(4, dtype=np.uint32))
    with pytest.raises(jflows.DataError, match=message):
        evaluate(flow, {}, [batch], jax.random.key(0))


def test_more_bits_than_the_flow_has_are_reduced_where_it_reads_them(model):
    flow = jflows.glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_bits=5)
    _, _, data = model
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), data.reduced(5).x), 0)
    with pytest.raises(jflows.DataError, match=r"must hold integers in 0\.\.31"):
        evaluate(flow, variables, eval_batches(data, NUM), jax.random.key(1))
    scores = [
        evaluate(flow, variables, eval_batches(images, NUM, flow.reading), jax.random.key(1))
        for images in (data, data.reduced(5))
    ]
    assert scores[0] == scores[1] and scores[0].bits_per_dim < 8


def test_the_standard_error_does_not_cancel_and_padding_alone_is_ignored():
    flow = jflows.flows.normal((2,), standardize=False)
    variables, key = flow.init(jax.random.key(0)), jax.random.key(0)
    x = np.tile(np.array([[0.3, 1.0]], np.float32), (3000, 1))
    x[0] += 1
    batches = [*eval_batches(TableData("t", x), 250, flow.reading)]
    padding = batches[0]._replace(weight=np.zeros(250, np.float32))
    found = evaluate(flow, variables, [padding, *batches], key)
    log_prob = np.asarray(flow.log_prob(variables, x), float)
    assert found.num_examples == 3000
    np.testing.assert_allclose(found.nats, log_prob.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.nats_standard_error, log_prob.std() / 3000**0.5, rtol=1e-3)


def test_rows_beyond_the_support_have_a_score_and_values_of_no_meaning_none():
    domains = Domains(positive=(0,), integer=(1,))
    flow = jflows.realnvp((2,), num_layers=1, hidden_sizes=(4,), domains=domains)
    x = np.array([[1.0, 2], [2.0, 3], [-1.0, 4], [0.0, 5]], np.float32)
    variables, reading = filled(jax.eval_shape(flow.init, jax.random.key(0), x[:2]), 0), flow.reading.beyond_support()
    batches = lambda rows: eval_batches(TableData("t", rows), 3, reading)
    (found, rest) = row_scores(flow, variables, batches(x), jax.random.key(1))
    assert np.isfinite(found[:2]).all() and [found[2], *rest] == [-np.inf, -np.inf]
    mean = evaluate(flow, variables, eval_batches(TableData("t", x[:2]), 3), jax.random.key(1)).nats
    np.testing.assert_allclose(mean, found[:2].mean(), rtol=1e-6)
    with pytest.raises(jflows.DataError, match="must be whole"):
        list(row_scores(flow, variables, batches(x + 0.5), jax.random.key(1)))
    with pytest.raises(jflows.DataError, match="must be positive"):
        eval_batches(TableData("t", x), 3, flow.reading)

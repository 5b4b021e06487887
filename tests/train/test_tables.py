"""Training on tables: the same loop, without what belongs to images."""

import dataclasses

import jax
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.data import TableData, eval_batches, load
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidTypeError, RunError
from jflows.eval import evaluate
from jflows.runs import RunDirectory
from jflows.train import FunctionLoss, MixtureLoss, TrainConfig, fit

CONFIG = TrainConfig(
    steps=60,
    batch_size=64,
    warmup_steps=5,
    learning_rate=2e-2,
    log_every=20,
    checkpoint_every=60,
    init_batch=256,
    eval_batch_size=100,
    parallel="none",
)


def spline_flow() -> jflows.Flow:
    step = b.Chain((b.Coupling(nn.MLP((16,)), b.RationalQuadraticSpline(4)), b.Householder(), b.ActNorm()))
    return jflows.Flow(b.Repeat(step, 2), StandardNormal((2,)), (2,))


def test_fit_learns_a_table_and_its_run_is_enough(tmp_path):
    flow = spline_flow()
    run = RunDirectory.create(tmp_path / "moons", flow, dataclasses.asdict(CONFIG))
    moons, validation = load("two_moons", "train"), load("two_moons", "validation")
    result = fit(flow, moons, CONFIG, validation=validation, run=run)
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.1
    loaded, variables = jflows.load(tmp_path / "moons")
    assert loaded == flow
    score = evaluate(loaded, variables, eval_batches(validation, 500, loaded.reading), jax.random.key(0))
    np.testing.assert_allclose(-score.nats, result.history[-1]["validation_nll"], rtol=1e-6)
    np.testing.assert_allclose(score.nats, result.history[-1]["validation_nats"], rtol=1e-6)


def test_arrays_are_to_be_wrapped():
    with pytest.raises(
        InvalidTypeError, match="fit: `data` must be TableData, ImageData or NoData; got ndarray. Wrap arrays"
    ):
        fit(spline_flow(), np.zeros((4, 2)), CONFIG)


def test_rows_have_contexts():
    x, context = np.random.RandomState(0).randn(2, 200, 1)
    table = TableData("rows", x + 3 * context, context=context)
    flow = jflows.maf((1,), 1, (8,), context_dim=1, standardize=False)
    config = dataclasses.replace(CONFIG, steps=100, checkpoint_every=100, eval_every=20)
    result = fit(flow, table, config, validation=table)
    assert result.history[-1]["validation_nats"] > -2.2  # log p(x) alone is -2.6, given the context -1.4
    with pytest.raises(DataError, match=r"`context` must hold numbers, \[num, \*context_shape\] for num=200 rows"):
        TableData("rows", x, context=context[:5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(config=dict(steps=10)), "fit: `config` must be a TrainConfig; got dict"),
        (dict(validation=np.zeros((4, 2))), "fit: `validation` must be TableData, ImageData or NoData; got ndarray"),
        (dict(flow=nn.MLP((4,))), "fit: `flow` must be a Flow or a MixtureOfFlows; got MLP"),
        (
            dict(loss=lambda *args: args),
            r"fit: `loss` must be a jflows.train.Loss; got the function <lambda>. Write FunctionLoss\(f\), where "
            r"f\(flow, variables, batch, key, step\) returns one number per row and .* or subclass jflows.train.Loss",
        ),
        (
            dict(loss=MixtureLoss),
            "fit: `loss` must be a jflows.train.Loss; got the class MixtureLoss; write MixtureLoss",
        ),
    ],
)
def test_arguments_of_other_types_are_named(change, message):
    arguments = dict(flow=spline_flow(), data=load("two_moons"), config=CONFIG) | change
    with pytest.raises(InvalidTypeError, match=message):
        fit(**arguments)


@pytest.mark.first
def test_a_run_without_one_finite_step_is_an_error():
    nowhere = FunctionLoss(lambda flow, variables, batch, key, step: (jax.numpy.full(len(batch.x), np.nan), {}))
    error = pytest.raises(RunError, match="must be finite in at least one step; got 10 steps that were not")
    with pytest.warns(RuntimeWarning, match="step 0: the loss .* was not finite, .* at row"), error:
        fit(
            spline_flow(),
            load("two_moons"),
            dataclasses.replace(CONFIG, steps=10, log_every=10, checkpoint_every=10),
            loss=nowhere,
        )


def test_settings_are_of_their_type():
    with pytest.raises(InvalidTypeError, match=r"TrainConfig: `steps` must be an int; got 10.0"):
        TrainConfig(steps=10.0)

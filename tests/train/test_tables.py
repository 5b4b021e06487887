"""Training on tables: the same loop, without what belongs to images."""

import jax
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.data import eval_batches, load
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError
from jflows.eval import evaluate
from jflows.train import Run, TrainConfig, fit

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
    run = Run.create(tmp_path / "moons", flow, CONFIG.to_json())
    moons, validation = load("two_moons", "train"), load("two_moons", "validation")
    result = fit(flow, moons, CONFIG, validation=validation, run=run)
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 0.1
    loaded, variables = jflows.load(tmp_path / "moons")
    assert loaded == flow
    score = evaluate(loaded, variables, eval_batches(validation, 500, labels=False), jax.random.key(0))
    np.testing.assert_allclose(score.bits_per_dim, result.history[-1]["validation_bits_per_dim"], rtol=1e-6)
    np.testing.assert_allclose(score.nats, result.history[-1]["validation_nats"], rtol=1e-6)


def test_arrays_are_to_be_wrapped():
    with pytest.raises(
        InvalidTypeError, match="fit: `data` must be TableData, ImageData or NoData; got ndarray. Wrap arrays"
    ):
        fit(spline_flow(), np.zeros((4, 2)), CONFIG)

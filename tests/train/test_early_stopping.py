"""Validation chooses the weights and ends the run; a plateau lowers the rate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.data import TableData, eval_batches, load
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.eval import evaluate
from jflows.runs import RunDirectory
from jflows.train import TrainConfig, fit, make_optimizer
from jflows.train.optim import rate_scale

CONFIG = TrainConfig(
    steps=400,
    batch_size=16,
    warmup_steps=0,
    learning_rate=4e-3,
    schedule="constant",
    ema_decay=0.5,
    log_every=20,
    eval_every=10,
    patience=3,
    checkpoint_every=40,
    steps_per_call=10,
    init_batch=16,
    parallel="none",
)
FEW = TableData("few", load("two_moons").x[:16])  # so few that a flow soon knows them by heart
VALIDATION = TableData("others", load("two_moons", "validation").x[:200])


def flow() -> jflows.Flow:
    step = b.Chain((b.Coupling(nn.MLP((16,)), b.Affine()), b.Reverse()))
    return jflows.Flow(b.Repeat(step, 2), StandardNormal((2,)), (2,))


def score(variables) -> float:
    return -evaluate(flow(), variables, eval_batches(VALIDATION, 100), jax.random.key(0)).nats


def train(directory, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    run = RunDirectory.create(directory, flow(), dataclasses.asdict(config))
    return fit(flow(), FEW, config, validation=VALIDATION, run=run)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "stopped"
    return directory, train(directory)


def test_the_run_ends_and_the_best_is_kept(stopped):
    directory, result = stopped
    scores = {entry["step"]: entry["validation_nll"] for entry in result.history}
    assert result.step == min(scores, key=scores.get) < result.state.step < CONFIG.steps
    assert result.state.step == result.step + 10 * CONFIG.patience
    assert not result.interrupted
    assert score(result.variables) == pytest.approx(scores[result.step], rel=1e-6)
    assert score(result.state.ema_variables) > scores[result.step] + 0.01
    for checkpoint, expected in (("auto", result.step), ("best", result.step), ("latest", int(result.state.step))):
        variables = jflows.load(directory, checkpoint=checkpoint)[1]
        assert score(variables) == pytest.approx(scores[expected], rel=1e-6)


@pytest.mark.parametrize("after", [1, 3])  # before and after the best
@pytest.mark.by_default("3")
def test_a_killed_run_goes_on_to_the_same_end(stopped, tmp_path, after):
    class Killed(Exception):
        pass

    def kill(entry):
        if entry["step"] == stopped[1].step - 20 + 10 * after:
            raise Killed

    run = RunDirectory.create(tmp_path, flow(), dataclasses.asdict(CONFIG))
    with pytest.raises(Killed):
        fit(flow(), FEW, CONFIG, validation=VALIDATION, run=run, callback=kill)
    again = RunDirectory.resume(tmp_path, flow(), dataclasses.asdict(CONFIG))
    result = fit(flow(), FEW, CONFIG, validation=VALIDATION, run=again)
    assert (result.step, result.state.step) == (stopped[1].step, stopped[1].state.step)
    jax.tree.map(np.testing.assert_array_equal, result.variables, stopped[1].variables)
    jax.tree.map(np.testing.assert_array_equal, result.state.params, stopped[1].state.params)


def test_the_best_is_kept_without_a_run_directory(stopped):
    result = fit(flow(), FEW, CONFIG, validation=VALIDATION)
    jax.tree.map(np.testing.assert_array_equal, result.variables, stopped[1].variables)


def test_patience_needs_scores():
    with pytest.raises(InvalidValueError, match="fit: `validation` must be given with patience=3"):
        fit(flow(), FEW, CONFIG)
    with pytest.raises(InvalidValueError, match="`eval_every` must be positive with patience=3"):
        dataclasses.replace(CONFIG, eval_every=0)


def test_a_level_loss_lowers_the_rate_and_a_falling_one_does_not():
    options = dict(schedule="plateau", plateau_factor=0.5, plateau_window=2, plateau_patience=3)
    optimizer = make_optimizer(steps=100, learning_rate=0.1, **options)

    def scale_after(losses):
        def step(state, loss):
            return optimizer.update({"scale": jnp.ones(2)}, state, value=loss)[1], None

        return rate_scale(jax.lax.scan(step, optimizer.init({"scale": jnp.ones(2)}), losses)[0])

    # The first window sets the best; each three windows later the rate is halved.
    assert scale_after(jnp.full(7, -5.0)) == 1
    assert scale_after(jnp.full(8, -5.0)) == 0.5
    assert scale_after(jnp.full(14, -5.0)) == 0.25
    assert scale_after(-5.0 - 0.01 * jnp.arange(40.0)) == 1
    assert rate_scale(make_optimizer(steps=1, learning_rate=0.1).init({"scale": jnp.ones(2)})) == 1


def test_the_patience_grows_whenever_the_rate_is_lowered():
    options = dict(schedule="plateau", plateau_factor=0.5, plateau_window=1, plateau_patience=2, plateau_growth=1.3)
    optimizer = make_optimizer(steps=100, learning_rate=0.1, **options)
    state, scales = optimizer.init({"scale": jnp.ones(2)}), []
    for _ in range(14):
        state = optimizer.update({"scale": jnp.ones(2)}, state, value=jnp.float32(-5.0))[1]
        scales.append(rate_scale(state))
    # After the first loss: 2 more of them, then ceil(2.6) = 3, ceil(3.38) = 4, ceil(4.394) = 5.
    lowered = [step for step in range(1, 14) if scales[step] < scales[step - 1]]
    assert lowered == [2, 5, 9]


def test_the_lowered_rate_is_logged():
    # Every batch is all of the data and the rate next to nothing, so the loss stays level.
    settings = dict(steps=80, learning_rate=1e-7, schedule="plateau", plateau_window=4, plateau_patience=1)
    config = dataclasses.replace(CONFIG, eval_every=0, patience=0, **settings)
    rates = [entry["learning_rate"] for entry in fit(flow(), FEW, config).history]
    assert rates[0] > rates[-1] > 0
    assert all(
        np.log2(config.learning_rate / rate) == pytest.approx(round(np.log2(config.learning_rate / rate)), abs=1e-3)
        for rate in rates
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(plateau_factor=1.0), r"`plateau_factor` must lie in \(0, 1\); got 1.0"),
        (dict(plateau_growth=0.5), "`plateau_growth` must be at least 1; got 0.5"),
        (dict(plateau_window=0), "`plateau_window` must be at least 1; got 0"),
        (dict(patience=-1), "`patience` must be at least 0; got -1"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(InvalidValueError, match=message):
        dataclasses.replace(CONFIG, **change)

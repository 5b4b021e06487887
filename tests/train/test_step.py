"""The optimizer step: what it changes, what it leaves alone, and that a bad batch cannot hurt it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.train import NegativeLogLikelihood, TrainConfig, init_state, make_optimizer, make_train_step
from jflows.train.optim import decayed_leaves, make_schedule
from jflows.typing import Batch


def small_flow(**options):
    return jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4, **options)


def make_batch(size: int = 8, seed: int = 0, weight=None) -> Batch:
    x = np.random.default_rng(seed).integers(0, 256, (size, 4, 4, 1))
    weight = jnp.ones(size) if weight is None else jnp.asarray(weight, float)
    return Batch(x, None, weight, jnp.arange(size, dtype=jnp.uint32))


def make_state(flow, optimizer):
    variables = flow.init(jax.random.key(0), make_batch(32).x)
    return init_state(variables, optimizer, jax.random.key(1))


def step_of(flow, optimizer=None, **options):
    optimizer = optimizer or optax.sgd(1e-3)
    return jax.jit(make_train_step(flow, optimizer, NegativeLogLikelihood(), **options)), make_state(flow, optimizer)


def largest_difference(left, right) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), left, right)))


@pytest.mark.slow
def test_the_loss_falls_and_constants_stay():
    flow = small_flow()
    step, state = step_of(flow, optax.adam(1e-2))
    before = state.extra
    losses = []
    for _ in range(30):
        state, metrics = step(state, make_batch())
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 1
    assert int(state.step) == 30
    assert largest_difference(before["constants"], state.extra["constants"]) == 0


def test_gradient_is_that_of_the_weighted_mean():
    """Padding (weight 0) must not count: a padded batch gives the step of the batch without padding."""
    flow = small_flow()
    step, state = step_of(flow)
    batch = make_batch(8)
    padded = batch._replace(weight=jnp.array([1.0] * 6 + [0.0] * 2))
    short = jax.tree.map(lambda leaf: leaf[:6], batch)
    from_padded, _ = step(state, padded)
    from_short, _ = step(state, short)
    assert largest_difference(from_padded.params, state.params) > 1e-3
    assert largest_difference(from_padded.params, from_short.params) < 1e-12


@pytest.mark.slow
def test_accumulation_does_not_change_the_step():
    flow = small_flow()
    whole, state = step_of(flow)
    parts, _ = step_of(flow, accumulate=4)
    expected, metrics = whole(state, make_batch())
    obtained, part_metrics = parts(state, make_batch())
    assert largest_difference(expected.params, obtained.params) < 1e-12
    np.testing.assert_allclose(metrics["grad_norm"], part_metrics["grad_norm"], rtol=1e-10)


def test_average_is_warmed_up():
    """decay = min(ema_decay, (1 + t) / (10 + t)): at t = 0 the average moves nine tenths of the way."""
    flow = small_flow()
    step, state = step_of(flow, ema_decay=0.999)
    new, _ = step(state, make_batch())
    expected = jax.tree.map(lambda old, now: 0.1 * old + 0.9 * now, state.ema, new.params)
    assert largest_difference(expected, new.ema) < 1e-12


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    flow = small_flow(preprocess="logit")
    step, state = step_of(flow, optax.adam(1e-2))
    bad = make_batch()._replace(x=jnp.full((8, 4, 4, 1), jnp.nan))
    skipped, metrics = step(state, bad)
    assert not np.isfinite(metrics["loss"])
    for name in ("params", "ema", "opt_state", "extra"):
        assert largest_difference(getattr(skipped, name), getattr(state, name)) == 0
    assert [int(skipped.step), int(skipped.skipped), int(skipped.skipped_in_a_row)] == [1, 1, 1]
    good, _ = step(skipped, make_batch())
    assert [int(good.step), int(good.skipped), int(good.skipped_in_a_row)] == [2, 1, 0]
    assert largest_difference(good.params, state.params) > 0


@pytest.mark.slow
def test_noise_depends_on_the_visit_alone():
    """The same visits in another order, or in another batch, get the same noise."""
    flow = small_flow()
    batch = make_batch(8)
    variables = flow.init(jax.random.key(0), make_batch(32).x)
    nll, _ = NegativeLogLikelihood()(flow, variables, batch, jax.random.key(2))
    order = np.array([5, 1, 7, 0])
    few, _ = NegativeLogLikelihood()(flow, variables, jax.tree.map(lambda leaf: leaf[order], batch), jax.random.key(2))
    np.testing.assert_allclose(few, nll[order], rtol=1e-10)
    later, _ = NegativeLogLikelihood()(flow, variables, batch._replace(index=batch.index + 8), jax.random.key(2))
    assert not np.allclose(later, nll, rtol=1e-7)


def test_only_weights_are_decayed():
    mask = decayed_leaves(small_flow().init(jax.random.key(0), make_batch(32).x)["params"])
    flat, _ = jax.tree_util.tree_flatten_with_path(mask)
    decayed = {path[-1].key for path, flag in flat if flag}
    assert decayed == {"kernel", "conv_in_kernel", "conv_mid_kernel"}


@pytest.mark.parametrize("schedule, end", [("constant", 2e-3), ("cosine", 0.0)])
def test_schedule_warms_up_linearly(schedule, end):
    rate = make_schedule(100, 2e-3, 10, schedule, 0.0)
    assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([0, 1e-3, 2e-3])
    assert float(rate(100)) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_is_at_most_the_whole_run(schedule):
    """A run shorter than its config's warm-up still reaches the learning rate."""
    rate = make_schedule(50, 2e-3, 100, schedule, 0.0)
    assert [float(rate(step)) for step in (0, 25, 50)] == pytest.approx([0, 1e-3, 2e-3])


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(optimizer="sgdm"), "`optimizer` must be one of 'adam', 'adamw'; got 'sgdm'"),
        (dict(learning_rate=0.0), "`learning_rate` must be positive; got 0.0"),
        (dict(weight_decay=0.1), "`weight_decay` must be 0 with optimizer='adam'; got 0.1"),
        (dict(schedule="step"), "`schedule` must be one of 'constant', 'cosine', 'plateau'; got 'step'"),
        (dict(warmup_steps=-1), "`warmup_steps` must be at least 0; got -1"),
    ],
)
def test_optimizer_settings_are_checked(options, message):
    with pytest.raises(jflows.InvalidValueError) as error:
        make_optimizer(**{"steps": 10, "learning_rate": 1e-3, **options})
    assert message in str(error.value)


@pytest.mark.parametrize("options, message", [(dict(ema_decay=1.0), "[0, 1)"), (dict(accumulate=0), "at least 1")])
def test_step_settings_are_checked(options, message):
    with pytest.raises(jflows.InvalidValueError) as error:
        make_train_step(small_flow(), optax.sgd(1.0), NegativeLogLikelihood(), **options)
    assert message in str(error.value)


def test_accumulate_must_divide_the_batch():
    step, state = step_of(small_flow(), accumulate=3)
    with pytest.raises(jflows.InvalidValueError, match="multiple of accumulate=3; got 8 examples"):
        step(state, make_batch(8))


def test_a_warm_up_in_epochs_is_its_share_of_the_run():
    config = TrainConfig(epochs=4, warmup_epochs=1, batch_size=10, schedule="constant", learning_rate=0.5)
    rate = config.make_schedule(config.total_steps(100))  # 40 steps
    np.testing.assert_allclose([rate(step) for step in (0, 5, 10, 39)], [0, 0.25, 0.5, 0.5])

"""The annealed bootstrap: what its buffer holds, which gradient follows, that runs resume, and which modes are kept."""

import dataclasses
import functools
import math
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.stats import norm

import jflows
from jflows import bijectors as b
from jflows.data import NoData
from jflows.distributions import ClassConditionalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.eval import importance_sample
from jflows.flows import normal
from jflows.nn import TimeMLP
from jflows.runs import RunDirectory
from jflows.train import (
    FlowAnnealedBootstrap,
    Runner,
    TrainConfig,
    fit,
    init_state,
    make_train_step,
    plan_step,
    reverse_kl,
)
from jflows.train.monitor import Standing
from jflows.typing import Batch
from tests.train.checkpointing import assert_same

KEY = jax.random.key(2)
FLOW = normal((1,))
CENTRE, DEVIATION = 0.8, 0.7


def log_density(x):
    return 2.0 + norm.logpdf(x, CENTRE, DEVIATION).sum(-1)


LOSS = FlowAnnealedBootstrap(log_density, num_levels=3, num_steps=4, refresh_every=2, buffer_size=4000)
CONFIG = TrainConfig(steps=8, batch_size=16, warmup_steps=1, learning_rate=1e-2, log_every=4, parallel="none")
NUM = 1500  # rows of a batch where one program serves several tests
RECALL = jax.jit(functools.partial(LOSS.recall, FLOW))


def rows(num):
    return Batch(None, None, jnp.ones(num), jnp.arange(num, dtype=jnp.uint32))


@pytest.fixture(scope="module")
def variables():
    return FLOW.init(KEY)


@pytest.fixture(scope="module")
def memory(variables):
    return LOSS.first_memory(FLOW, variables, KEY, 2000)


def test_the_buffer_holds_weighed_samples_of_the_density_of_least_variance(memory):
    """p^2 / q, a normal: its mean, and where it lies."""
    weights = np.exp(np.asarray(memory.log_weights))
    assert np.all(weights[2000:] == 0) and np.all(weights[:2000] > 0) and memory.written == 2000
    precision = 2 / DEVIATION**2 - 1
    mean, spread = 2 * CENTRE / DEVIATION**2 / precision, precision**-0.5
    share = weights / weights.sum()
    error = 4 * spread / math.sqrt(1 / (share**2).sum())
    assert error < 0.1
    assert abs((share * np.asarray(memory.x[:, 0])).sum() - mean) < error


def test_the_gradient_is_that_of_the_divergence(memory, variables):
    """d log D = -E_(p^2/q)[d log q], by quadrature; rows are drawn by their weights, and none from an empty place."""
    x = jnp.linspace(-8, 8, 1001)[:, None]
    batch, _ = RECALL(variables, memory, rows(NUM), KEY, 1)
    assert np.all(batch.weight == 1) and not np.any(batch.x == 0)

    @jax.jit
    def gradients(variables, batch):
        log_divergence = lambda v: jax.nn.logsumexp(2 * log_density(x) - FLOW.log_prob(v, x))
        return jax.grad(log_divergence)(variables), jax.grad(lambda v: jnp.mean(LOSS(FLOW, v, batch, KEY)[0]))(
            variables
        )

    exact, estimate = jax.tree.map(np.asarray, gradients(variables, batch))
    for obtained, wanted in zip(jax.tree.leaves(estimate), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(obtained, wanted, atol=0.15)
    assert optax.tree.norm(exact) > 1


def test_rows_are_brought_up_to_date_with_the_flow(memory, variables):
    """c = q_stored / q, at most 10; log w and log q of the rows that were drawn follow, of others they stay."""
    moved = jax.tree.map(lambda leaf: leaf - 0.8, variables)
    batch, new = RECALL(moved, memory, rows(NUM), KEY, 1)
    log_q = FLOW.log_prob(moved, batch.x)
    change = FLOW.log_prob(variables, batch.x) - log_q
    assert change.max() > math.log(10) > 0 > change.min()
    np.testing.assert_allclose(batch.weight, np.exp(np.minimum(change, math.log(10))), rtol=1e-5)
    touched = np.flatnonzero(new.log_q != memory.log_q)
    assert 0 < len(touched) <= NUM
    np.testing.assert_allclose(new.log_q[touched], FLOW.log_prob(moved, new.x[touched]), rtol=1e-9)
    before, after = memory.log_weights + memory.log_q, new.log_weights + new.log_q  # 2 log p, whatever the flow is
    np.testing.assert_allclose(after[:2000], before[:2000], rtol=1e-9)


def test_new_walks_take_the_place_of_the_oldest(memory, variables):
    """A round every other step; the buffer has 4000 places, of which the first 2000 are filled."""
    _, kept = RECALL(variables, memory, rows(NUM), KEY, 3)
    np.testing.assert_array_equal(kept.x, memory.x)
    _, once = RECALL(variables, memory, rows(NUM), KEY, 2)
    _, twice = RECALL(variables, once, rows(NUM), jax.random.key(9), 4)
    changed = lambda new, old: list(np.flatnonzero(np.any(new.x != old.x, axis=1)))
    assert changed(once, memory) == [*range(2000, 3500)] and once.written == 3500
    assert changed(twice, once) == [*range(1000), *range(3500, 4000)] and twice.written == 1000
    assert np.all(once.tuning.log_step != memory.tuning.log_step)


def test_the_buffer_is_in_the_checkpoint(variables, tmp_path):
    """Two steps, saved and restored, and two more are four steps, bit for bit."""
    optimizer = optax.adam(1e-2)
    step = jax.jit(make_train_step(FLOW, optimizer, LOSS))
    states = [init_state(variables, optimizer, KEY, LOSS.first_memory(FLOW, variables, KEY, 16))]
    take = lambda state: step(state, rows(16))[0]
    for _ in range(4):
        states.append(take(states[-1]))
    RunDirectory.create(tmp_path, FLOW, {}).save(2, states[2], Standing())
    restored = RunDirectory.resume(tmp_path, FLOW, {}).restore(states[0])
    assert_same(restored, states[2])
    assert_same(take(take(restored)), states[4])
    assert states[2].memory.written == 16 and states[3].memory.written == 32  # a round at step 2


@pytest.mark.slow
def test_a_run_that_was_stopped_resumes_bit_for_bit(tmp_path):
    whole = fit(FLOW, NoData(), CONFIG, loss=LOSS).state
    stop = threading.Event()
    run = RunDirectory.create(tmp_path, FLOW, dataclasses.asdict(CONFIG))
    first = fit(FLOW, NoData(), CONFIG, loss=LOSS, run=run, stop=stop, callback=lambda entry: stop.set())
    assert first.interrupted and first.state.step == 4
    again = RunDirectory.resume(tmp_path, FLOW, dataclasses.asdict(CONFIG))
    assert_same(fit(FLOW, NoData(), CONFIG, loss=LOSS, run=again).state, whole)
    assert whole.memory.written == 16 * 4  # at the start, and at steps 2, 4 and 6


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "fsdp"])
def test_eight_devices_equal_one(parallel, variables):
    optimizer, batches = optax.sgd(1e-2), rows(16)
    batches = jax.tree.map(lambda leaf: np.stack([leaf, leaf + 16, leaf + 32][:3]), batches)

    def train(parallel):
        make = functools.partial(make_train_step, FLOW, optimizer, LOSS)
        runner = Runner(make, parallel, batch_size=16, steps_per_call=3)
        start = jax.tree.map(jnp.copy, variables)
        state = init_state(start, optimizer, jax.random.key(2), LOSS.first_memory(FLOW, variables, KEY, 16))
        state, metrics = runner.run(runner.put_state(state), batches)
        state = runner.get_state(state)
        return state.params, state.memory, metrics["loss"]

    for obtained, wanted in zip(jax.tree.leaves(train(parallel)), jax.tree.leaves(train("none")), strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_it_finds_a_density():
    config = dataclasses.replace(CONFIG, steps=200, batch_size=64, learning_rate=3e-2, log_every=200, ema_decay=0.98)
    result = fit(FLOW, NoData(), config, loss=LOSS)
    drawn = importance_sample(FLOW, result.variables, log_density, KEY, 1000)
    assert drawn.ess_fraction > 0.99
    assert drawn.log_normalizer == pytest.approx(2, abs=0.01)


@pytest.mark.slow
def test_it_keeps_two_modes_of_which_the_reverse_kl_finds_one():
    centre = np.array([5.0, 0.0])
    modes = lambda x: [norm.logpdf(x, sign * centre, 0.6).sum(-1) for sign in (1, -1)]
    two = lambda x: 1.0 + jnp.logaddexp(*modes(x)) - math.log(2)
    flow = jflows.realnvp((2,), 4, (24, 24), standardize=False)
    config = TrainConfig(
        steps=600, batch_size=128, learning_rate=3e-3, warmup_steps=20, clip_norm=10.0, log_every=600, parallel="none"
    )
    of = lambda loss, seed: fit(flow, NoData(), dataclasses.replace(config, seed=seed), loss=loss).variables
    shares = [float((flow.sample(of(reverse_kl(two), seed), KEY, (2000,))[:, 0] > 0).mean()) for seed in range(4)]
    assert any(min(share, 1 - share) < 0.05 for share in shares)
    drawn = importance_sample(flow, of(FlowAnnealedBootstrap(two), 0), two, KEY, 4000)
    assert 0.4 < (drawn.x[:, 0] > 0).mean() < 0.6
    assert abs(drawn.log_normalizer - 1) < 4 * drawn.standard_error and drawn.ess_fraction > 0.6


@pytest.mark.slow
def test_plans_and_ensembles_count_the_buffer():
    small = plan_step(FLOW, CONFIG, dataclasses.replace(LOSS, buffer_size=16)).total_bytes
    assert plan_step(FLOW, CONFIG, LOSS).total_bytes - small >= 3984 * 12
    members = jflows.train.fit_ensemble(FLOW, NoData(), CONFIG, 2, loss=LOSS)
    alone = fit(FLOW, NoData(), CONFIG, loss=LOSS)
    np.testing.assert_allclose(members[0].state.memory.x, alone.state.memory.x, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_density_that_stops_being_finite_ends_the_run():
    """Walks that are not finite are not drawn; once there are no others, steps are skipped, and not taken for 0."""
    start = LOSS.first_memory(FLOW, FLOW.init(KEY), KEY, 16)
    broken = start._replace(log_weights=jnp.full_like(start.log_weights, -jnp.inf))
    optimizer = optax.sgd(1e-2)
    state = init_state(FLOW.init(KEY), optimizer, KEY, broken)
    state, metrics = jax.jit(make_train_step(FLOW, optimizer, LOSS))(state, rows(16))
    assert np.isnan(metrics["loss"]) and state.skipped == 1
    assert issubclass(RunError, RuntimeError)


def fitted(loss=LOSS, flow=FLOW, **settings):
    return lambda: fit(flow, NoData(), dataclasses.replace(CONFIG, **settings), loss=loss)


def other(function, **options):
    return dataclasses.replace(LOSS, log_density=function, **options)


def conditional():
    return jflows.Flow(b.Identity(), ClassConditionalNormal((1,)), (1,), context_shape=(3,))


def estimated():
    return jflows.Flow(b.Continuous(TimeMLP((4,)), trace="hutchinson"), StandardNormal((2,)), (2,))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: other(None), InvalidTypeError, "FlowAnnealedBootstrap: `log_density` must be a function of x, .*None"),
        (lambda: other(log_density, num_levels=0), InvalidValueError, "`num_levels` must be at least 1; got 0"),
        (lambda: other(log_density, refresh_every=0), InvalidValueError, "`refresh_every` must be at least 1; got 0"),
        (lambda: other(log_density, max_correction=0.5), InvalidValueError, "`max_correction` must be at least 1; got"),
        (
            fitted(flow=conditional()),
            InvalidValueError,
            r"`flow` must take no context; got context \(3,\). Train fl",
        ),
        (fitted(flow=estimated()), InvalidValueError, "`flow` must have an exact density; got an estimated log-det"),
        (
            fitted(parallel="pmap"),
            InvalidValueError,
            "fit: `parallel` must be none, jit or fsdp with the loss flow_annealed_bootstrap, whose memory is one for",
        ),
        (
            fitted(other(log_density, buffer_size=15)),
            InvalidValueError,
            "FlowAnnealedBootstrap: `buffer_size` must be at least batch_size=16; got 15",
        ),
        (
            fitted(other(lambda x: jnp.nan * x[:, 0])),
            InvalidValueError,
            "`log_density` must be finite, and above -inf, on some walks; got none of 16. Look at log_density",
        ),
        (
            fitted(other(lambda x: jax.pure_callback(np.sum, jax.ShapeDtypeStruct(x.shape[:1], x.dtype), x))),
            InvalidValueError,
            "FlowAnnealedBootstrap: `log_density` must be differentiable in x by JAX; got ValueError: Pure callbacks",
        ),
        (
            fitted(other(lambda x: jax.lax.stop_gradient(log_density(x)))),
            InvalidValueError,
            "FlowAnnealedBootstrap: `log_density` must have a gradient that leads somewhere; got values that differ,",
        ),
        (
            fitted(other(lambda x: log_density(x) - jnp.sqrt(0 * x[:, 0]))),
            InvalidValueError,
            "FlowAnnealedBootstrap: `log_density` must have a finite gradient where it is finite; got .* of ",
        ),
        (
            lambda: LOSS.recall(FLOW, FLOW.init(KEY), {}, rows(4), KEY, 0),
            InvalidTypeError,
            r"init_state: `memory` must be the first memory of the loss; got dict. Write init_state\(variables, opt",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()

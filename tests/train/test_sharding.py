"""Every way to run a step on eight devices gives the step of one device, under SGD: Adam would hide a wrong factor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.train import FunctionLoss, NegativeLogLikelihood, Runner, init_state, make_train_step
from jflows.train.sharding import PARALLEL_MODES
from jflows.typing import Batch

STEPS = 3


def batches(size: int = 16) -> Batch:
    x = np.random.default_rng(0).integers(0, 256, (STEPS, size, 4, 4, 1))
    index = np.arange(STEPS * size, dtype=np.uint32).reshape(STEPS, size)
    return Batch(x, None, np.ones((STEPS, size), np.float32), index)


def steps(first: int, last: int) -> Batch:
    return jax.tree.map(lambda leaf: leaf[first:last], batches())


def train(parallel: str, **options):
    """Two calls of three steps, and the first of them again in two parts; compiled ahead, none of them traces."""
    flow = jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4)
    optimizer = optax.sgd(1e-3)
    traces = []

    def loss(*args):
        traces.append(args)
        return NegativeLogLikelihood()(*args)

    make_step = functools.partial(make_train_step, flow, optimizer, FunctionLoss(loss), **options)
    runner = Runner(make_step, parallel, batch_size=16, steps_per_call=STEPS)
    variables = flow.init(jax.random.key(0), jnp.asarray(batches().x[0]))
    start = lambda: runner.put_state(jax.tree.map(jnp.copy, init_state(variables, optimizer, jax.random.key(1))))
    state = start()
    made = runner.compile(state, steps(0, 1))
    assert made.seconds > 0 and made.planned_bytes > made.in_place > 0
    num_traces = len(traces)
    state, metrics = runner.run(state, batches())
    parts = start()
    for first, last in ((0, 1), (1, STEPS)):
        parts, part_metrics = runner.run(parts, steps(first, last))
    for obtained, wanted in zip(jax.tree.leaves(parts.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(obtained, wanted)  # bit for bit, however the steps are cut into calls
    np.testing.assert_array_equal(part_metrics["loss"], [*metrics["loss"][1:], 0])
    state, _ = runner.run(state, batches())
    assert len(traces) == num_traces > 0
    return runner, runner.get_state(state), metrics


@pytest.fixture(scope="module")
def one_device():
    return train("none")


@pytest.mark.parametrize(
    ("accumulate", "parallel"),
    [
        pytest.param(accumulate, mode, marks=[pytest.mark.slow] if accumulate > 1 else [])
        for accumulate in (1, 2)
        for mode in PARALLEL_MODES
        if mode != "none"
    ],
)
def test_eight_devices_equal_one(parallel, accumulate, one_device):
    runner, state, metrics = train(parallel, accumulate=accumulate)
    assert len(runner.devices) == 8
    _, expected, expected_metrics = one_device
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-10)
    np.testing.assert_allclose(metrics["grad_norm"], expected_metrics["grad_norm"], rtol=1e-8)
    for obtained, wanted in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=0, atol=1e-10)
    for obtained, wanted in zip(jax.tree.leaves(state.ema), jax.tree.leaves(expected.ema), strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=0, atol=1e-10)


def test_a_call_takes_at_most_so_many_steps():
    runner = Runner(lambda reduce: None, "none", batch_size=16, steps_per_call=2)
    with pytest.raises(jflows.InvalidValueError, match="`batches` must hold at most steps_per_call=2 steps; got 3"):
        runner.run(None, batches())


def test_the_batch_must_divide_by_the_devices():
    with pytest.raises(jflows.InvalidValueError, match="multiple of the 8 devices; got 12"):
        Runner(lambda reduce: None, "jit", batch_size=12, steps_per_call=1)


def test_unknown_mode_is_refused():
    with pytest.raises(jflows.InvalidValueError, match="must be one of 'none', 'jit', 'pmap', 'shard_map'; got 'ddp'"):
        Runner(lambda reduce: None, "ddp", batch_size=16, steps_per_call=1)

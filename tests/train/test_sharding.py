"""Every way to run a step on eight devices gives the step of one device, under SGD: Adam would hide a wrong factor."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.flows.division import LEAST_BYTES, division_of
from jflows.runs import RunDirectory
from jflows.train import FunctionLoss, NegativeLogLikelihood, Runner, init_state, make_train_step
from jflows.train.monitor import Standing
from jflows.train.sharding import DIVIDED, PARALLEL_MODES
from jflows.train.step import TrainState
from jflows.typing import Batch
from tests.train.checkpointing import assert_same

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
    variables = flow.init(jax.random.key(0), jax.device_put(batches().x[0]))
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
        pytest.param(accumulate, mode, marks=[pytest.mark.slow] if accumulate > 1 or mode == "fsdp" else [])
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
    runner = Runner(lambda reduce=None: None, "none", batch_size=16, steps_per_call=2)
    with pytest.raises(jflows.InvalidValueError, match="`batches` must hold at most steps_per_call=2 steps; got 3"):
        runner.run(None, batches())


def test_the_batch_must_divide_by_the_devices():
    with pytest.raises(
        jflows.InvalidValueError, match="multiple of the 8 devices; got 12. Change it, or set parallel=none"
    ):
        Runner(lambda reduce=None: None, "jit", batch_size=12, steps_per_call=1)


def test_unknown_mode_is_refused():
    with pytest.raises(jflows.InvalidValueError, match="must be one of 'none', 'jit', 'fsdp', 'pmap', .*; got 'ddp'"):
        Runner(lambda reduce=None: None, "ddp", batch_size=16, steps_per_call=1)


WIDE = jflows.realnvp((8,), num_layers=4, hidden_sizes=(64, 64))  # its kernels have 64 KiB and more


def wide_batches() -> Batch:
    x = np.random.default_rng(1).normal(size=(STEPS, 16, 8))
    index = np.arange(STEPS * 16, dtype=np.uint32).reshape(STEPS, 16)
    return Batch(x, None, np.ones((STEPS, 16), np.float32), index)


@functools.cache
def wide_start(optimizer) -> TrainState:
    variables = WIDE.init(jax.random.key(0), jax.device_put(wide_batches().x[0]))
    return init_state(jax.tree.map(lambda leaf: leaf.astype(float), variables), optimizer, jax.random.key(1))


def wide_runner(parallel: str, optimizer, num: int) -> Runner:
    make_step = functools.partial(make_train_step, WIDE, optimizer, NegativeLogLikelihood())
    return Runner(make_step, parallel, 16, STEPS, jax.devices()[:num])


ADAM, SGD = optax.adam(1e-3), optax.sgd(1e-3)


def test_each_device_holds_its_share_of_parameters_average_and_moments():
    start, shares = wide_start(ADAM), {}
    divided = {name: getattr(start, name) for name in DIVIDED}
    small = division_of(jax.tree.map(lambda leaf: leaf if leaf.nbytes < LEAST_BYTES else leaf[:0], divided), 1).bytes
    for num in (1, 2, 4, 8):
        runner = wide_runner("fsdp", ADAM, num)
        state = runner.put_state(start)
        held = sum(
            leaf.addressable_shards[0].data.nbytes
            for leaf in jax.tree.leaves([state.params, state.ema, state.opt_state])
        )
        assert held == division_of(divided, num).device_bytes
        shares[num] = held - small
        rest = sum(leaf[:, : 16 // num].nbytes for leaf in jax.tree.leaves(wide_batches()))
        planned = runner.compile(state, wide_batches()).in_place
        assert held < planned <= held + rest + 1024  # the counters, a key, and padding
    assert shares == {num: shares[1] // num for num in shares} and shares[1] > small
    assert division_of(divided, 8).whole == ()


def test_divided_states_take_the_steps_of_whole_ones():
    found = {}
    for parallel in ("jit", "fsdp"):
        runner = wide_runner(parallel, SGD, 8)
        found[parallel] = runner.run(runner.put_state(jax.tree.map(jnp.copy, wide_start(SGD))), wide_batches())
    (whole, expected), (divided, obtained) = found["jit"], found["fsdp"]
    np.testing.assert_allclose(obtained["loss"], expected["loss"], rtol=1e-12)
    for name in ("params", "ema"):
        for a, b in zip(*(jax.tree.leaves(getattr(state, name)) for state in (divided, whole)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    places = jax.tree.leaves(runner.shardings_of(divided))
    assert [leaf.sharding for leaf in jax.tree.leaves(divided)] == places  # from call to call, so that none compiles
    assert sum(not place.is_fully_replicated for place in places) == 2  # the largest kernel and its average


def test_a_divided_state_is_restored_by_other_numbers_of_devices_bit_for_bit(tmp_path):
    runner = wide_runner("fsdp", ADAM, 8)
    state = runner.put_state(wide_start(ADAM))
    RunDirectory.create(tmp_path, WIDE).save(0, state, Standing())
    shapes = jax.eval_shape(lambda: wide_start(ADAM))
    for parallel, num in (("fsdp", 8), ("fsdp", 4), ("fsdp", 1), ("jit", 2), ("none", 1), ("pmap", 8)):
        other = wide_runner(parallel, ADAM, num)
        found = RunDirectory.resume(tmp_path, WIDE).restore(other.shapes_of(shapes))
        assert_same(found, state)
        if parallel == "fsdp":  # no device ever holds more than its share
            assert [leaf.sharding for leaf in jax.tree.leaves(found)] == jax.tree.leaves(other.shardings_of(found))


def test_fit_divides_the_state_from_the_start_and_goes_on_with_it(tmp_path):
    rows = jflows.data.TableData("rows", np.asarray(wide_batches().x.reshape(-1, 8), np.float32))
    config = jflows.TrainConfig(steps=2, batch_size=16, parallel="fsdp", log_every=2)
    jflows.fit(WIDE, rows, config, run=RunDirectory.create(tmp_path, WIDE))
    result = jflows.fit(WIDE, rows, dataclasses.replace(config, steps=4), run=RunDirectory.resume(tmp_path, WIDE))
    assert result.step == 4 and len(result.history) == 1
    for tree in (result.state.params, result.state.ema, result.state.opt_state, result.variables["params"]):
        assert division_of(tree, 8).device_bytes == sum(
            leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree)
        )

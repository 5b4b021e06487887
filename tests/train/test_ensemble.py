"""Members of an ensemble end as single runs with their seeds do, whatever happens to the others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.data import TrainBatches
from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.processes import together
from jflows.runs import RunDirectory
from jflows.train import (
    FunctionLoss,
    NegativeLogLikelihood,
    TrainConfig,
    fit,
    fit_ensemble,
    init_state,
    make_train_step,
)
from jflows.train.ensemble import step_of_members
from jflows.train.sharding import Runner
from tests.train.checkpointing import assert_same

FLOW = jflows.realnvp((2,), num_layers=2, hidden_sizes=(8,))
OF_IMAGES = jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4)
ROWS = jflows.data.TableData("rows", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
CONFIG = TrainConfig(steps=10, batch_size=16, log_every=5, seed=3, parallel="none")


@pytest.fixture
def sgd(monkeypatch):
    """Adam would hide a wrong factor."""
    monkeypatch.setattr(TrainConfig, "make_optimizer", lambda self, steps: optax.sgd(1e-2))


def alike(obtained, wanted, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(obtained), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def images() -> jflows.data.ImageData:
    return jflows.data.ImageData("images", np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1)).astype(np.uint8))


@pytest.mark.parametrize(
    ("parallel", "num", "flow", "rows"),
    [
        ("none", 3, FLOW, lambda: ROWS),
        ("none", 2, OF_IMAGES, images),
        *((parallel, 2, FLOW, lambda: ROWS) for parallel in ("jit", "fsdp", "pmap", "shard_map")),
    ],
    ids=["rows", "images", "jit", "fsdp", "pmap", "shard_map"],
)
@pytest.mark.by_default("rows")
def test_members_equal_single_runs(parallel, num, flow, rows, sgd):
    config = dataclasses.replace(CONFIG, parallel=parallel)
    found = fit_ensemble(flow, rows(), config, num)
    for k, result in enumerate(found):
        alone = fit(flow, rows(), dataclasses.replace(CONFIG, seed=3 + k))
        assert result.step == alone.step == 10
        alike(result.variables, alone.variables)
        alike(result.state.params, alone.state.params)
        assert [entry["loss"] for entry in result.history] == pytest.approx([entry["loss"] for entry in alone.history])
    first, second = (jax.tree.leaves(result.state.params)[0] for result in found[:2])
    assert np.abs(first - second).max() > 1e-3


def program(flow, rows, num: int | None) -> str:
    """The lowered step of an ensemble, or of one flow."""
    batch = jax.tree.map(lambda leaf: leaf[0], TrainBatches(rows, 16, 0, flow.reading).at(0))
    optimizer = TrainConfig().make_optimizer(10)
    state = jax.eval_shape(
        lambda: init_state(flow.init(jax.random.key(0), jnp.asarray(batch.x)), optimizer, jax.random.key(1))
    )
    make_step = functools.partial(make_train_step, flow, optimizer, NegativeLogLikelihood())
    if num is None:
        return jax.jit(make_step()).lower(state, batch).as_text()
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num, *leaf.shape), leaf.dtype), state)
    batch = jax.tree.map(lambda leaf: np.stack([leaf] * num, axis=1), batch)
    return jax.jit(step_of_members(make_step, flow)).lower(state, batch).as_text()


@pytest.mark.parametrize(
    "flow", [FLOW, jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4)], ids=["rows", "images"]
)
def test_the_program_of_an_ensemble_does_not_grow_with_its_members(flow):
    rows = ROWS if flow is FLOW else images()
    one, two, five = (program(flow, rows, num).count("\n") for num in (None, 2, 5))
    assert two == five <= 1.3 * one


def poisoned(seed: int):
    """A loss that is not finite for the member with this key, from step 5 on."""
    _, key = jax.random.split(jax.random.key(seed))

    def loss(flow, variables, batch, key_of_member, step):
        losses, updates = NegativeLogLikelihood()(flow, variables, batch, key_of_member, step)
        same = jnp.all(jax.random.key_data(key_of_member) == jax.random.key_data(key))
        return jnp.where(same & (step >= 5), jnp.nan, losses), updates

    return FunctionLoss(loss)


@functools.cache
def alone():
    """What the first member ends with by itself."""
    return fit(FLOW, ROWS, CONFIG).variables


@pytest.mark.first
def test_members_skip_alone():
    with pytest.warns(RuntimeWarning, match="fit, step 5: the loss or its gradient was not finite"):
        first, second = fit_ensemble(FLOW, ROWS, CONFIG, 2, loss=poisoned(4))
    assert (int(first.state.skipped), int(second.state.skipped)) == (0, 5)
    alike(first.variables, alone())


def test_members_fail_alone():
    first, second = fit_ensemble(FLOW, ROWS, dataclasses.replace(CONFIG, max_skipped=5), 2, loss=poisoned(4))
    alike(first.variables, alone())
    assert isinstance(second, RunError) and "5 steps in a row" in str(second)


def test_an_ensemble_of_which_all_members_fail_ends_with_an_error(monkeypatch):
    nan = FunctionLoss(lambda flow, variables, batch, key, step: (jnp.full(len(batch.index), jnp.nan), {}))
    taken, run = [], Runner.run
    monkeypatch.setattr(Runner, "run", lambda *given: taken.append(1) or run(*given))
    with pytest.raises(RunError, match="in a row"):
        fit_ensemble(FLOW, ROWS, dataclasses.replace(CONFIG, max_skipped=2, steps=50), 2, loss=nan)
    assert len(taken) == 1  # nothing is computed for members that have failed


class Stop:
    """An event that is set after so many looks at it."""

    def __init__(self, looks: int):
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def opened(folder, how="create"):
    return [getattr(RunDirectory, how)(folder / f"seed_{3 + k}", FLOW) for k in range(2)]


SCORED = dataclasses.replace(CONFIG, steps=12, log_every=2, eval_every=2, checkpoint_every=4, patience=2)


def test_a_stopped_ensemble_goes_on_bit_for_bit_and_members_end_by_their_own_patience(tmp_path):
    config = dataclasses.replace(SCORED, learning_rate=0.1, ema_decay=0.0, warmup_steps=0)
    options = {"validation": ROWS.take(np.arange(16))}
    whole = fit_ensemble(FLOW, ROWS, config, 2, runs=opened(tmp_path / "whole"), **options)
    stopped = fit_ensemble(FLOW, ROWS, config, 2, runs=opened(tmp_path / "parts"), stop=Stop(4), **options)
    assert [(int(result.state.step), result.interrupted) for result in stopped] == [(6, False), (8, True)]
    again = fit_ensemble(FLOW, ROWS, config, 2, runs=opened(tmp_path / "parts", "resume"), **options)
    for obtained, wanted in zip(again, whole, strict=True):
        assert_same((obtained.step, obtained.state), (wanted.step, wanted.state))
    assert [int(result.state.step) for result in whole] == [6, 12]
    for k, result in enumerate(whole):
        alone = fit(FLOW, ROWS, dataclasses.replace(config, seed=3 + k), **options)
        assert (result.step, int(result.state.step)) == (alone.step, int(alone.state.step))
        alike(result.variables, alone.variables)


def test_members_that_stand_at_different_steps(tmp_path):
    config = dataclasses.replace(CONFIG, checkpoint_every=5)
    whole = fit_ensemble(FLOW, ROWS, config, 2, runs=opened(tmp_path))
    (tmp_path / "seed_4" / "checkpoints" / "10").rename(tmp_path / "10")  # as if killed when one member was saved
    again = fit_ensemble(FLOW, ROWS, config, 2, runs=opened(tmp_path, "resume"))
    for obtained, wanted in zip(again, whole, strict=True):
        assert_same(obtained.state, wanted.state)
    longer = dataclasses.replace(config, steps=30)
    fit_ensemble(FLOW, ROWS, longer, 2, runs=opened(tmp_path, "resume"))
    new = [opened(tmp_path, "resume")[0], RunDirectory.create(tmp_path / "seed_5", FLOW)]
    with pytest.raises(RunError, match="must be members that stand at one step; got steps 0, 30. Resume as many"):
        fit_ensemble(FLOW, ROWS, longer, 2, runs=new)


@pytest.mark.parametrize(
    ("num", "options", "message"),
    [
        (1, {}, "fit_ensemble: `num` must be 2 to 1000; got 1"),
        (3, {"runs": []}, "`runs` must be one for each of the 3 members; got 0"),
        (3, {"data": [ROWS]}, "`data` must be one for each of the 3 members; got 1"),
        (
            2,
            {"data": [ROWS, ROWS.take(np.arange(99))]},
            "`data` must have as many rows .*; got 99 and 200. Train these",
        ),
    ],
)
def test_bad_arguments_are_refused(num, options, message):
    with pytest.raises(InvalidValueError, match=message):
        fit_ensemble(FLOW, **{"data": ROWS, "config": CONFIG, "num": num, **options})


@pytest.mark.parametrize("data", [None, np.zeros((200, 2))])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(InvalidTypeError, match="`data` must be TableData, ImageData or NoData"):
        fit_ensemble(FLOW, data, CONFIG, 2)


def test_many_processes_train_no_ensemble(monkeypatch):
    monkeypatch.setattr(together, "count", lambda: 2)
    with pytest.raises(InvalidValueError, match="fit_ensemble: `num` must be trained by one process; got 2. Train"):
        fit_ensemble(FLOW, ROWS, CONFIG, 2)

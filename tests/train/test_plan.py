"""The planned memory of a training step is that of the program that `fit` compiles, and falls with the devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.data import TrainBatches
from jflows.flows.division import division_of
from jflows.train import NegativeLogLikelihood, Runner, TrainConfig, init_state, make_train_step, plan_step
from jflows.train.losses import reverse_kl

FLOW = jflows.realnvp((8,), num_layers=4, hidden_sizes=(128, 128))
ROWS = jflows.data.TableData("rows", np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))


def config(parallel: str) -> TrainConfig:
    return TrainConfig(steps=4, batch_size=16, parallel=parallel)


@pytest.mark.parametrize("parallel", ["jit", "fsdp", "pmap", "none"])
@pytest.mark.by_default("fsdp")
def test_the_plan_is_that_of_the_program_that_fit_compiles(parallel):
    planned, settings = plan_step(FLOW, config(parallel)), config(parallel)
    optimizer = settings.make_optimizer(4)
    make_step = functools.partial(make_train_step, FLOW, optimizer, NegativeLogLikelihood())
    runner = Runner(make_step, parallel, 16, settings.longest_call(4))
    variables = FLOW.init(jax.random.key(0), jax.device_put(ROWS.x))
    state = runner.put_state(init_state(variables, optimizer, jax.random.key(0)))
    made = runner.compile(state, TrainBatches(ROWS, 16, 0, FLOW.reading).at(0, 4))
    assert planned.total_bytes == made.planned_bytes
    held = division_of((state.params, state.ema, state.opt_state), 8 if parallel == "fsdp" else 1)
    if parallel in ("jit", "fsdp"):
        assert planned.state_bytes == held.device_bytes and planned.num_devices == 8
    assert planned.whole == ()


def test_a_plan_in_words():
    planned = plan_step(jflows.realnvp((8,), num_layers=2, hidden_sizes=(130, 131)), config("fsdp"))
    number = r"[\d.]+ [kM]?B"
    text = (
        rf"A training step of 16 rows plans {number} on each of 8 devices \(parallel=fsdp\): {number} of parameters, "
    )
    text += (
        rf"average and optimizer, {number} of batches, and {number} of temporaries. On all devices stay whole, as 8 "
    )
    assert re.match(text + r"divides none of their axes: bijector/.*kernel\.$", repr(planned))


def test_a_loss_that_draws_its_own_samples_is_planned_without_data():
    loss = reverse_kl(lambda x: -jnp.sum(x**2, axis=-1))
    assert plan_step(jflows.iaf((2,), 1, (8,)), config("none"), loss).temporary_bytes > 0


def test_a_summary_tells_what_each_device_holds():
    text = repr(FLOW.summary(batch_size=4, num_devices=8))
    found = re.search(r"Training holds ([\d.]+) MB beside it: .* each of 8 devices holds ([\d.]+) MB of these\.$", text)
    assert found and float(found[1]) > 4 * float(found[2])
    assert repr(FLOW.summary(batch_size=4)).endswith("parameters, their average, and two moments of Adam.")
    uneven = jflows.realnvp((8,), num_layers=2, hidden_sizes=(130, 131)).summary(batch_size=4, num_devices=8)
    assert re.search(r"Whole on each of them, as 8 divides none of their axes: bijector/.*kernel\.$", repr(uneven))
    with pytest.raises(jflows.InvalidValueError, match="`num_devices` must be at least 1; got 0"):
        FLOW.summary(num_devices=0)

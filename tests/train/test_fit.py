"""The loop: learning, resuming bit for bit, one compilation, and runs that must stop."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import threading
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import ImageData, TableData
from jflows.distributions import StandardNormal
from jflows.flows import UniformDequantize, mixture_of_flows
from jflows.nn import MLP
from jflows.options import settings_of
from jflows.runs import RunDirectory, load, read_config, read_metrics
from jflows.runs.metrics import line_of
from jflows.testing import find_non_finite
from jflows.train import LOSSES, FunctionLoss, Runner, TrainConfig, fit
from jflows.train import progress as bars
from jflows.train.sharding import Compiled

CONFIG = TrainConfig(
    steps=12,
    batch_size=8,
    warmup_steps=2,
    learning_rate=1e-2,
    log_every=4,
    checkpoint_every=4,
    init_batch=32,
    eval_batch_size=16,
    parallel="none",
)


def images(num: int = 37, **options) -> ImageData:
    x = np.random.default_rng(0).integers(0, 60, (num, 4, 4, 1)).astype(np.uint8)
    return ImageData("ramp", x, np.arange(num, dtype=np.int32) % 3, num_classes=3, **options)


def glow(**options) -> jflows.Flow:
    return jflows.glow((4, 4, 1), num_levels=1, num_steps=2, width=4, **options)


def train(directory, config=CONFIG, resume=False, **options):
    open_run = RunDirectory.resume if resume else RunDirectory.create
    run = open_run(directory, glow(), dataclasses.asdict(config))
    return fit(glow(), images(), config, run=run, **options)


def leaves(state):
    return jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, train(directory, validation=images(16))


def test_fit_learns_and_records(finished):
    directory, result = finished
    lines = read_metrics(directory)
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert lines == result.history
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["validation_nll"] == pytest.approx(lines[-1]["validation_bits_per_dim"] * 16 * np.log(2))
    assert lines[-1]["bits_per_dim"] == pytest.approx(lines[-1]["loss"] / (16 * np.log(2)))
    assert ["compile_seconds" in line for line in lines] == [True, False, False]
    assert lines[0]["epoch"] == pytest.approx(4 * 8 / 37, abs=1e-4)


def test_load_needs_the_directory_alone(finished):
    directory, result = finished
    flow, variables = load(directory)
    assert flow == glow()
    for obtained, wanted in zip(jax.tree.leaves(variables), jax.tree.leaves(result.variables), strict=True):
        np.testing.assert_array_equal(obtained, wanted)
    _, last = load(directory, weights="params")
    for obtained, wanted in zip(jax.tree.leaves(last["params"]), jax.tree.leaves(result.state.params), strict=True):
        np.testing.assert_array_equal(obtained, wanted)
    assert load(directory, checkpoint="best")[0] == flow
    assert load(directory, checkpoint=8)[0] == flow


@pytest.mark.slow
def test_resumed_run_equals_one_that_never_stopped(finished, tmp_path):
    """Stopped after 8 of 12 steps by SIGTERM, then resumed: every number of the state is the same."""

    def stop(metrics):
        if metrics["step"] == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    first = train(tmp_path, callback=stop)
    assert first.interrupted
    assert int(first.state.step) == 8
    second = train(tmp_path, resume=True)
    assert not second.interrupted
    for obtained, wanted in zip(leaves(second.state), leaves(finished[1].state), strict=True):
        np.testing.assert_array_equal(obtained, wanted)
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8, 12]


def test_a_training_compiles_few_programs():
    """A single operation on an array of a new shape is a program too; a dozen of them take longer than a step."""
    compiled, listening = [], [True]

    def listen(event, seconds, **facts):
        if listening and event.endswith("backend_compile_duration"):
            compiled.append(facts["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    rows = np.random.default_rng(0).normal(size=(53, 3))
    config = TrainConfig(steps=6, batch_size=17, log_every=3, eval_every=3, warmup_steps=2, parallel="none")
    fit(jflows.nice((3,), 1, (7,)), TableData("rows", rows), config, validation=TableData("rows", rows[:19]))
    listening.clear()
    assert [name for name in compiled if "take_steps" in name] == ["jit(_take_steps)"]
    assert len(compiled) <= 10, compiled


@pytest.mark.slow
def test_compilation_happens_before_the_first_interval(monkeypatch, caplog):
    """The first line's `examples_per_second` is that of training: no call of the runner compiles."""
    compiled = []
    run = Runner.run

    def watched(*args):
        with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):  # the command quiets it
            caplog.clear()
            result = run(*args)
            compiled.extend(text for text in caplog.messages if "Finished XLA compilation" in text)
        return result

    config = TrainConfig(steps=4, batch_size=4, log_every=2, checkpoint_every=4, parallel="none")
    table = TableData("rows", np.random.RandomState(0).randn(8, 2))
    monkeypatch.setattr(Runner, "run", watched)
    fit(jflows.nice((2,), 1, (3,)), table, config)
    assert compiled == []
    monkeypatch.setattr(Runner, "compile", lambda *_: Compiled(0.0, 0))
    fit(jflows.nice((2,), 1, (5,)), table, config)  # of another width, or the program of the first would serve
    assert compiled  # this is what the test would see


@pytest.mark.slow
def test_resume_drops_metrics_of_steps_that_are_taken_again(tmp_path):
    train(tmp_path, dataclasses.replace(CONFIG, steps=8))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(line_of({"step": 10}, json.loads(lines[-1])["crc32"])[0] + '{"step": 1')
    train(tmp_path, dataclasses.replace(CONFIG, steps=8), resume=True)
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8]


def test_resume_refuses_other_settings(finished):
    directory, _ = finished
    changed = dataclasses.asdict(dataclasses.replace(CONFIG, learning_rate=0.1))
    with pytest.raises(jflows.RunError, match="`learning_rate` must be as in the run; got 0.01 -> 0.1"):
        RunDirectory.resume(directory, glow(), changed)
    assert RunDirectory.resume(directory, glow(), dataclasses.asdict(CONFIG), may_differ=("steps",))


def test_a_run_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(jflows.RunError, match="must be a run directory; got .*Train one: `jflows train glow_mnist`"):
        load(tmp_path / "absent" / "mine")
    for index in range(9):
        (tmp_path / f"glow_{index}" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(jflows.RunError, match=rf"Runs there: {tmp_path}/glow_0, .*/glow_7 and 1 more\.$"):
        load(tmp_path / "mine")
    with pytest.raises(jflows.RunError, match=rf"Did you mean {tmp_path}/glow_8 or ") as error:
        read_config(tmp_path / "glw_8")
    assert "other" not in str(error.value)


def test_a_used_directory_is_refused(finished):
    directory, _ = finished
    with pytest.raises(jflows.RunError, match="resume=True"):
        RunDirectory.create(directory, glow(), dataclasses.asdict(CONFIG))


def test_a_run_that_is_never_finite_ends_with_the_layer():
    config = dataclasses.replace(CONFIG, max_skipped=4)
    broken = FunctionLoss(lambda flow, variables, batch, key, step: (batch.weight * float("nan"), {}))
    with pytest.raises(jflows.RunError) as error:
        fit(glow(), images(), config, loss=broken)
    text = str(error.value)
    assert "4 steps in a row" in text
    assert "largest activation" in text
    assert "bijector/" in text
    assert "\n" not in text


@pytest.mark.slow
def test_reconstruction_is_watched_with_invertible_backprop():
    flow = glow(backprop="invertible")
    assert fit(flow, images(), CONFIG).history[-1]["reconstruction_error"] < 1e-6
    strict = dataclasses.replace(CONFIG, max_reconstruction_error=1e-30)
    with pytest.raises(jflows.RunError, match="max_reconstruction_error=1e-30"):
        fit(flow, images(), strict)


def test_class_labels_reach_the_flow():
    flow = glow(num_classes=3)
    result = fit(flow, images(), CONFIG)
    labels = np.zeros(16, np.int32)
    log_prob = jax.jit(flow.log_prob)
    scores = [log_prob(result.variables, images(16).x, labels + label) for label in range(2)]
    assert not np.allclose(scores[0], scores[1])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(steps=-1), "`steps` must be at least 0; got -1"),
        (dict(epochs=2.0), "`steps, epochs` must not both be given; got 12 and 2.0. Set steps=0 to count epochs"),
        (dict(parallel="ddp"), "`parallel` must be one of"),
        (dict(warmup_steps=-1), "`warmup_steps` must be at least 0; got -1"),
        (dict(warmup_epochs=0.5), "`warmup_epochs` must be at most epochs=0, the length of the run; got 0.5. Set"),
        (dict(steps=0, epochs=1, warmup_epochs=2), "must be at most epochs=1, the length of the run; got 2. Lower it"),
        (dict(accumulate=3), "`accumulate` must divide batch_size=8; got 3"),
        (dict(clip_norm=-1.0), "`clip_norm` must be at least 0; got -1.0"),
        (dict(weight_decay=0.1), "`weight_decay` must be 0 with optimizer=adam; got 0.1"),
    ],
)
def test_config_is_checked(change, message):
    with pytest.raises(jflows.InvalidValueError) as error:
        dataclasses.replace(CONFIG, **change)
    assert message in str(error.value)


def test_help_explains_every_setting():
    text = TrainConfig.__doc__
    for setting in settings_of(TrainConfig):
        assert f"  {setting.name}: {setting.option.help.split()[0]}" in text
        assert setting.option.help[0].isupper() and setting.option.help[-1] == "."


@pytest.mark.parametrize(
    ("change", "steps"), [(dict(), 1000), (dict(steps=7), 7), (dict(epochs=1), 13), (dict(epochs=0.001), 1)]
)
def test_steps_or_epochs_say_how_long(change, steps):
    assert TrainConfig(batch_size=8, **change).total_steps(100) == steps


MOONS = TableData("rows", np.random.RandomState(0).randn(64, 2))
QUICK = TrainConfig(steps=101, batch_size=8, log_every=20, init_batch=64, parallel="none")


def tiny() -> jflows.Flow:
    return jflows.nice((2,), 1, (3,))


@pytest.mark.parametrize(
    "change",
    [
        dict(log_every=7, checkpoint_every=13),
        dict(log_every=1, steps_per_call=1),
        dict(log_every=101, steps_per_call=1000),
        dict(log_every=101, steps_per_call=30, eval_every=17),
    ],
)
@pytest.mark.by_default("change0")
def test_intervals_do_not_change_the_result(change, monkeypatch):
    """Any number of steps, by one program: calls are as long as the intervals allow, and the bits are the same."""
    lengths, run = [], Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, state, b: lengths.append(len(b.index)) or run(self, state, b))
    plain = fit(tiny(), MOONS, QUICK)
    assert lengths == [20] * 5 + [1]
    lengths.clear()
    config = dataclasses.replace(QUICK, **change)
    other = fit(tiny(), MOONS, config, validation=MOONS)
    jax.tree.map(np.testing.assert_array_equal, plain.state.params, other.state.params)
    ends = {s for s in range(1, 102) for every in (config.log_every, config.checkpoint_every) if s % every == 0}
    ends |= {s for s in range(1, 102) if config.eval_every and s % config.eval_every == 0} | {101}
    assert sum(lengths) == 101 and ends <= set(np.cumsum(lengths))
    assert len(lengths) <= len(ends) + 101 // config.steps_per_call + 1


def test_a_prime_interval_is_cut_evenly():
    """51 steps in calls of at most 50 are two of about half: no call is filled up for a single step."""
    lengths, run = [], Runner.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "run", lambda self, state, b: lengths.append(len(b.index)) or run(self, state, b))
        fit(tiny(), MOONS, dataclasses.replace(QUICK, steps=102, log_every=51))
    assert lengths == [26, 25, 26, 25]


@pytest.mark.first
def test_a_flow_without_parameters_has_nothing_to_train():
    flow = jflows.Flow(b.Reverse(), StandardNormal((2,)), (2,))
    with pytest.raises(jflows.InvalidValueError, match="fit: `flow` must have parameters to train; got one whose bij"):
        fit(flow, MOONS, QUICK)
    variables = flow.init(jax.random.key(0), MOONS.x)
    assert find_non_finite(flow.log_prob, variables, MOONS.x) is None
    assert find_non_finite(flow.log_prob, variables, MOONS.x * np.nan).startswith("bijector/Reverse")


def test_an_event_given_from_outside_stops_the_run(tmp_path):
    """The handler of SIGTERM is then left to who gave it."""
    stop, handler = threading.Event(), signal.getsignal(signal.SIGTERM)
    seen = []

    def callback(entry):
        seen.append(signal.getsignal(signal.SIGTERM))
        if entry["step"] == 40:
            stop.set()

    run = RunDirectory.create(tmp_path, tiny(), dataclasses.asdict(QUICK))
    result = fit(tiny(), MOONS, QUICK, run=run, callback=callback, stop=stop)
    assert result.interrupted and result.step == 40 and run.saved_steps() == [40]
    assert seen == [handler] * 2
    again = fit(tiny(), MOONS, QUICK, run=RunDirectory.resume(tmp_path, tiny(), dataclasses.asdict(QUICK)))
    whole = fit(tiny(), MOONS, QUICK)
    jax.tree.map(np.testing.assert_array_equal, again.state.params, whole.state.params)


class Log(b.SameShape):
    """A map of one's own that does not state its domain."""

    event_ndims: ClassVar[int] = 1

    def _forward_and_log_det(self, z, context):
        return jnp.exp(z), jnp.sum(z, axis=-1)

    def _inverse_and_log_det(self, x, context):
        return jnp.log(x), -jnp.sum(jnp.log(x), axis=-1)


@pytest.mark.first
def test_a_step_that_is_not_finite_is_warned_of_once():
    """By row, column and layer."""
    x = 1 + np.random.RandomState(0).rand(32, 2).astype(np.float32)
    x[5, 1] = -1.0  # has no logarithm
    layers = b.Chain((b.ActNorm(), Log()))
    flow = jflows.Flow(layers, StandardNormal((2,)), (2,))
    variables = flow.init(jax.random.key(0), np.delete(x, 5, axis=0))
    config = dataclasses.replace(QUICK, steps=40, log_every=10, batch_size=4)
    with pytest.warns(RuntimeWarning) as caught:
        result = fit(flow, TableData("rows", x), config, variables=variables)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "the loss is not finite at row 5 of the training data, column 1, first in " in text
    assert "bijector/layers_1/Log.inverse_and_log_det" in text
    assert [entry["skipped"] for entry in result.history][-1] == 5  # in each of the five epochs


def test_a_derivative_that_is_not_finite_is_named():
    def rootlike(flow, variables, batch, key, step):
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variables["params"]))
        return batch.weight * jnp.sqrt(0 * total), {}  # 0, of infinite slope

    config = dataclasses.replace(QUICK, steps=10)
    error = pytest.raises(jflows.RunError, match="10 steps that were not")
    with pytest.warns(RuntimeWarning, match="the gradient is not finite, first in the parameter bijector/"), error:
        fit(tiny(), MOONS, config, loss=FunctionLoss(rootlike))


@pytest.mark.parametrize(("progress", "watched", "shown"), [(None, True, 1), (None, False, 0), (False, True, 0)])
def test_progress_is_shown_where_someone_watches(progress, watched, shown, monkeypatch):
    calls = []

    @contextlib.contextmanager
    def training(*args):
        calls.append(args)
        yield lambda entry: calls.append(entry["step"])

    monkeypatch.setattr(bars, "training", training)
    monkeypatch.setattr(bars, "is_watched", lambda: watched)
    fit(tiny(), MOONS, dataclasses.replace(QUICK, steps=20), progress=progress)
    assert calls == [(20, 0, "rows", "nats"), 20] * shown


def test_losses_without_a_unit_claim_no_bits():
    pixels = jflows.Flow(b.ActNorm(3), StandardNormal((4, 4, 1)), (4, 4, 1), dequantize=UniformDequantize(8))
    config = dataclasses.replace(CONFIG, steps=4)

    def nll(flow, variables, batch, key, step):
        return -flow.log_prob(variables, batch.x), {}

    assert "bits_per_dim" not in fit(pixels, images(), config, loss=FunctionLoss(nll)).history[-1]
    assert fit(pixels, images(), config, loss=FunctionLoss(nll, in_nats=True)).history[-1]["bits_per_dim"] > 0
    assert "bits_per_dim" not in fit(tiny(), MOONS, dataclasses.replace(QUICK, steps=4)).history[-1]


def test_what_a_loss_returns_is_checked():
    mean = FunctionLoss(lambda flow, variables, batch, key, step: (jnp.zeros(()), {}))
    with pytest.raises(
        jflows.InvalidValueError, match=r"FunctionLoss: `loss` must give one number per row, shape \(8,\)"
    ):
        fit(tiny(), MOONS, QUICK, loss=mean)
    alone = FunctionLoss(lambda flow, variables, batch, key, step: jnp.zeros(8))
    with pytest.raises(
        jflows.InvalidTypeError, match="`function` must return .one number per row, updated collections"
    ):
        fit(tiny(), MOONS, QUICK, loss=alone)
    with pytest.raises(jflows.InvalidTypeError, match="FlowMatching: `flow` must be a Flow with a Continuous bijector"):
        fit(tiny(), MOONS, QUICK, loss=LOSSES["flow_matching"]())


@pytest.mark.parametrize("trunk", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_mixture_with_invertible_components_is_trained(trunk):
    part = lambda: jflows.realnvp((2,), 2, (4,), backprop="invertible")
    mixture = mixture_of_flows(part(), MLP((4,)), 2, trunk=part() if trunk else None)
    entry = fit(mixture, MOONS, dataclasses.replace(QUICK, steps=20)).history[-1]
    assert 0 < entry["reconstruction_error"] < 1e-4

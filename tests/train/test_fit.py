"""The loop: learning, resuming bit for bit, one compilation, and runs that must stop."""

import dataclasses
import json
import logging
import os
import signal

import jax
import numpy as np
import pytest

import jflows
from jflows.data import ImageData, TableData
from jflows.train import GlowConfig, Run, Runner, TrainConfig, fit, load, read_config, read_metrics

CONFIG = GlowConfig(
    num_levels=1,
    num_steps=(2,),
    width=4,
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


def train(directory, config=CONFIG, resume=False, **options):
    flow = config.build((4, 4, 1), 3)
    open_run = Run.resume if resume else Run.create
    run = open_run(directory, flow, config.to_json())
    return fit(flow, images(), config, run=run, **options)


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
    assert lines[-1]["validation_bits_per_dim"] > 0
    assert ["compile_seconds" in line for line in lines] == [True, False, False]
    assert lines[0]["epoch"] == pytest.approx(4 * 8 / 37, abs=1e-4)


def test_load_needs_the_directory_alone(finished):
    directory, result = finished
    flow, variables = load(directory)
    assert flow == CONFIG.build((4, 4, 1), 3)
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
    monkeypatch.setattr(Runner, "compile", lambda *_: 0.0)
    fit(jflows.nice((2,), 1, (5,)), table, config)  # of another width, or the program of the first would serve
    assert compiled  # this is what the test would see


@pytest.mark.slow
def test_resume_drops_metrics_of_steps_that_are_taken_again(tmp_path):
    train(tmp_path, dataclasses.replace(CONFIG, steps=8))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10}) + '\n{"step": 1')
    train(tmp_path, dataclasses.replace(CONFIG, steps=8), resume=True)
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8]


def test_resume_refuses_other_settings(finished):
    directory, _ = finished
    flow = CONFIG.build((4, 4, 1), 3)
    with pytest.raises(jflows.RunError, match="`learning_rate` must be as in the run; got 0.01 -> 0.1"):
        Run.resume(directory, flow, dataclasses.replace(CONFIG, learning_rate=0.1).to_json())
    assert Run.resume(directory, flow, dataclasses.replace(CONFIG, steps=12).to_json(), may_differ=("steps",))


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
    with pytest.raises(jflows.RunError, match="--resume"):
        Run.create(directory, CONFIG.build((4, 4, 1), 3), CONFIG.to_json())


def test_a_run_that_is_never_finite_ends_with_the_layer(tmp_path):
    config = dataclasses.replace(CONFIG, max_skipped=4)

    def broken_loss(flow, variables, batch, key):
        return batch.weight * float("nan"), {}

    with pytest.raises(jflows.RunError) as error:
        fit(config.build((4, 4, 1), None), images(), config, loss=broken_loss)
    text = str(error.value)
    assert "4 steps in a row" in text
    assert "largest activation" in text
    assert "bijector/" in text
    assert "\n" not in text


@pytest.mark.slow
def test_reconstruction_is_watched_with_invertible_backprop():
    config = dataclasses.replace(CONFIG, backprop="invertible")
    flow = config.build((4, 4, 1), None)
    assert fit(flow, images(), config).history[-1]["reconstruction_error"] < 1e-6
    strict = dataclasses.replace(config, max_reconstruction_error=1e-30)
    with pytest.raises(jflows.RunError, match="max_reconstruction_error=1e-30"):
        fit(flow, images(), strict)


def test_class_labels_reach_the_flow():
    config = dataclasses.replace(CONFIG, class_conditional=True)
    flow = config.build((4, 4, 1), 3)
    result = fit(flow, images(), config)
    labels = np.zeros(16, np.int32)
    log_prob = jax.jit(flow.log_prob)
    scores = [log_prob(result.variables, images(16).x, labels + label) for label in range(2)]
    assert not np.allclose(scores[0], scores[1])


def test_chunk_divides_every_interval():
    config = dataclasses.replace(CONFIG, steps=600, log_every=20, checkpoint_every=150, steps_per_call=50)
    assert config.chunk == 10


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(steps=0), "`steps` must be positive; got 0"),
        (dict(parallel="ddp"), "`parallel` must be one of"),
        (dict(warmup_steps=-1), "`warmup_steps` must be at least 0; got -1"),
        (dict(accumulate=3), "`accumulate` must divide batch_size=8; got 3"),
        (dict(clip_norm=-1.0), "`clip_norm` must be at least 0; got -1.0"),
    ],
)
def test_config_is_checked(change, message):
    with pytest.raises(jflows.InvalidValueError) as error:
        dataclasses.replace(CONFIG, **change)
    assert message in str(error.value)


def test_conditioning_needs_labels():
    config = dataclasses.replace(CONFIG, class_conditional=True)
    with pytest.raises(jflows.InvalidValueError, match="`class_conditional` needs data with labels"):
        config.build((4, 4, 1), None)

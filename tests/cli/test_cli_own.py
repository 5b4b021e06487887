"""`--import`: presets and bijectors of one's own on the command line; `--start-from`: weights of another run."""

import json

import jax
import numpy as np
import pytest

import jflows as library
from jflows.flows.presets import PRESETS

MODULE = '''
import jax.numpy as jnp
import jflows
from jflows.bijectors import Chain, SameShape
from jflows.distributions import StandardNormal
from jflows.flows.presets import preset, shared as s
from jflows.ops import sum_event
from jflows.options import Ndims


@jflows.register
class OwnAsinh(SameShape):
    event_ndims: Ndims = 1

    def _forward_and_log_det(self, z, context):
        return jnp.sinh(z), sum_event(jnp.log(jnp.cosh(z)), 1)

    def _inverse_and_log_det(self, x, context):
        return jnp.arcsinh(x), sum_event(-0.5 * jnp.log1p(x**2), 1)


@preset
def own_{name}(event_shape: s.EventShape, num_layers: s.NumLayers = 1) -> jflows.Flow:
    """A flow of one's own."""
    from jflows.bijectors import ActNorm

    return jflows.Flow(Chain((ActNorm(), OwnAsinh())), StandardNormal(event_shape), event_shape)
'''
TINY = ("--data", "two_moons", "--num-train", "256", "--steps", "4", "--batch-size", "16", "--init-batch", "32")
TINY += ("--log-every", "4", "--parallel", "none")


@pytest.fixture(scope="module", autouse=True)
def no_run_draws():
    """Pictures take longer than training, and none is looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jflows.runs.running.write_reports", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(MODULE.format(name="flow"))
    yield path
    PRESETS.pop("own_flow", None)


@pytest.fixture(scope="module")
def trained(own, tmp_path_factory, jflows):
    out = tmp_path_factory.mktemp("runs") / "own"
    result = jflows("train", "own_flow", "--import", own, *TINY, "--out", out)
    assert result.exit_code == 0, result.stderr
    return out


def test_every_command_knows_what_a_module_of_ones_own_declares(own, trained, jflows):
    assert json.loads((trained / "config.json").read_text())["flow"]["preset"] == "own_flow"
    for command in (("evaluate", trained), ("sample", trained, "--num", "3"), ("info", trained), ("info", "own_flow")):
        extra = ("--data", "two_moons") if command[1] == "own_flow" else ()
        result = jflows(*command, *extra, f"--import={own}")
        assert result.exit_code == 0, result.stderr


def test_a_module_is_found_in_the_working_directory(tmp_path, monkeypatch, jflows):
    (tmp_path / "some_module_of_mine.py").write_text("raise SystemExit('stop')")
    monkeypatch.chdir(tmp_path)
    result = jflows("compare", "a", "--import", "some_module_of_mine")
    assert result.exit_code == 2
    assert "`some_module_of_mine` must be a module that runs without an error; got SystemExit: stop" in result.stderr
    result = jflows("train", "maf", "--import", "no_such_module")
    assert "must be a module that Python finds here, or the path of a .py file; got 'no_such_module'" in result.stderr
    result = jflows("evaluate", "a", "--import", "missing.py")
    assert "`--import` must be a module, or an existing .py file; got 'missing.py'" in result.stderr


def test_what_is_not_imported_is_named_with_the_option_that_imports_it(trained, jflows, monkeypatch):
    monkeypatch.delitem(PRESETS, "own_flow")
    result = jflows("evaluate", trained)
    assert result.exit_code == 2
    assert "got 'own_flow'" in result.stderr and "--import MODULE" in result.stderr


SMALL = (*TINY, "--num-layers", "1", "--hidden-sizes", "4")


@pytest.fixture(scope="module")
def first(tmp_path_factory, jflows):
    out = tmp_path_factory.mktemp("runs") / "first"
    result = jflows("train", "realnvp", *SMALL, "--out", out)
    assert result.exit_code == 0, result.stderr
    return out


def test_a_run_starts_from_the_weights_of_another(first, tmp_path, jflows):
    out = tmp_path / "second"
    result = jflows("train", "realnvp", *SMALL, "--learning-rate", "1e-30", "--start-from", first, "--out", out)
    assert result.exit_code == 0, result.stderr
    (_, before), (_, after) = library.load(first), library.load(out)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # the average over steps rounds
    jax.tree.map(close, before, after)
    facts = json.loads((out / "config.json").read_text())["facts"]
    assert facts["start_from"] == str(first.resolve())
    again = jflows("train", "--config", out, "--steps", "1", "--out", tmp_path / "third")
    assert again.exit_code == 0 and f"pass start_from ({first.resolve()}) to do so again" in again.stderr


def test_a_run_of_another_flow_is_no_place_to_start_from(first, tmp_path, jflows):
    given = ("--start-from", first, "--out", tmp_path / "run")
    for options, message in {
        ("--scale", "exp"): "`--start-from` must be a run of the same flow as is to be trained",
        ("--resume",): "",
        ("--restarts", "2"): "`--start-from` is for a single run, not for a study",
    }.items():
        result = jflows("train", "realnvp", *SMALL, *options, *given)
        assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.stderr
    result = jflows("train", "nice", "--data", "two_moons", *given)
    assert result.exit_code == 2 and "got flow = 'realnvp' there and 'nice' here. Give both" in result.stderr
    result = jflows("train", "realnvp", *SMALL, "--start-from", tmp_path / "none", "--out", tmp_path / "run")
    assert (
        result.exit_code == 2
        and len(result.stderr.splitlines()) == 1
        and "`--start-from` must be a run dir" in result.stderr
    )

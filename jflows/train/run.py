"""The run directory: everything needed to evaluate, sample from, or resume a training run.

<run>/config.json          the settings and the name of the config class
      metrics.jsonl        one line per logging interval
      checkpoints/<step>/  arrays by Orbax, with the flow's structure as JSON
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jflows.errors import RunError, check_choice, did_you_mean
from jflows.flows import Density
from jflows.spec import from_spec, to_spec
from jflows.train.checkpoint import Checkpoints, check_unused
from jflows.train.step import TrainState
from jflows.typing import PyTree, Variables

WEIGHTS = ("ema", "params")
CHECKPOINTS = ("auto", "latest", "best")
LISTED_RUNS = 8  # in an error message


class Run:
    """Writes one run directory. `Run.create` starts a new one, `Run.resume` continues one.

    Args:
      directory: of the run.
      flow: stored as JSON beside the arrays of every checkpoint.
      config: JSON-serialisable settings, stored likewise.
    """

    def __init__(self, directory: str | Path, flow: Density, config: dict[str, Any], *, resuming: bool):
        self.directory, self.flow, self.config, self.resuming = Path(directory), flow, config, resuming
        self.checkpoints = Checkpoints(self.directory)

    @classmethod
    def create(cls, directory: str | Path, flow: Density, config: dict[str, Any]) -> "Run":
        """Starts a run in an unused directory.

        Raises:
          RunError: if the directory holds checkpoints already, or cannot be written.
        """
        check_unused(directory)
        run = cls(directory, flow, config, resuming=False)
        to_spec(flow)  # refuse a flow that cannot be stored before training it
        run._write("config.json", json.dumps(config, indent=2) + "\n")
        run._write("metrics.jsonl", "")
        return run

    @classmethod
    def resume(
        cls, directory: str | Path, flow: Density, config: dict[str, Any], may_differ: tuple[str, ...] = ()
    ) -> "Run":
        """Continues a run with the same flow and settings; without a checkpoint yet, starts it again.

        Raises:
          RunError: if there is no run, or a setting not in `may_differ` has changed.
        """
        stored = read_config(directory)
        keys = sorted(set(stored) | set(config))
        plain = json.loads(json.dumps(config))
        changed = [key for key in keys if stored.get(key) != plain.get(key) and key not in may_differ]
        if changed:
            got = ", ".join(f"{stored.get(key)!r} -> {plain.get(key)!r}" for key in changed)
            fix = "Use the settings of the run, or train into another directory."
            raise RunError("Run.resume", ", ".join(changed), "must be as in the run", got, fix)
        run = cls(directory, flow, config, resuming=True)
        run._write("config.json", json.dumps(config, indent=2) + "\n")
        return run

    def restore(self, abstract: TrainState) -> TrainState | None:
        """The state of the last undamaged checkpoint, or None if the run is new or has none yet.

        Metrics that were logged after it are dropped, since those steps are taken again.
        """
        if not self.resuming or self.checkpoints.latest_step() is None:
            self._keep_metrics_until(-1)
            return None
        checkpoint = self.checkpoints.restore(*_collections(abstract))
        self._keep_metrics_until(checkpoint.step)
        variables, training = checkpoint.variables, checkpoint.training
        extra = {name: tree for name, tree in variables.items() if name not in WEIGHTS}
        return TrainState(params=variables["params"], ema=variables["ema"], extra=extra, **training)

    def save(self, step: int, state: TrainState, metrics: dict[str, float]) -> None:
        """Writes a checkpoint; the previous one stays until this one is complete."""
        variables, training = _collections(state)
        meta = {"spec": to_spec(self.flow), "config": self.config}
        self.checkpoints.save(step, variables, training, meta, metrics)

    def saved_step(self) -> int | None:
        """Step of the latest checkpoint."""
        return self.checkpoints.latest_step()

    def saved_steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return self.checkpoints.steps()

    def append_metrics(self, entry: dict[str, float]) -> None:
        """Adds one line to metrics.jsonl."""
        try:
            with (self.directory / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise _cannot_write(self.directory, error) from error

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl so far."""
        return read_metrics(self.directory)

    def variables(self, step: int) -> Variables:
        """The averaged variables of one checkpoint."""
        return load(self.directory, checkpoint=step)[1]

    def _keep_metrics_until(self, step: int) -> None:
        lines = read_metrics(self.directory)
        kept = [json.dumps(entry) + "\n" for entry in lines if entry["step"] <= step]
        self._write("metrics.jsonl", "".join(kept))

    def _write(self, name: str, text: str) -> None:
        """Replaces a file in one move, so that a kill leaves the old one or the new one."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            partial = self.directory / f"{name}.partial"
            partial.write_text(text)
            os.replace(partial, self.directory / name)
        except OSError as error:
            raise _cannot_write(self.directory, error) from error


def load(run: str | Path, *, weights: str = "ema", checkpoint: str | int = "auto") -> tuple[Density, Variables]:
    """The flow and its variables from a run directory alone.

    Args:
      run: the run directory.
      weights: "ema" for the averaged parameters, "params" for the last ones.
      checkpoint: "latest", "best" (by validation bits/dim), "auto" (the best if there was validation, else the latest)
        or a step.
    Returns:
      `(flow, variables)`, ready for `flow.log_prob(variables, x)`.
    Raises:
      RunError: if the directory is missing or damaged, or needs a class that is not registered.
    """
    check_choice("load", "weights", weights, WEIGHTS)
    checkpoints = Checkpoints(run)
    if isinstance(checkpoint, str):
        check_choice("load", "checkpoint", checkpoint, CHECKPOINTS)
    if not Path(run).is_dir():
        raise RunError("load", "run", "must be a run directory", str(run), _existing_runs(run))
    step = checkpoint if isinstance(checkpoint, int) else None
    if checkpoint in ("auto", "best"):
        step = checkpoints.best_step()
        if step is None and checkpoint == "best":
            fix = "Train with num_validation > 0, or take checkpoint='latest'."
            raise RunError("load", "checkpoint", "'best' needs a checkpoint with a validation score", str(run), fix)
    saved = checkpoints.read(step=step)
    extra = {name: tree for name, tree in saved.variables.items() if name not in WEIGHTS}
    variables = {"params": saved.variables[weights], **extra}
    return from_spec(saved.meta["spec"]), jax.tree.map(jnp.asarray, variables)


def read_config(run: str | Path) -> dict[str, Any]:
    """The settings of a run.

    Raises:
      RunError: if the directory is not that of a run, or config.json is damaged.
    """
    path = Path(run) / "config.json"
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        rule, fix = "must be a run directory with a config.json", _existing_runs(run)
        raise RunError("read_config", "run", rule, str(run), fix) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        fix = "Restore the file; the same settings are in checkpoints/<step>/meta.json."
        raise RunError("read_config", "run", "must have a readable config.json", f"{path} ({error})", fix) from error


def read_metrics(run: str | Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; a last line torn by a kill is left out."""
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def _existing_runs(run: str | Path) -> str:
    """The fix for a run that is not there: the nearest of its neighbours, all of them, or how to train one."""
    found = [path.parent for path in sorted(Path(run).parent.glob("*/checkpoints"))]
    if not found:
        return "Train one: `jflows train glow_mnist`."
    near = did_you_mean(Path(run).name, [path.name for path in found], str(found[0]).removesuffix(found[0].name))
    more = f" and {len(found) - LISTED_RUNS} more" if len(found) > LISTED_RUNS else ""
    return near.strip() or f"Runs there: {', '.join(map(str, found[:LISTED_RUNS]))}{more}."


def _collections(state: TrainState) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    variables = {"params": state.params, "ema": state.ema, **state.extra}
    names = ("step", "opt_state", "key", "skipped", "skipped_in_a_row")
    return variables, {name: getattr(state, name) for name in names}


def _cannot_write(directory: Path, error: OSError) -> RunError:
    fix = "Free some disk space or choose another directory; the last checkpoint is intact."
    return RunError("Run", "run", "must be writable", f"{directory} ({error.strerror or error})", fix)

"""`RunDirectory`: everything needed to evaluate, sample from, resume or repeat a training run.

<run>/config.json          the recipe with all its options, the name of the config, and facts about the data
      metrics.jsonl        one line per logging interval
      checkpoints/<step>/  arrays by Orbax, with the flow's structure as JSON
      result.json          the score on the test rows, with times and versions
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jflows.errors import JflowsError, RunError, check_choice, did_you_mean
from jflows.flows import Density
from jflows.runs.files import write_text
from jflows.runs.recipe import Recipe
from jflows.spec import from_spec, to_spec
from jflows.train.checkpoint import Checkpoints, check_unused
from jflows.train.step import TrainState
from jflows.typing import PyTree, Variables

WEIGHTS = ("ema", "params")
CHECKPOINTS = ("auto", "latest", "best")
MAY_DIFFER = (
    *("steps", "epochs", "patience", "log_every", "eval_every", "checkpoint_every", "steps_per_call"),
    *("eval_batch_size", "parallel", "max_skipped", "max_reconstruction_error"),
)
"""What a resumed run may change. All but `patience`, and the length, which stretches the schedule, leave its result
alone."""
_AS_IN_THE_RUN = "Use the settings of the run, or train into another directory."
LISTED_RUNS = 8  # in an error message


class StoredRecipe(NamedTuple):
    """The content of config.json.

    Attributes:
      name: of the config or preset that the run was started from.
      recipe: with all its options.
      facts: about the training rows: `data_crc32`, `num_examples`, and of tables `columns`.
    """

    name: str
    recipe: Recipe
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"config": self.name, **self.recipe.to_json(), "facts": self.facts}


class RunDirectory:
    """Writes one run directory; the recorder of `fit`. `create` starts a new one, `resume` continues one.

    Args:
      path: of the directory.
      flow: stored as JSON beside the arrays of every checkpoint.
      stored: the recipe, stored likewise.
    """

    def __init__(self, path: str | Path, flow: Density, stored: StoredRecipe, *, resuming: bool):
        self.path, self.flow, self.resuming = Path(path), flow, resuming
        self.config = stored.to_json()
        self.checkpoints = Checkpoints(self.path)

    @classmethod
    def create(cls, path: str | Path, flow: Density, stored: StoredRecipe) -> "RunDirectory":
        """Starts a run in an unused directory.

        Raises:
          RunError: if the directory holds checkpoints already, or cannot be written.
        """
        check_unused(path)
        run = cls(path, flow, stored, resuming=False)
        to_spec(flow)  # refuse a flow that cannot be stored before training it
        run._write("config.json", json.dumps(run.config, indent=2) + "\n")
        run._write("metrics.jsonl", "")
        return run

    @classmethod
    def resume(cls, path: str | Path, flow: Density, stored: StoredRecipe) -> "RunDirectory":
        """Continues a run with the same flow, options and training rows; without a checkpoint yet, starts it again.

        Raises:
          RunError: if there is no run, the training rows are others, or an option not in `MAY_DIFFER` has changed.
        """
        before = read_recipe(path)
        if before.name != stored.name:
            got = f"{before.name!r} -> {stored.name!r}"
            raise RunError("RunDirectory.resume", "config", "must be as in the run", got, _AS_IN_THE_RUN)
        old, new = (_values(recipe) for recipe in (before.recipe, stored.recipe))
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) and name not in MAY_DIFFER]
        if changed:
            got = ", ".join(f"{old.get(name)!r} -> {new.get(name)!r}" for name in changed)
            raise RunError("RunDirectory.resume", tuple(changed), "must be as in the run", got, _AS_IN_THE_RUN)
        if before.facts.get("data_crc32") != stored.facts.get("data_crc32"):
            rule, fix = (
                "must hold the training rows that the run began with",
                "Restore them, or train into another directory.",
            )
            raise RunError("RunDirectory.resume", "data", rule, f"other rows in {stored.recipe.data.name!r}", fix)
        run = cls(path, flow, stored, resuming=True)
        run._write("config.json", json.dumps(run.config, indent=2) + "\n")
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

    def saved_steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return self.checkpoints.steps()

    def append_metrics(self, entry: dict[str, float]) -> None:
        """Adds one line to metrics.jsonl."""
        try:
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or error) from error

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl so far."""
        return read_metrics(self.path)

    def variables(self, step: int) -> Variables:
        """The averaged variables of one checkpoint."""
        return load(self.path, checkpoint=step)[1]

    def _keep_metrics_until(self, step: int) -> None:
        lines = read_metrics(self.path)
        kept = [json.dumps(entry) + "\n" for entry in lines if entry["step"] <= step]
        self._write("metrics.jsonl", "".join(kept))

    def _write(self, name: str, text: str) -> None:
        try:
            write_text(self.path / name, text)
        except RunError as error:
            raise _cannot_write(self.path, error.got) from error


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


def read_recipe(run: str | Path) -> StoredRecipe:
    """The recipe of a run.

    Args:
      run: the run directory, or its config.json.
    Raises:
      RunError: if the directory is not that of a run, or config.json is damaged.
    """
    given = Path(run).expanduser()
    path = given if given.suffix == ".json" else given / "config.json"
    try:
        content = json.loads(path.read_text())
        name, facts = content.pop("config"), content.pop("facts")
        return StoredRecipe(name, Recipe.from_json(content), facts)
    except JflowsError as error:
        raise error.at(str(path)) from error
    except (FileNotFoundError, NotADirectoryError):
        rule, fix = "must be a run directory with a config.json", _existing_runs(given)
        raise RunError("read_recipe", "run", rule, str(run), fix) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, LookupError, AttributeError, TypeError) as error:
        fix = "Restore the file; the same settings are in checkpoints/<step>/meta.json."
        got = f"{path} ({type(error).__name__}: {error})"
        raise RunError("read_recipe", "run", "must have a readable config.json", got, fix) from error


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


def _values(recipe: Recipe) -> dict[str, Any]:
    """Every option by its flat name, the preset included."""
    return {"flow": recipe.to_json()["flow"]["preset"]} | {
        name: option.value for name, option in recipe.options().items()
    }


def _cannot_write(directory: Path, reason: object) -> RunError:
    fix = "Free some disk space or choose another directory; the last checkpoint is intact."
    return RunError("RunDirectory", "run", "must be writable", f"{directory} ({reason})", fix)


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Holds a lock on a run directory, which ends with the process however it ends; no file is left.

    Raises:
      RunError: if another process trains there, or the directory cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX: unlocked
        yield
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        folder = os.open(directory, os.O_RDONLY)
    except OSError as error:
        rule = "must be a directory that can be made and read"
        raise RunError("run", "out", rule, f"{directory} ({error.strerror})", "Choose another.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        fix = "Wait for it, stop it, or choose another directory by {out}."
        raise RunError("run", "out", "must not be in use by another process", str(directory), fix) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(folder)

"""`RunDirectory`: the files by which a training run can be evaluated, sampled from, resumed or repeated.

Of many processes the first alone writes them, on a disk that all of them share.

<run>/config.json          the recipe with all its options, the name of the config, and facts about the data
      metrics.jsonl        one line per logging interval, see `jflows/runs/metrics.py`
      checkpoints/<step>/  arrays by Orbax, with the flow's structure as JSON
      result.json          the score on the test rows, with times and versions

All of them hold checksums, and damage is an error: no number comes from a file that does not match its own.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp

from jflows.errors import InvalidTypeError, InvalidValueError, RunError, check_choice, did_you_mean, path_of
from jflows.flows import Density
from jflows.processes import together
from jflows.runs.files import CHECKSUM, read_json, write_json, write_text
from jflows.runs.metrics import FILE as METRICS
from jflows.runs.metrics import line_of, read_lines
from jflows.spec import from_spec, to_spec
from jflows.train.checkpoint import Checkpoints, check_unused
from jflows.train.monitor import Standing
from jflows.train.step import TrainState
from jflows.typing import PyTree, Variables

WEIGHTS = ("ema", "params")
CHECKPOINTS = ("auto", "latest", "best")
DTYPES = ("float16", "bfloat16", "float32", "float64")
AS_IN_THE_RUN = "Use the settings of the run, or train into another directory."
RESTORE = (
    "Restore the file: checkpoints/<step>/meta.json holds the same settings. To train with others, change a copy and "
    "take out its crc32."
)
LISTED_RUNS = 8  # in an error message


class RunDirectory:
    """Writes the files of one run; pass it to `fit` as `run`. `create` starts a new run, `resume` continues one.

    Args:
      path: the directory.
      flow: the flow, stored as JSON beside the arrays of every checkpoint.
      config: settings to store as JSON; `jflows.run` stores its recipe here.
    Example:
      >>> import tempfile, jflows
      >>> flow, data = jflows.flows.normal((2,)), jflows.data.load("two_moons")
      >>> directory = RunDirectory.create(tempfile.mkdtemp(), flow)
      >>> _ = jflows.fit(flow, data, jflows.TrainConfig(steps=5, parallel="none"), run=directory)
      >>> jflows.load(directory.path)[0] == flow
      True
    """

    def __init__(self, path: str | Path, flow: Density, config: Mapping[str, Any], *, resuming: bool):
        self.path, self.flow, self.config = path_of(type(self).__name__, "path", path), flow, dict(config)
        if CHECKSUM in self.config:
            raise InvalidValueError("RunDirectory", "config", f"must not have the key {CHECKSUM!r}", None, "Rename it.")
        self.resuming, self.standing, self._last_line = resuming, Standing(), 0
        self.checkpoints = Checkpoints(self.path)

    @classmethod
    def create(cls, path: str | Path, flow: Density, config: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Starts a new run in an unused directory.

        Raises:
          RunError: if the directory holds checkpoints already, or cannot be written.
        """
        check_unused(path)
        run = cls(path, flow, config, resuming=False)
        to_spec(flow)  # refuse a flow that cannot be stored before training it
        together.by_first("RunDirectory.create", lambda: (run._write_config(), run._write(METRICS, "")))
        run._check_seen()
        return run

    @classmethod
    def resume(
        cls,
        path: str | Path,
        flow: Density,
        config: Mapping[str, Any] = MappingProxyType({}),
        may_differ: tuple[str, ...] = (),
    ) -> Self:
        """Continues a run with the same flow and settings, or starts it again if it has no checkpoint yet.

        Args:
          may_differ: top-level keys of `config` whose values may have changed.
        Raises:
          RunError: if there is no run, or another setting has changed.
        """
        stored, plain = read_config(path), json.loads(json.dumps(dict(config)))
        changed = [
            key for key in sorted({*stored, *plain}) if stored.get(key) != plain.get(key) and key not in may_differ
        ]
        if changed:
            got = ", ".join(f"{stored.get(key)!r} -> {plain.get(key)!r}" for key in changed)
            raise RunError("RunDirectory.resume", tuple(changed), "must be as in the run", got, AS_IN_THE_RUN)
        return cls(path, flow, config, resuming=True)

    def restore(self, abstract: TrainState, step: int | None = None) -> TrainState | None:
        """The state of the last undamaged checkpoint, or None if the run is new or has no checkpoint yet.

        Metrics that were logged after that checkpoint are dropped, since their steps are taken again. The settings of
        a resumed run are stored once its state is there, so that a run that cannot go on keeps its own.

        Args:
          step: take the checkpoint of this step, and no other; 0 begins the run again.
        """
        if not self.resuming or step == 0 or self.checkpoints.latest_step() is None:
            metrics = self.path / METRICS
            if self.resuming and step is None and metrics.is_file() and metrics.stat().st_size:
                warnings.warn(f"{self.path} has no checkpoint: the run starts again, from step 0.", stacklevel=3)
            self.standing = Standing()
            together.by_first("RunDirectory.restore", lambda: (self._write(METRICS, ""), self._write_config()))
            return None
        checkpoint = self.checkpoints.restore(*_collections(abstract), step=step)
        keep = lambda: (self._keep_metrics_until(checkpoint.step), self._write_config())
        together.by_first("RunDirectory.restore", keep)
        self.standing = Standing(checkpoint.scores, checkpoint.meta["pending"])
        variables, training = checkpoint.variables, checkpoint.training
        extra = {name: tree for name, tree in variables.items() if name not in WEIGHTS}
        return TrainState(params=variables["params"], ema=variables["ema"], extra=extra, **training)

    def save(self, step: int, state: TrainState, standing: Standing) -> None:
        """Writes a checkpoint; the previous one stays until the new one is complete."""
        variables, training = _collections(state)
        meta = {"spec": to_spec(self.flow), "config": self.config, "pending": standing.pending}
        self.checkpoints.save(step, variables, training, meta, standing.scores)

    def saved_steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return self.checkpoints.steps()

    def append_metrics(self, entry: dict[str, float]) -> None:
        """Adds one line to metrics.jsonl, which of many processes the first does."""
        if not together.is_first():
            return
        line, checksum = line_of(entry, self._last_line)
        try:
            with (self.path / METRICS).open("a") as file:
                file.write(line)
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or error) from error
        self._last_line = checksum

    def variables(self, step: int) -> Variables:
        """The averaged variables of one checkpoint."""
        try:
            return load(self.path, checkpoint=step)[1]
        except RunError as error:
            place = self.checkpoints.directory / str(step)
            fix = f"Restore it, or move {place} away to go on with the best of the other checkpoints."
            raise RunError(error.where, error.settings, error.rule, error.got, fix) from error

    def _keep_metrics_until(self, step: int) -> None:
        text, self._last_line = "", 0
        for entry in read_lines(self.path / METRICS)[0]:
            if entry["step"] <= step:
                line, self._last_line = line_of(entry, self._last_line)
                text += line
        self._write(METRICS, text)

    def _check_seen(self) -> None:
        """Raises `RunError` in all processes if one of them does not see what process 0 has written."""
        seen = together.gathered((self.path / "config.json").is_file())
        if not all(seen):
            got = f"{self.path}, which process {seen.index(False)} does not see"
            rule, fix = "must be on a disk that all processes share", "Choose such a place by {out}."
            raise RunError("RunDirectory", "run", rule, got, fix)

    def _write_config(self) -> None:
        try:
            write_json(self.path / "config.json", self.config)
        except RunError as error:
            raise _cannot_write(self.path, error.got) from error

    def _write(self, name: str, text: str) -> None:
        try:
            write_text(self.path / name, text)
        except RunError as error:
            raise _cannot_write(self.path, error.got) from error


def load(
    run: str | Path, *, weights: str = "ema", checkpoint: str | int = "auto", dtype: str | None = None
) -> tuple[Density, Variables]:
    """Loads the flow and its variables from a run directory, without the code that built them.

    Args:
      run: the run directory.
      weights: "ema" for the moving average of the parameters, "params" for the parameters themselves.
      checkpoint: "latest", "best" (by the validation score), "auto" (the best if there was validation, else the latest)
        or a step.
      dtype: "float16", "bfloat16", "float32" or "float64", to which floating variables are cast; None leaves them in
        the type in which they were trained. A flow computes in the widest type of its variables and its data: with
        float64 all results are, for float32 data too; bfloat16 stores half as much, rounds every weight to 8 bits, and
        computes in float32 unless data are of bfloat16 as well. In which type conditioners compute is another
        matter: the option `compute_dtype` of presets.
    Returns:
      `(flow, variables)`, ready for `flow.log_prob(variables, x)`.
    Raises:
      RunError: if the directory is missing or damaged, or needs a class that is not registered.
      InvalidValueError: for another dtype, or for float64 while JAX is set to hold no more than float32.
    """
    check_choice("load", "weights", weights, WEIGHTS)
    if dtype is not None:
        check_choice("load", "dtype", dtype, DTYPES)
        if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
            rule, fix = "must be a type that JAX holds", 'Call jax.config.update("jax_enable_x64", True) first.'
            raise InvalidValueError("load", "dtype", rule, repr(dtype), fix)
    step, checkpoints = step_of(run, checkpoint)
    saved = checkpoints.read(step=step)
    extra = {name: tree for name, tree in saved.variables.items() if name not in WEIGHTS}
    variables = {"params": saved.variables[weights], **extra}
    cast = lambda leaf: jnp.asarray(leaf, dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else None)
    return from_spec(saved.meta["spec"]), jax.tree.map(cast, variables)


def step_of(run: str | Path, checkpoint: str | int) -> tuple[int | None, Checkpoints]:
    """The step that `load` takes, and all checkpoints of the run; None if there are no checkpoints at all."""
    path = _place_of("load", run)
    checkpoints = Checkpoints(path)
    if isinstance(checkpoint, str):
        check_choice("load", "checkpoint", checkpoint, CHECKPOINTS)
    elif not isinstance(checkpoint, int) or isinstance(checkpoint, bool):
        rule = f"must be a step, or one of {', '.join(map(repr, CHECKPOINTS))}"
        raise InvalidTypeError("load", "checkpoint", rule, repr(checkpoint))
    if not path.is_dir() or (path / "study.json").is_file():
        raise RunError("load", "run", "must be a run directory", str(run), _existing_runs(path))
    if isinstance(checkpoint, int):
        steps = checkpoints.steps()
        if checkpoint not in steps:
            fix = f"Saved: {', '.join(map(str, steps)) or 'none'}."
            raise RunError("load", "checkpoint", f"must be a saved step of {run}", checkpoint, fix)
        return checkpoint, checkpoints
    step = None if checkpoint == "latest" else checkpoints.best_step()
    if step is None and checkpoint == "best":
        fix = "Train with num_validation > 0, or take checkpoint='latest'."
        raise RunError("load", "checkpoint", "'best' needs a checkpoint with a validation score", str(run), fix)
    return checkpoints.latest_step() if step is None else step, checkpoints


def read_config(run: str | Path) -> dict[str, Any]:
    """The content of a run's config.json.

    Args:
      run: the run directory, or its config.json.
    Raises:
      RunError: if the directory is not that of a run, or config.json is damaged.
    """
    path = config_path(run)
    try:
        return read_json("read_config", "run", path, fix=RESTORE, by_hand=path == _as_path(run))
    except (FileNotFoundError, NotADirectoryError):
        rule, fix = "must be a run directory with a config.json", _existing_runs(_as_path(run))
        raise RunError("read_config", "run", rule, str(run), fix) from None


def config_path(run: str | Path) -> Path:
    """The path of a run's config.json, given the run directory or the file itself."""
    given = _as_path(run)
    return given if given.suffix == ".json" else given / "config.json"


def damaged_config(path: Path, reason: object) -> RunError:
    """The error for a config.json that cannot be read."""
    return RunError("read_config", "run", "must have a readable config.json", f"{path} ({reason})", RESTORE)


def _as_path(run: str | Path) -> Path:
    return _place_of("read_config", run)


def _place_of(where: str, run: str | Path) -> Path:
    """The path of a run directory, or of its config.json; a checkpoint inside a run is refused."""
    path = path_of(where, "run", run)
    if path.parent.name == "checkpoints" and path.name.isdecimal():
        fix = f"Name {path.parents[1]}, with {{checkpoint={int(path.name)}}}."
        raise RunError(where, "run", "must be a run directory, not one of its checkpoints", str(run), fix)
    return path


def _existing_runs(run: str | Path) -> str:
    """The fix for a run that is not there: the runs of a study, the nearest neighbours, or how to train one."""
    inside = [str(path.parent) for path in sorted(Path(run).glob("*/checkpoints"))]
    if inside:
        return f"It is a study; name one of its runs: {', '.join(inside[:LISTED_RUNS])}."
    found = [path.parent for path in sorted(Path(run).parent.glob("*/checkpoints"))]
    if not found:
        return "Train one: `jflows train glow_mnist`."
    near = did_you_mean(Path(run).name, [path.name for path in found], str(found[0]).removesuffix(found[0].name))
    more = f" and {len(found) - LISTED_RUNS} more" if len(found) > LISTED_RUNS else ""
    return near.strip() or f"Runs there: {', '.join(map(str, found[:LISTED_RUNS]))}{more}."


def _collections(state: TrainState) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    variables = {"params": state.params, "ema": state.ema, **state.extra}
    names = ("step", "opt_state", "key", "skipped", "skipped_in_a_row", "memory")
    return variables, {name: getattr(state, name) for name in names}


def _cannot_write(directory: Path, reason: object) -> RunError:
    fix = "Free some disk space or choose another directory; the last checkpoint is intact."
    return RunError("RunDirectory", "run", "must be writable", f"{directory} ({reason})", fix)


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Locks a run directory against other runs; the lock ends with the process, and leaves no file.

    Of many processes that train together, the first holds it.

    Raises:
      RunError: if another process trains in the directory, or it cannot be made.
    """
    with contextlib.ExitStack() as held:
        together.by_first("run", lambda: held.enter_context(_locked(directory)))
        yield


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
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

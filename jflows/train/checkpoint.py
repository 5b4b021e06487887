"""Checkpoints of one run directory, and the only module that touches Orbax.

    <run>/checkpoints/<step>/state/      Orbax: the arrays, by names such as "params/dense/kernel"
                             meta.json   the caller's `meta` and `metrics`, a table of the leaves, checksums

Three properties of Orbax 0.12 shape this file. It restores a flipped bit as a wrong number without an error, and most
other damage costs thousands of lines: CRC-32s of the files are compared before it sees them, and of the leaves after.
It needs shardings, and templates to rebuild tuples: arrays cross it as numpy and are placed on devices here. And its
`CheckpointManager` skips a save at or below the latest step without an error, which after a fall back would lose all
further work: choosing, keeping and deleting checkpoints is done here.

Read next: `jflows/train/loop.py`, which decides when to save.
"""

import contextlib
import json
import logging
import re
import shutil
import threading
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from jflows.errors import InvalidTypeError, InvalidValueError, RunError, check_positive
from jflows.typing import PyTree, Variables

FORMAT = 1
BEST_METRIC = "validation_nll"
_Table = dict[str, dict[str, Any]]  # name -> kind ("array", "none", "empty", implementation of a key), dtype, ...


class Checkpoint(NamedTuple):
    """The content of one checkpoint, as it was saved."""

    step: int
    variables: dict[str, PyTree]  # collection name -> tree of arrays
    training: PyTree  # as the template given to `Checkpoints.restore`; None from `Checkpoints.read`
    meta: dict[str, Any]  # the caller's JSON object; tuples have become lists
    metrics: dict[str, float]


class _DamagedError(Exception):
    """A checkpoint cannot be trusted; the text says why. Never leaves this module."""


def check_unused(run: str | Path) -> None:
    """Raises `RunError` if `run` holds checkpoints already, before a new run mixes with an old one."""
    directory = Path(run) / "checkpoints"
    if directory.is_dir() and any(directory.iterdir()):
        fix = "Continue that run with `--resume`, or choose another directory with `--out`."
        raise RunError("check_unused", "run", "must not hold checkpoints of another run", str(directory), fix)


class Checkpoints:
    """All checkpoints of one run: saved atomically, verified when read, the latest and the best kept.

    A kill at any moment leaves all complete checkpoints intact. Nothing stays open between calls.
    Under `jax.distributed` every process makes the same calls on a shared file system; process 0 writes.

    Args:
      run: the run directory; the first `save` creates it.
      keep: how many of the latest checkpoints stay, >= 1. With 2 a damaged one costs an interval, not the run.
      keep_best: how many of the best checkpoints stay as well, >= 0.
      best_metric: the entry of `metrics` that ranks checkpoints; smaller is better, NaN or no entry is never best.
    Example:
      >>> import tempfile, numpy as np
      >>> checkpoints = Checkpoints(tempfile.mkdtemp())
      >>> _ = checkpoints.save(100, {"params": {"shift": np.zeros(2)}}, training={"step": 100}, meta={"flow": "nice"})
      >>> checkpoints.read().variables["params"]["shift"]
      array([0., 0.])
    """

    def __init__(self, run: str | Path, *, keep: int = 2, keep_best: int = 1, best_metric: str = BEST_METRIC):
        check_positive("Checkpoints", "keep", keep)
        if keep_best < 0:
            raise InvalidValueError("Checkpoints", "keep_best", "must be >= 0", keep_best)
        self.directory = (Path(run) / "checkpoints").absolute()
        self.keep, self.keep_best, self.best_metric = keep, keep_best, best_metric
        self._damaged: set[int] = set()  # found when reading; moved out of the way by the next `save`

    def steps(self) -> list[int]:
        """The complete checkpoints, ascending. Whether one is undamaged shows only when it is read."""
        names = [entry.name for entry in self.directory.glob("*")]
        return sorted({int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name)} - self._damaged)

    def latest_step(self) -> int | None:
        """The last complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The checkpoint with the smallest `best_metric` (the later of equals), or None if none has it."""
        return next(iter(self._ranked()), None)

    def save(
        self,
        step: int,
        variables: Variables,
        training: PyTree = None,
        meta: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Writes a checkpoint unless it exists, deletes those that are no longer kept, and returns whether it wrote.

        Args:
          step: >= 0 and above the saved steps; saving the latest again with equal arrays does nothing.
          variables: the arrays of the model, as nested dicts by collection ("params", "ema", "constants", ...).
          training: the state that only resuming needs: any pytree of arrays, typed keys and Python or numpy numbers.
          meta, metrics: a JSON object (flow spec, config, position in the data), and numbers by name.
        Raises:
          InvalidTypeError: for a leaf that cannot be saved, naming it, or a `meta` that is not JSON.
          InvalidValueError: for a negative step, a collection named "training", or a key with a slash.
          RunError: if the step is not above the saved ones, or writing fails (a full disk).
        """
        step = int(step)
        if step < 0 or "training" in variables:
            rule = "must be >= 0" if step < 0 else "must not come with a collection named `training`"
            raise InvalidValueError("Checkpoints.save", "step", rule, step, "Rename it." if step >= 0 else "")
        table, arrays = _flatten({**variables, "training": training})
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        content = _json({"format": FORMAT, "step": step, "meta": meta or {}, "metrics": metrics, "leaves": table})
        if self._is_saved(step, content["leaves"]):
            return False
        try:
            self._tidy()
            _write(self.directory / str(step), arrays, content)
        except Exception as error:  # a full disk reaches us from Orbax as several types, few of them OSError
            self._tidy()
            rule = f"could not be written at step {step}, earlier checkpoints are intact"
            fix = "Free disk space or check the permissions, then continue with `--resume`."
            raise RunError("Checkpoints.save", str(self.directory), rule, _one_line(error), fix) from None
        self._damaged.clear()
        if jax.process_index() == 0:
            for old in set(self.steps()) - {*self.steps()[-self.keep :], *self._ranked()[: self.keep_best]}:
                self._rename(old, "deleted")
            self._tidy()
        multihost_utils.sync_global_devices("jflows.train.checkpoint")  # all see the same directory
        return True

    def restore(
        self, variables: Variables, training: Any = None, *, step: int | None = None, sharding: Sharding | None = None
    ) -> Checkpoint:
        """Reads a checkpoint into the structure of templates, bit for bit, on any number of devices.

        Without `step` the latest is tried first; a damaged one is reported by a warning, passed over, and moved out
        of the way (`<step>.damaged`) by the next `save`.

        Args:
          variables: templates of the collections to read. A leaf comes back as its template's type: arrays and keys
            (or what `jax.eval_shape` makes of them) as `jax.Array`, numpy arrays and Python numbers as such.
          training: template of what was saved as `training`; None does not read it.
          step: read this step, and no other if it is damaged; None takes the latest.
          sharding: where to put all arrays; by default the sharding of the template's leaf, else the default device.
        Raises:
          RunError: if no readable checkpoint is left, or its tree is not the template's, naming the first leaf.
        """
        template = {**variables, **({} if training is None else {"training": training})}
        return self._load("Checkpoints.restore", step, template, lambda *found: _fill(template, sharding, *found))

    def read(self, collections: Sequence[str] | None = None, *, step: int | None = None) -> Checkpoint:
        """Reads variables as nested dicts of numpy arrays, from the directory alone.

        Args:
          collections: names such as ("ema", "constants"), the only ones to be loaded; None loads all.
          step: read this step, and no other if it is damaged; None takes the latest, falling back as `restore` does.
        Raises:
          RunError: if no readable checkpoint is left, or a collection was not saved.
        """
        return self._load("Checkpoints.read", step, collections, lambda values, _: unflatten_dict(values, sep="/"))

    def _load(self, where: str, step: int | None, collections: Collection[str] | None, build: Callable) -> Checkpoint:
        """What `build(values by name, directory)` makes of `step`, or of the latest checkpoint without damage."""
        steps = self.steps()
        if step is not None and step not in steps:
            fix = f"Saved: {', '.join(map(str, steps)) or 'none'}."
            raise RunError(where, "step", f"must be a saved step of {self.directory}", step, fix)
        reasons = {}
        for candidate in reversed(steps) if step is None else [step]:
            try:
                content = self._content(candidate)
                saved = dict.fromkeys(name.split("/")[0] for name in content["leaves"])
                wanted = saved.keys() - {"training"} if collections is None else collections
                if missing := [name for name in wanted if name not in saved]:
                    rule = f"must be among those of {self.directory / str(candidate)}: {', '.join(saved)}"
                    raise RunError(where, "collections", rule, ", ".join(missing), "Ask for these only.")
                values = _read(self.directory / str(candidate), content, wanted)
            except _DamagedError as error:
                reasons[candidate] = f"step {candidate} is damaged: {error}"
                continue
            for reason in reasons.values():
                warnings.warn(f"{self.directory}: {reason}; using step {candidate} instead.", stacklevel=3)
            self._damaged.update(reasons)
            trees = build(values, self.directory / str(candidate))
            training = trees.pop("training", None)
            return Checkpoint(candidate, trees, training, content["meta"], content["metrics"])
        got = "; ".join(reasons.values()) or ("none" if self.directory.is_dir() else "no such directory")
        fix = "Check the path, or train anew with another `--out`." if step is None else "Choose another step."
        raise RunError(where, str(self.directory), "must hold a readable checkpoint", got, fix)

    def _content(self, step: int) -> dict[str, Any]:
        """The JSON of one checkpoint, verified."""
        try:
            saved = json.loads((self.directory / str(step) / "meta.json").read_text("utf-8"))
            content, crc32 = saved["content"], saved["crc32"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise _DamagedError(f"meta is unreadable ({_one_line(error)})") from None
        if crc32 != _crc32(content) or content["step"] != step:
            raise _DamagedError("meta does not match its checksum or its step")
        if content["format"] != FORMAT:
            fix = f"Use the version of jflows that wrote it; this one reads format {FORMAT}."
            raise RunError("Checkpoints", str(self.directory), "must be readable", f"format {content['format']}", fix)
        return content

    def _ranked(self) -> list[int]:
        """The steps that have `best_metric`, best first."""
        scores = {}
        for step in self.steps():
            with contextlib.suppress(_DamagedError):
                scores[step] = self._content(step)["metrics"].get(self.best_metric, np.nan)
        return sorted((s for s in scores if not np.isnan(scores[s])), key=lambda s: (scores[s], -s))

    def _is_saved(self, step: int, table: _Table) -> bool:
        """True if `step` is the latest and holds these arrays; an error where steps would not ascend."""
        latest = self.latest_step()
        if latest is None or step > latest:
            return False
        with contextlib.suppress(_DamagedError):
            if step == latest and self._content(step)["leaves"] == table:
                return True
        rule, got = f"must be above the latest saved step {latest}", f"{step} in {self.directory}"
        fix = "Resume from that one, or move it and others away to go on from an older one."
        raise RunError("Checkpoints.save", "step", rule, got, fix)

    def _tidy(self) -> None:
        """Removes what a killed or failed save left, and moves damaged checkpoints out of the way."""
        for step in self._damaged if jax.process_index() == 0 else ():
            self._rename(step, "damaged")
        for entry in self.directory.glob("*.*"):
            if jax.process_index() == 0 and re.fullmatch(r"\d+\.(saving|deleted)", entry.name):
                shutil.rmtree(entry, ignore_errors=True)

    def _rename(self, step: int, suffix: str) -> None:
        """Deleting starts here too: what a kill leaves of a half-deleted directory must not look complete."""
        target = self.directory / f"{step}.{suffix}"
        shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.directory / str(step)).rename(target)


def _name(entries: Sequence[Any]) -> str:
    """The path of a leaf: "params/dense/kernel", "training/opt_state/0/mu"."""
    parts = [jax.tree_util.keystr((entry,), simple=True) for entry in entries]
    if any("/" in part for part in parts):
        raise InvalidValueError("Checkpoints.save", "variables", "must not have a `/` in a key", parts, "Rename it.")
    return "/".join(parts)


def _flatten(tree: PyTree) -> tuple[_Table, dict[str, np.ndarray]]:
    """The table of a tree and its arrays in host memory, both by name."""
    flat, _ = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: node is None or (isinstance(node, (Mapping, tuple, list)) and not node)
    )
    encoded = {_name(entries): _encode(_name(entries), leaf) for entries, leaf in flat}
    arrays = jax.device_get({n: array for n, (_, array) in encoded.items() if array is not None})  # copies all at once
    arrays = {n: np.asarray(array, np.dtype(array.dtype.name), order="C") for n, array in arrays.items()}
    table: _Table = {name: {"kind": kind} for name, (kind, _) in encoded.items()}
    for name, array in arrays.items():
        table[name] |= {"dtype": array.dtype.name, "shape": list(array.shape), "crc32": _crc32(array)}
    return table, arrays


def _encode(name: str, leaf: Any) -> tuple[str, Any]:
    """The kind of a leaf and its array; a typed key becomes its data."""
    if leaf is None or isinstance(leaf, (Mapping, tuple, list)):
        return "none" if leaf is None else "empty", None
    if isinstance(leaf, jax.Array) and (leaf.is_fully_addressable or leaf.is_fully_replicated):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)) if is_key else ("array", leaf)
    if isinstance(leaf, (bool, int, float, complex, np.ndarray, np.generic)):
        array = np.asarray(leaf)
        if array.dtype == bool or jax.numpy.issubdtype(array.dtype, np.number):
            return "array", array
    rule = "must be an array, a typed key or a number, whole on each process"
    raise InvalidTypeError("Checkpoints.save", name, rule, type(leaf).__name__, "Convert it, or move it to `meta`.")


def _decode(name: str, row: dict[str, Any], array: Any) -> Any:
    """What `_encode` was given, as numpy array or typed key, if `array` is as described by its row."""
    if row["kind"] in ("none", "empty"):
        return {} if row["kind"] == "empty" else None
    array = np.empty(row["shape"], row["dtype"]) if 0 in row["shape"] else array
    found = isinstance(array, np.ndarray) and [array.dtype.name, list(array.shape), _crc32(array)]
    if found != [row["dtype"], row["shape"], row["crc32"]]:
        raise _DamagedError(f"{name} does not match its checksum")
    return array if row["kind"] == "array" else jax.random.wrap_key_data(jax.numpy.asarray(array), impl=row["kind"])


def _fill(template: PyTree, sharding: Sharding | None, values: dict[str, Any], directory: Path) -> PyTree:
    """The template with each leaf replaced by the saved one; an error naming the first leaf that differs."""

    def describe(leaf):
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        return f"{leaf.dtype.name}{list(leaf.shape)}"

    def place(entries, like):
        value = values[_name(entries)]
        if isinstance(like, (bool, int, float, complex, np.generic, np.ndarray)):
            return value if isinstance(like, np.ndarray) else type(like)(value.item())
        return jax.device_put(value, sharding or (like.sharding if getattr(like, "committed", True) else None))

    here = {_name(path): describe(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(template)[0]}
    there = {name: describe(value) for name, value in values.items() if hasattr(value, "dtype")}
    for name in sorted(here | there):
        if here.get(name) != there.get(name):
            got = f"{here.get(name, 'no such leaf')} here and {there.get(name, 'no such leaf')} there"
            fix = "Build flow and optimizer from the `meta` saved there, or train anew with another `--out`."
            raise RunError("Checkpoints.restore", name, f"must be as saved in {directory}", got, fix)
    return jax.tree_util.tree_map_with_path(place, template)


def _json(tree: Any) -> Any:
    """What reading the JSON of `tree` back gives."""
    try:
        return json.loads(json.dumps(tree))
    except (TypeError, ValueError) as error:
        fix = "Convert arrays with `.tolist()`."
        raise InvalidTypeError("Checkpoints.save", "meta", "must be a JSON object", str(error), fix) from None


def _crc32(value: Any) -> int:
    """Of the bytes of an array, or of the JSON of anything else."""
    is_array = isinstance(value, np.ndarray)
    return zlib.crc32(value.reshape(-1).view(np.uint8).data if is_array else json.dumps(value, sort_keys=True).encode())


def _write(directory: Path, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> None:
    """Writes one checkpoint under a temporary name and renames it when it is complete."""
    temporary = directory.with_name(f"{directory.name}.saving")
    arrays = {name: array for name, array in arrays.items() if array.size}  # Orbax refuses size 0, and an empty tree
    with _orbax() as (ocp, checkpointer):
        checkpointer.save(temporary / "state", args=ocp.args.PyTreeSave(arrays or {"": np.zeros(1)}))
    if jax.process_index() == 0:
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        content = {**content, "files": {str(p.relative_to(temporary)): zlib.crc32(p.read_bytes()) for p in files}}
        (temporary / "meta.json").write_text(json.dumps({"crc32": _crc32(content), "content": content}), "utf-8")
        temporary.rename(directory)


def _read(directory: Path, content: dict[str, Any], collections: Collection[str]) -> dict[str, Any]:
    """The values of these collections by name, verified."""
    table = {name: row for name, row in content["leaves"].items() if name.split("/")[0] in collections}
    arrays = {name: 0 for name, row in table.items() if 0 not in row.get("shape", [0])}
    try:
        for name, crc32 in content["files"].items():
            if zlib.crc32((directory / name).read_bytes()) != crc32:
                raise _DamagedError(f"{name} does not match its checksum")
        if arrays:
            with _orbax() as (ocp, checkpointer):
                numpy = dict.fromkeys(arrays, ocp.RestoreArgs(restore_type=np.ndarray))
                args = ocp.args.PyTreeRestore(item=arrays, restore_args=numpy, partial_restore=True)
                arrays = checkpointer.restore(directory / "state", args=args)
    except (MemoryError, _DamagedError):
        raise
    except Exception as error:  # depending on the place of the damage Orbax raises nearly anything
        raise _DamagedError(_one_line(error)) from None
    return {name: _decode(name, row, arrays.get(name)) for name, row in table.items()}


@contextlib.contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """(module, checkpointer), with the log off (thousands of lines for a damaged file) and no thread left behind."""
    import orbax.checkpoint as ocp

    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("absl", "asyncio")}
    threads = set(threading.enumerate())
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL + 1)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            yield ocp, checkpointer
    except BaseException:
        for thread in set(threading.enumerate()) - threads:
            thread.join(timeout=10)  # some are still busy failing
        raise
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"

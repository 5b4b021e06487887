"""Checkpoints of one run directory: which are kept, which is the best, and what happens when one is damaged.

    <run>/checkpoints/<step>/state/      Orbax: the arrays, by names such as "params/dense/kernel"
                             meta.json   the caller's `meta`, all scores so far, a table of the leaves, checksums

Choosing, keeping and deleting checkpoints is done here, as Orbax's `CheckpointManager` skips a save at or below the
latest step without an error, which after a fall back would lose all further work. Every checkpoint holds the scores
of all steps before it too: whether the best is damaged or gone shows in those that are not.

Read next: `jflows/train/storage.py` (the files), `jflows/train/loop.py`, which decides when to save.
"""

import contextlib
import json
import math
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import unflatten_dict
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from jflows.errors import InvalidValueError, RunError, check_positive, path_of
from jflows.train import storage
from jflows.train.storage import DamagedError, Table
from jflows.typing import PyTree, Variables

FORMAT = 2


class Checkpoint(NamedTuple):
    """The content of one checkpoint, as it was saved."""

    step: int
    variables: dict[str, PyTree]  # collection name -> tree of arrays
    training: PyTree  # as the template given to `Checkpoints.restore`; None from `Checkpoints.read`
    meta: dict[str, Any]  # the caller's JSON object; tuples have become lists
    scores: dict[int, float]  # of this step and earlier ones, by step; smaller is better


def check_unused(run: str | Path) -> None:
    """Raises `RunError` if `run` holds checkpoints already, before a new run mixes with an old one."""
    directory = path_of("run", "out", run) / "checkpoints"
    if directory.is_dir() and any(directory.iterdir()):
        fix = "Continue that run with {resume=True}, or choose another directory, {out}."
        raise RunError("run", "out", "must not hold checkpoints of another run", str(directory), fix)


class Checkpoints:
    """All checkpoints of one run: saved atomically, verified when read, the latest and the best kept.

    A kill at any moment leaves all complete checkpoints intact. Nothing stays open between calls.
    Under `jax.distributed` every process makes the same calls on a shared file system; process 0 writes.

    Args:
      run: the run directory; the first `save` creates it.
      keep: how many of the latest checkpoints stay, >= 1. With 2 a damaged one costs an interval, not the run.
      keep_best: how many of the best checkpoints stay as well, >= 0.
    Example:
      >>> import tempfile, numpy as np
      >>> checkpoints = Checkpoints(tempfile.mkdtemp())
      >>> _ = checkpoints.save(100, {"params": {"shift": np.zeros(2)}}, training={"step": 100}, meta={"flow": "nice"})
      >>> checkpoints.read().variables["params"]["shift"]
      array([0., 0.])
    """

    def __init__(self, run: str | Path, *, keep: int = 2, keep_best: int = 1):
        check_positive("Checkpoints", "keep", keep)
        if keep_best < 0:
            raise InvalidValueError("Checkpoints", "keep_best", "must be >= 0", keep_best)
        self.directory = (path_of("Checkpoints", "run", run) / "checkpoints").absolute()
        self.keep, self.keep_best = keep, keep_best
        self._damaged: set[int] = set()  # found when reading; moved out of the way by the next `save`

    def steps(self) -> list[int]:
        """The complete checkpoints, ascending. Whether one is undamaged shows only when it is read."""
        names = [entry.name for entry in self.directory.glob("*")]
        return sorted({int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name)} - self._damaged)

    def latest_step(self) -> int | None:
        """The last complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the smallest score (the later of equals), or None if no step has one.

        Raises:
          RunError: if this cannot be told, as a later checkpoint is damaged, or if the best one is gone.
        """
        steps, damaged, scores = self.steps(), [], {}
        for step in reversed(steps):
            try:
                scores = _scores(self._content(step))
                break
            except DamagedError as error:
                damaged.append(f"step {step} is damaged: {error}")
        others = steps[: len(steps) - len(damaged)]
        where, fix = "Checkpoints.best_step", f"Choose a step by {{checkpoint}}: {', '.join(map(str, others))}."
        if damaged and not others:
            rule, fix = "must hold a readable checkpoint", "Restore it, or train anew with another {out}."
            raise RunError(where, str(self.directory), rule, "; ".join(damaged), fix)
        if damaged:
            rule = "must hold undamaged checkpoints to tell which is the best"
            raise RunError(where, str(self.directory), rule, "; ".join(damaged), fix)
        best = next(iter(_ranked(scores)), None)
        if best is not None and best not in steps:
            rule = f"must hold the checkpoint of step {best}, whose score is the best"
            raise RunError(where, str(self.directory), rule, "none of that step", fix)
        return best

    def save(
        self,
        step: int,
        variables: Variables,
        training: PyTree = None,
        meta: Mapping[str, Any] | None = None,
        scores: Mapping[int, float] | None = None,
    ) -> bool:
        """Writes a checkpoint unless it exists, deletes those that are no longer kept, and returns whether it wrote.

        Args:
          step: >= 0 and above the saved steps; saving the latest again with equal arrays does nothing.
          variables: the arrays of the model, as nested dicts by collection ("params", "ema", "constants", ...).
          training: the state that only resuming needs: any pytree of arrays, typed keys and Python or numpy numbers.
          meta: a JSON object (flow spec, config, position in the data).
          scores: the scores of this and all earlier steps, by step, which rank checkpoints: smaller is better, NaN is
            never best. Steps without a score are left out.
        Raises:
          InvalidTypeError: for a leaf that cannot be saved, naming it, or a `meta` that is not JSON.
          InvalidValueError: for a negative step, a collection named "training", or a key with a slash.
          RunError: if the step is not above the saved ones, or writing fails (a full disk).
        """
        step = int(step)
        if step < 0 or "training" in variables:
            rule = "must be >= 0" if step < 0 else "must not come with a collection named `training`"
            raise InvalidValueError("Checkpoints.save", "step", rule, step, "Rename it." if step >= 0 else "")
        table, arrays = storage.flatten({**variables, "training": training})
        pairs = [[int(at), float(score)] for at, score in (scores or {}).items()]
        content = {"format": FORMAT, "step": step, "meta": meta or {}, "scores": pairs, "leaves": table}
        content = storage.as_json(content)
        if self._is_saved(step, content["leaves"]):
            return False
        try:
            self._tidy()
            storage.write(self.directory / str(step), arrays, content)
        except Exception as error:  # a full disk reaches us from Orbax as several types, few of them OSError
            self._tidy()
            rule = f"could not be written at step {step}, earlier checkpoints are intact"
            fix = "Free disk space or check the permissions, then continue with {resume=True}."
            raise RunError("Checkpoints.save", str(self.directory), rule, storage.one_line(error), fix) from None
        self._damaged.clear()
        if jax.process_index() == 0:
            best = [at for at in _ranked(_scores(content)) if at in self.steps()][: self.keep_best]
            for old in set(self.steps()) - {*self.steps()[-self.keep :], *best}:
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
        build = lambda values, directory: storage.fill(template, sharding, values, directory)
        return self._load("Checkpoints.restore", step, template, build)

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
                values = storage.read(self.directory / str(candidate), content, wanted)
            except DamagedError as error:
                reasons[candidate] = f"step {candidate} is damaged: {error}"
                continue
            for reason in reasons.values():
                warnings.warn(f"{self.directory}: {reason}; using step {candidate} instead.", stacklevel=3)
            self._damaged.update(reasons)
            trees = build(values, self.directory / str(candidate))
            training = trees.pop("training", None)
            return Checkpoint(candidate, trees, training, content["meta"], _scores(content))
        got = "; ".join(reasons.values()) or ("none" if self.directory.is_dir() else "no such directory")
        fix = "Check the path, or train anew with another {out}." if step is None else "Choose another step."
        raise RunError(where, str(self.directory), "must hold a readable checkpoint", got, fix)

    def _content(self, step: int) -> dict[str, Any]:
        """The JSON of one checkpoint, verified."""
        try:
            saved = json.loads((self.directory / str(step) / "meta.json").read_text("utf-8"))
            content, crc32 = saved["content"], saved["crc32"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise DamagedError(f"meta is unreadable ({storage.one_line(error)})") from None
        if crc32 != storage.crc32_of(content) or content["step"] != step:
            raise DamagedError("meta does not match its checksum or its step")
        if content["format"] != FORMAT:
            fix = f"Use the version of jflows that wrote it; this one reads format {FORMAT}."
            raise RunError("Checkpoints", str(self.directory), "must be readable", f"format {content['format']}", fix)
        return content

    def _is_saved(self, step: int, table: Table) -> bool:
        """True if `step` is the latest and holds these arrays; an error where steps would not ascend."""
        latest = self.latest_step()
        if latest is None or step > latest:
            return False
        with contextlib.suppress(DamagedError):
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


def _scores(content: dict[str, Any]) -> dict[int, float]:
    return dict(content["scores"])


def _ranked(scores: Mapping[int, float]) -> list[int]:
    """The steps that have a score, best first."""
    return sorted((step for step in scores if not math.isnan(scores[step])), key=lambda step: (scores[step], -step))

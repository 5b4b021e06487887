"""One checkpoint as files: arrays by names, their table and checksums; the only module that touches Orbax.

Two properties of Orbax 0.12 shape this file. It restores a flipped bit as a wrong number without an error, and most
other damage costs thousands of lines: CRC-32s of the files are compared before it sees them, and of the leaves after.
It needs shardings, and templates to rebuild tuples: arrays cross it as numpy and are placed on devices here.
"""

import contextlib
import json
import logging
import threading
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.processes import together
from jflows.typing import PyTree

Table = dict[str, dict[str, Any]]  # name -> kind ("array", "none", "empty", implementation of a key), dtype, ...


class DamagedError(Exception):
    """A checkpoint cannot be trusted; the text says why. `Checkpoints` turns it into a `RunError` or a warning."""


def _name(entries: Sequence[Any]) -> str:
    """The path of a leaf: "params/dense/kernel", "training/opt_state/0/mu"."""
    parts = [jax.tree_util.keystr((entry,), simple=True) for entry in entries]
    if any("/" in part for part in parts):
        raise InvalidValueError("Checkpoints.save", "variables", "must not have a `/` in a key", parts, "Rename it.")
    return "/".join(parts)


def flatten(tree: PyTree) -> tuple[Table, dict[str, np.ndarray]]:
    """The table of a tree and its arrays in host memory, both by name."""
    flat, _ = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: node is None or (isinstance(node, (Mapping, tuple, list)) and not node)
    )
    encoded = {_name(entries): _encode(_name(entries), leaf) for entries, leaf in flat}
    arrays = together.own_copy({n: array for n, (_, array) in encoded.items() if array is not None})
    arrays = jax.device_get(arrays)  # copies all at once
    arrays = {n: np.asarray(array, np.dtype(array.dtype.name), order="C") for n, array in arrays.items()}
    table: Table = {name: {"kind": kind} for name, (kind, _) in encoded.items()}
    for name, array in arrays.items():
        table[name] |= {"dtype": array.dtype.name, "shape": list(array.shape), "crc32": crc32_of(array)}
    return table, arrays


def _encode(name: str, leaf: Any) -> tuple[str, Any]:
    """The kind of a leaf and its array; a typed key becomes its data."""
    if leaf is None or isinstance(leaf, (Mapping, tuple, list)):
        return "none" if leaf is None else "empty", None
    if isinstance(leaf, jax.Array):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)) if is_key else ("array", leaf)
    if isinstance(leaf, (bool, int, float, complex, np.ndarray, np.generic)):
        array = np.asarray(leaf)
        if array.dtype == bool or jax.numpy.issubdtype(array.dtype, np.number):
            return "array", array
    rule = "must be an array, a typed key or a number"
    raise InvalidTypeError("Checkpoints.save", name, rule, type(leaf).__name__, "Convert it, or move it to `meta`.")


def _decode(name: str, row: dict[str, Any], array: Any) -> Any:
    """What `_encode` was given, as numpy array or typed key, if `array` is as described by its row."""
    if row["kind"] in ("none", "empty"):
        return {} if row["kind"] == "empty" else None
    array = np.empty(row["shape"], row["dtype"]) if 0 in row["shape"] else array
    found = isinstance(array, np.ndarray) and [array.dtype.name, list(array.shape), crc32_of(array)]
    if found != [row["dtype"], row["shape"], row["crc32"]]:
        raise DamagedError(f"{name} does not match its checksum")
    return array if row["kind"] == "array" else jax.random.wrap_key_data(jax.numpy.asarray(array), impl=row["kind"])


def fill(template: PyTree, sharding: Sharding | None, values: dict[str, Any], directory: Path) -> PyTree:
    """The template with each leaf replaced by the saved one; an error naming the first leaf that differs."""

    def describe(leaf):
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        return f"{leaf.dtype.name}{list(leaf.shape)}"

    def place(entries, like):
        value = values[_name(entries)]
        if isinstance(like, (bool, int, float, complex, np.generic, np.ndarray)):
            return value if isinstance(like, np.ndarray) else type(like)(value.item())
        place = sharding or (like.sharding if getattr(like, "committed", True) else None)
        return jax.device_put(value) if place is None else together.placed(value, place)

    here = {_name(path): describe(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(template)[0]}
    there = {name: describe(value) for name, value in values.items() if hasattr(value, "dtype")}
    for name in sorted(here | there):
        if here.get(name) != there.get(name):
            got = f"{here.get(name, 'no such leaf')} here and {there.get(name, 'no such leaf')} there"
            fix = "Build flow and optimizer from the `meta` saved there, or train anew with another {out}."
            raise RunError("Checkpoints.restore", name, f"must be as saved in {directory}", got, fix)
    return jax.tree_util.tree_map_with_path(place, template)


def as_json(tree: Any) -> Any:
    """What reading the JSON of `tree` back gives."""
    try:
        return json.loads(json.dumps(tree))
    except (TypeError, ValueError) as error:
        fix = "Convert arrays with `.tolist()`."
        raise InvalidTypeError("Checkpoints.save", "meta", "must be a JSON object", str(error), fix) from None


def crc32_of(value: Any) -> int:
    """Of the bytes of an array, or of the JSON of anything else."""
    is_array = isinstance(value, np.ndarray)
    return zlib.crc32(value.reshape(-1).view(np.uint8).data if is_array else json.dumps(value, sort_keys=True).encode())


def write(directory: Path, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> None:
    """Writes one checkpoint under a temporary name and renames it when it is complete."""
    temporary = directory.with_name(f"{directory.name}.saving")
    arrays = {name: array for name, array in arrays.items() if array.size}  # Orbax refuses size 0, and an empty tree
    with _orbax() as (ocp, checkpointer):
        checkpointer.save(temporary / "state", args=ocp.args.PyTreeSave(arrays or {"": np.zeros(1)}))
    if jax.process_index() == 0:
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        content = {**content, "files": {str(p.relative_to(temporary)): zlib.crc32(p.read_bytes()) for p in files}}
        (temporary / "meta.json").write_text(json.dumps({"crc32": crc32_of(content), "content": content}), "utf-8")
        temporary.rename(directory)


def read(directory: Path, content: dict[str, Any], collections: Collection[str]) -> dict[str, Any]:
    """The values of these collections by name, verified."""
    table = {name: row for name, row in content["leaves"].items() if name.split("/")[0] in collections}
    arrays = {name: 0 for name, row in table.items() if 0 not in row.get("shape", [0])}
    try:
        for name, crc32 in content["files"].items():
            if zlib.crc32((directory / name).read_bytes()) != crc32:
                raise DamagedError(f"{name} does not match its checksum")
        if arrays:
            with _orbax() as (ocp, checkpointer):
                numpy = dict.fromkeys(arrays, ocp.RestoreArgs(restore_type=np.ndarray))
                args = ocp.args.PyTreeRestore(item=arrays, restore_args=numpy, partial_restore=True)
                arrays = checkpointer.restore(directory / "state", args=args)
    except (MemoryError, DamagedError):
        raise
    except Exception as error:  # depending on the place of the damage Orbax raises nearly anything
        raise DamagedError(one_line(error)) from None
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


def one_line(error: BaseException) -> str:
    """The type and the first words of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"

"""`export_run`: a trained flow as a folder of StableHLO programs, which need JAX but nothing of jflows.

OUT/log_prob.jax_export, sample.jax_export    the programs, as `jax.export` serialises them
    variables.npz                             the weights, the first argument of both
    manifest.json                             shapes, types, units, platforms, versions and checksums
    README.md                                 the same in words, with the lines of Python that run the programs

Read next: `jflows/flows/programs.py`, which makes the programs.
"""

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib.version
import numpy as np

from jflows._version import __version__
from jflows.errors import MissingPackageError
from jflows.eval.memory import in_words
from jflows.flows.programs import BATCH, PLATFORMS, Program, Value, check_platforms, named_arrays, programs
from jflows.options import Count, check_call
from jflows.runs.files import check_empty, saving, write_json, write_text
from jflows.runs.rows_of_run import RowsOfRun

FOLDER, MANIFEST, VARIABLES, README = "export", "manifest.json", "variables.npz", "README.md"
SUFFIX = ".jax_export"
FORMAT = 1  # of the folder; a change of what a key of the manifest means changes it
ROWS = 16  # of the example in README.md
FACTS = {"columns": "columns of x", "context": "contexts", "class_names": "classes"}
"""Facts of a run that name the entries of x, of contexts and of labels, and what README.md calls these."""

TEXT = f"""# {{name}}: a density as programs

`log_prob{SUFFIX}` and `sample{SUFFIX}` are programs in StableHLO for {{platforms}}. They need no more
than `pip install jax flatbuffers`. They were written by JAX {{jax}}, and JAX promises that releases of the six months
after it read them.

```python
import jax
import numpy as np
from jax import export

variables = dict(np.load("{VARIABLES}"))
with open("sample{SUFFIX}", "rb") as file:
    sample = jax.jit(export.deserialize(bytearray(file.read())).call)
with open("log_prob{SUFFIX}", "rb") as file:
    log_prob = jax.jit(export.deserialize(bytearray(file.read())).call)

{{examples}}
x = sample(variables, {{of_sample}})
nats = log_prob(variables, {{of_log_prob}})
print(x.shape, nats.shape)
```

{{tables}}

- {BATCH} is {{rows}}.
- Each sample depends on its own key alone. Values are not checked: where there is no density, `log_prob` is -inf, and
  it is NaN where x is NaN.
- `{MANIFEST}` holds all of this for programs, with versions and the SHA-256 of each file.
"""


class ExportedRun(NamedTuple):
    """The result of `export_run`.

    Attributes:
      path: the folder that was written.
      sizes: the bytes of the programs and of the weights, by the names of their files.
      platforms: what the programs run on.
      batch_size: the number of rows of each call; None if it is open.
    """

    path: Path
    sizes: dict[str, int]
    platforms: tuple[str, ...]
    batch_size: int | None

    def __str__(self) -> str:
        """What was written, in one line."""
        files = ", ".join(f"{name} ({in_words(size)})" for name, size in self.sizes.items())
        rows = "any number of rows" if self.batch_size is None else f"{self.batch_size:,} rows a call"
        return f"{files} for {', '.join(self.platforms)} and {rows}; {self.path / README} says how to run them"


def export_run(
    trained: RowsOfRun,
    out: Path | None = None,
    *,
    platforms: Sequence[str] = PLATFORMS,
    batch_size: Count | None = None,
) -> ExportedRun:
    """Writes the programs of a trained flow, or mixture, into a folder.

    Args:
      trained: an opened run.
      out: a folder that is empty or not there; None takes export in the run directory.
      platforms: some of "cpu", "cuda" and "tpu"; none of them needs to be at hand.
      batch_size: number of rows of a call; None leaves it open, which costs no time.
    Raises:
      InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range, or if a layer of the
        flow must know the batch size.
      RunError: if the folder is in use, or cannot be written.
      MissingPackageError: if flatbuffers, which JAX needs for this, is not installed.
    """
    check_platforms("export", platforms)
    check_call("export", export_run, {"batch_size": batch_size})
    out = trained.directory / FOLDER if out is None else out
    check_empty("export", out)
    _check_flatbuffers()
    arrays, made = named_arrays(trained.variables), programs(trained.density, trained.variables)
    lowered = [each.export(arrays, platforms, batch_size) for each in made]
    for each, program in zip(made, lowered, strict=True):
        with saving(out / f"{each.name}{SUFFIX}") as partial:
            partial.write_bytes(program.serialize())
    with saving(out / VARIABLES) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    write_text(out / README, _readme(trained, made, platforms, batch_size))
    files = {name: _identified(out / name) for name in (*(f"{each.name}{SUFFIX}" for each in made), VARIABLES)}
    facts = trained.stored.facts
    manifest = {
        "format": FORMAT,
        "run": trained.directory.resolve().name,
        "config": trained.stored.name,
        "weights": trained.weights,
        "step": trained.step,
        "flow": repr(trained.density),
        "platforms": list(platforms),
        "batch_size": batch_size,
        "programs": {each.name: _described(each) for each in made},
        "calling_convention_version": lowered[0].calling_convention_version,
        "versions": _versions(),
        "files": files,
        **{fact: facts[fact] for fact in FACTS if facts.get(fact)},
    }
    write_json(out / MANIFEST, manifest)  # the last, so that a folder with a manifest is whole
    return ExportedRun(out, {name: each["bytes"] for name, each in files.items()}, tuple(platforms), batch_size)


def _check_flatbuffers() -> None:
    """`jax.export` imports it late, when all programs are made."""
    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        rule, fix = "must be importable, as jax.export writes programs by it", "Run `pip install flatbuffers`."
        raise MissingPackageError("export", "flatbuffers", rule, str(error), fix) from error


def _described(program: Program) -> dict[str, Any]:
    """A program as plain values; its first argument is the weights."""
    arguments = [{"name": "variables", "file": VARIABLES}, *(each._asdict() for each in program.arguments)]
    return {"file": f"{program.name}{SUFFIX}", "arguments": arguments, "result": program.result._asdict()}


def _identified(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _versions() -> dict[str, str]:
    own = {"jflows": __version__, "jax": jax.__version__, "jaxlib": jaxlib.version.__version__}
    return own | {"numpy": np.__version__, "python": platform.python_version()}


def _readme(trained: RowsOfRun, made: Sequence[Program], platforms: Sequence[str], batch_size: int | None) -> str:
    """The text of README.md, whose Python runs as printed in the folder."""
    log_prob, sample = made
    needed = {each.name: each for program in made for each in program.arguments if each.name != "x"}
    rows = ROWS if batch_size is None else batch_size
    text = TEXT.format(
        name=trained.directory.resolve().name,
        platforms=", ".join(platforms),
        jax=jax.__version__,
        examples="\n".join(f"{name} = {_example(each, rows)}" for name, each in needed.items()),
        of_sample=", ".join(each.name for each in sample.arguments),
        of_log_prob=", ".join(each.name for each in log_prob.arguments),
        tables="\n\n".join(map(_table, made)),
        rows="the number of rows, at least 1" if batch_size is None else f"{batch_size}, the number of rows of a call",
    )
    named = {what: trained.stored.facts.get(fact) for fact, what in FACTS.items()}
    return text + "".join(f"- The {what} are {', '.join(map(str, own))}.\n" for what, own in named.items() if own)


def _example(value: Value, rows: int) -> str:
    """Python that makes an argument."""
    shape = tuple(rows if size == BATCH else size for size in value.shape)
    if value.dtype == "uint32":
        return f"np.random.default_rng(0).integers(2**32, size={shape}, dtype=np.uint32)"
    return f"np.zeros({shape}, np.{value.dtype})" if shape else f"np.{value.dtype}(1)"


def _table(program: Program) -> str:
    lines = [f"| `{program.name}` | shape | type | what it holds |", "|---|---|---|---|"]
    lines.append(f"| variables | | | the arrays of `{VARIABLES}`, by their names |")
    for value in (*program.arguments, program.result._replace(name="result")):
        shape = ", ".join(map(str, value.shape))
        lines.append(f"| {value.name} | [{shape}] | {value.dtype} | {value.meaning} |")
    return "\n".join(lines)

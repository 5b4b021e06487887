"""The direction of dependencies inside jflows, and what `import jflows` must not drag in."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import jflows

PACKAGE = Path(__file__).resolve().parents[1] / "jflows"
BASE = {"_version", "typing", "errors", "options", "modules", "processes"}
LAYERS = BASE | {"ops"}
CORE = LAYERS | {"nn", "bijectors", "distributions", "spec", "data"}
FLOWS = CORE | {"flows"}
MAY_IMPORT = {  # beside itself; the package's own __init__ may import anything
    **dict.fromkeys(BASE | {"ops", "data"}, BASE),
    **dict.fromkeys(("nn", "bijectors", "distributions"), LAYERS),
    **dict.fromkeys(("spec", "flows"), CORE),
    **dict.fromkeys(("testing", "eval"), FLOWS),
    "interop": FLOWS | {"eval"},
    "train": FLOWS | {"data", "eval", "testing"},  # the loop reports what eval computes, never the reverse
    "runs": FLOWS | {"eval", "train"},
    "bench": FLOWS | {"eval", "runs", "testing"},
    "cli": FLOWS | {"eval", "train", "runs", "bench"},
    "__main__": {"cli"},
}
LAZY = (
    "distrax",
    "tensorflow_probability",
    "orbax",
    "tensorflow_datasets",
    "sklearn",
    "matplotlib",
    "grain",
    "diffrax",
    "equinox",
    "numpyro",
    "blackjax",
    "pandas",
    "pyarrow",
    "h5py",
    "scipy.linalg",
)


def imported_parts(path: Path) -> set[str]:
    """Names right under `jflows` that a file imports, anywhere in it; "" is jflows itself."""
    package = ".".join(("jflows", *path.relative_to(PACKAGE).parts[:-1]))
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            is_root = module == "jflows"
            found |= {f"{module}.{alias.name}" for alias in node.names} if is_root else {module}
    return {[*name.split("."), ""][1] for name in found if name.split(".")[0] == "jflows"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lower_layers_never_import_higher_ones(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    assert part in MAY_IMPORT, f"{path.name}: say in MAY_IMPORT what jflows.{part} may import"
    above = imported_parts(path) - MAY_IMPORT[part] - {part}
    assert not above, f"jflows.{part} may not import {sorted(above)}; it sits above it or beside it"


@pytest.mark.parametrize("folder", ["experiments", "benchmarks", "jflows/cli"])
def test_only_the_command_line_imports_the_command_line(folder):
    root = PACKAGE.parent
    for path in (root / folder).rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        modules = {node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module}
        found = {name for name in modules if name.startswith("jflows.cli")}
        assert folder == "jflows/cli" or not found, f"{path}: use jflows.runs instead of {found}"


def test_no_import_cycle_in_runs_and_command_line():
    for part in ("runs", "bench", "cli"):
        edges = {}
        for path in (PACKAGE / part).rglob("*.py"):
            name = ".".join(("jflows", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            edges[name] = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
        while edges:
            last = [name for name, needs in edges.items() if not (needs - {name}) & set(edges)]
            assert last, f"jflows.{part} has a cycle among {sorted(edges)}"
            edges = {name: needs for name, needs in edges.items() if name not in last}


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which modules are loaded when `code` is done, in a new process that must say nothing else."""
    report = f"import atexit, sys; atexit.register(lambda: print('loaded', *[n for n in {names} if n in sys.modules]))"
    command = [sys.executable, "-W", "error", "-c", f"{report}\n{code}"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (child.returncode, child.stderr) == (0, "")
    return child.stdout.splitlines()[-1].split()[1:]


def test_import_is_light_and_silent():
    assert loaded("from jflows import *", (*LAZY, "jax")) == ["jax"]


@pytest.mark.parametrize(
    "code",
    ["import jflows"]
    + [
        f"from jflows.cli import main; main({args})"
        for args in (["--help"], ["configs"], ["evaluate", "--help"], ["bench", "--help"])
    ],
)
def test_import_and_help_do_not_wait_for_jax(code):
    assert loaded(code, ("jax", "numpy")) == []


def test_names_of_the_package_are_found_when_used():
    code = "import jflows; jflows.train.fit, jflows.eval.evaluate, jflows.bijectors.Chain, jflows.typing.Batch"
    assert loaded(code, ("jax",)) == ["jax"]
    assert jflows.glow is jflows.flows.glow and jflows.load is jflows.runs.load  # not `jflows.data.load`
    assert set(jflows.__all__) <= set(dir(jflows))
    assert all(getattr(jflows, name) is not None for name in jflows.__all__)
    with pytest.raises(AttributeError, match="module 'jflows' has no attribute 'glwo'"):
        jflows.glwo  # noqa: B018

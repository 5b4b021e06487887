"""The recipes of CONTRIBUTING.md, executed as printed in one copy of the tree: types, cases, a training."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
EDIT = re.compile(r"^\*\*`(?P<path>[^`]+)`\*\*\n```(?P<kind>python|diff)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
EDITS = [found.groupdict() for found in EDIT.finditer(TEXT)]
SMOKE = """
import jflows, jflows.runs.running
from tests.cases import CASES
from tests.presets import build, data_of
from jflows.testing import check_bijector
case = next(case for case in CASES if case.name == "asinh")
check_bijector(case.make(), case.x_event_shape, **case.options)
assert build("tamed").event_shape == data_of(build("tamed"), 2).shape[1:]
assert len(jflows.data.load("two_cauchy", "test")) == 10000
jflows.runs.running.write_reports = lambda *_: []  # pictures take longer than all of this
result = jflows.run("tamed_cauchy", "run", steps=3, log_every=1, progress=False, num_layers=1)
assert result.score.num_examples == 10000 and result.result["steps"] == 3
assert jflows.Recipe.from_json(result.recipe.to_json()) == result.recipe
"""


def apply(edit: dict[str, str], root: Path) -> None:
    """Creates the file, or adds the `+` lines below the line that is printed above them."""
    path = root / edit["path"]
    if edit["kind"] == "python":
        assert not path.exists(), f"{path} is there already"
        path.write_text(edit["body"])
        return
    context, *added = edit["body"].splitlines()
    lines = path.read_text().splitlines()
    assert lines.count(context[1:]) == 1, f"{edit['path']} must hold this line once: {context[1:]}"
    assert all(line.startswith("+") for line in added)
    position = lines.index(context[1:]) + 1
    lines[position:position] = [line[1:] for line in added]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the tree with every recipe applied."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("jflows", "experiments", "tests"):
        ignore = shutil.ignore_patterns("__pycache__", "*.png", "results")
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    for edit in EDITS:
        apply(edit, root)
    return root


def test_a_recipe_costs_few_edits():
    counts = {}
    for section in TEXT.split("### Add a ")[1:]:
        edits = [found.groupdict() for found in EDIT.finditer(section)]
        added = sum(edit["body"].count("\n+") for edit in edits if edit["kind"] == "diff")
        counts[section.partition("\n")[0]] = (sum(edit["kind"] == "python" for edit in edits), added)
    assert counts == {"bijector": (1, 2), "preset": (1, 2), "data set": (1, 1), "loss": (1, 1), "config": (1, 0)}


def test_every_recipe_works_as_printed(tree):
    environment = {**os.environ, "PYTHONPATH": str(tree), "JFLOWS_CACHE": str(ROOT / ".cache" / "jflows")}
    command = [sys.executable, "-c", SMOKE]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_recipe_passes_the_type_checker_and_the_linter(tree):
    files = [edit["path"] for edit in EDITS if edit["kind"] == "python"]
    executables = Path(sys.executable).parent
    lint = subprocess.run([executables / "ruff", "check", *files], cwd=tree, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    checked = [path for path in files if path.startswith("jflows")]
    command = [executables / "pyright", "--pythonpath", sys.executable, *checked]
    types = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert types.returncode == 0, types.stdout

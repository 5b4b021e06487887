"""The distribution: its version, its wheel, its pinned sets, and the examples in its docstrings."""

import doctest
import importlib
import importlib.metadata
import io
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jax
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jflows

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "jflows").rglob("*.py")
    if ">>>" in path.read_text()
)


def run(*command: object, **options) -> str:
    child = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


def test_version_is_that_of_the_installed_distribution():
    assert jflows.__version__ == importlib.metadata.version("jflows-flax")
    shown = subprocess.run([sys.executable, "-m", "jflows", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"jflows {jflows.__version__}\n"


def test_wheel_holds_every_module_and_the_experiments(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("jflows/")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "jflows").rglob("*.py")}
    configs = {f"jflows/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "experiments").rglob("*.py")}
    assert modules | configs | {"jflows/py.typed"} <= packed
    assert any(name.startswith("jflows/experiments/configs/") for name in packed)
    assert {Path(name).suffix for name in packed} <= {".py", ".typed", ".md", ".json"}


def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    code = "import jflows; print(jflows.__file__); from jflows.cli import main; main()"
    shown = run(
        sys.executable, "-c", code, "configs", cwd=tmp_path, env={"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    )
    assert shown.startswith(str(site / "jflows"))
    assert all(path.stem in shown for path in (ROOT / "experiments" / "configs").glob("[a-z]*.py"))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_within_its_bounds(python):
    lines = (ROOT / "constraints" / f"py{python}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = PROJECT["optional-dependencies"]
    needs = [*PROJECT["dependencies"], *extras["dev"], *extras["ode"], *extras["grain"], *extras["science"]]
    for need in map(Requirement, needs):
        assert need.specifier.contains(pins[canonicalize_name(need.name)], prereleases=True), need


def of_examples(name: str):
    return pytest.param(name, marks=[pytest.mark.first] * (name == "jflows.testing.non_finite"))


@pytest.mark.parametrize("name", [of_examples(name) for name in WITH_EXAMPLES])
def test_examples_in_docstrings_run_as_printed(name):
    report = io.StringIO()
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
    with jax.enable_x64(False):  # what a user sees
        for example in doctest.DocTestFinder().find(module, name):
            runner.run(example, out=report.write)
    assert not runner.failures, report.getvalue()

"""Pages name what there is and nothing else: tables of classes, options of presets, every dotted name."""

import contextlib
import importlib
import math
import re
import shlex
from pathlib import Path

import click
import pytest

import jflows
import jflows.bijectors
import jflows.distributions
import jflows.flows
import jflows.nn
from jflows.cli import main
from jflows.cli.training import train
from jflows.flows.presets.table import presets_table
from jflows.runs import configs

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "bijectors.md").read_text()
NAMED = set(re.findall(r"`(?:jflows\.\w+\.)?([A-Z]\w+)", TEXT))
ABSTRACT = {"Bijector", "SameShape", "InnerMap", "Base", "StandardBase", "Dequantize", "LinearMap"}
INTERNAL = {"ContextTerm", "WeightNormConv"}  # parts of the networks


@pytest.mark.parametrize("package", [jflows.bijectors, jflows.distributions, jflows.nn])
def test_every_class_is_in_the_tables(package):
    classes = {name for name in package.__all__ if isinstance(getattr(package, name), type)}
    missing = classes - NAMED - ABSTRACT - INTERNAL
    assert not missing, f"docs/bijectors.md does not name {sorted(missing)}"


def test_the_tables_name_nothing_that_is_not_there():
    packages = (jflows.bijectors, jflows.distributions, jflows.nn, jflows.flows)
    known = {name for package in packages for name in package.__all__}
    unknown = NAMED - known
    assert not unknown, f"docs/bijectors.md names {sorted(unknown)}"


PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / "experiments/README.md"]
)
NAME = re.compile(r"(?<![\w/.])jflows(?:\.[A-Za-z_]\w*)+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_are_whole_lines(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    broken = [line for line in text.splitlines() if line.startswith("|") and not line.endswith("|")]
    assert not broken, f"{page.name}: another text was pasted into {broken}"


def found(dotted: str) -> bool:
    """Whether a dotted name leads to something: attributes, or modules to import."""
    value = jflows
    for depth, part in enumerate(parts := dotted.split(".")[1:], start=1):
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(["jflows", *parts[:depth]]))
            except ImportError:
                return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_on_a_page_exists(page):
    text = page.read_text()
    made_there = {path.replace("/", ".") for path in re.findall(r"\*\*`(jflows/[\w/]+)\.py`\*\*", text)}
    names = {name for name in NAME.findall(text) if not name.endswith((".py", ".md"))} - made_there
    missing = sorted(name for name in names if not found(name))
    assert not missing, f"{page.name} names {missing}"


def test_a_name_that_does_not_exist_would_be_noticed():
    assert found("jflows.eval.interpolate") and found("jflows.interop.from_distrax")
    assert not found("jflows.eval.interpolat") and not found("jflows.nowhere.at_all")


def test_the_page_of_presets_is_that_of_their_declarations():
    page = (ROOT / "docs" / "presets.md").read_text()
    assert page == presets_table(), "run `python -m jflows.flows.presets.table > docs/presets.md`"


def commands(text: str) -> list[list[str]]:
    """The words of every `jflows train` in the code blocks of a page, without the comment at the end."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = "\n".join(block for language, block in found if language != "python").replace("\\\n", " ")
    lines = (line.strip() for line in blocks.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith("jflows train ")]


def test_commands_are_found_in_blocks_only():
    text = (
        "```python\n1\n```\njflows train no\n```\n# a note\njflows train maf --data x.csv \\\n  --steps 3  # why\n```\n"
    )
    assert commands(text) == [["jflows", "train", "maf", "--data", "x.csv", "--steps", "3"]]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page.read_text())], ids=lambda page: page.name)
def test_options_of_training_on_a_page_are_options_of_that_config(page):
    for _, _, name, *words in commands(page.read_text()):
        if name not in (*jflows.flows.PRESETS, *configs.list_configs()):
            continue  # a file, or a run, of the reader's
        if "--import" in words:  # so is the module
            at = words.index("--import")
            words = words[:at] + words[at + 2 :]
        train.asked = words  # which decide what options there are
        with contextlib.suppress(click.exceptions.Exit):  # of --help
            parent = click.Context(train, info_name="train", parent=click.Context(main, info_name="jflows"))
            train.get_command(parent, name).make_context(name, list(words), parent)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_python_on_a_page_is_python(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(block, page.name, "exec")


def test_the_preset_of_ones_own_takes_contexts_and_domains(monkeypatch):
    (block,) = re.findall(r"```python\n(from jflows\.bijectors.*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
    home = importlib.import_module("jflows.flows.presets.preset")  # not the function of that name
    monkeypatch.setattr(home, "PRESETS", {})  # a preset of this test alone
    made: dict = {"__name__": "mine"}
    exec(compile(block, "mine.py", "exec"), made)
    flow = made["mine_flow"]((3,), num_layers=2, context_dim=2, domains=jflows.data.Domains(positive=(1,)))
    assert flow.context_shape == (2,) and flow.domains.positive == (1,)


@pytest.mark.slow
def test_the_page_on_other_libraries_runs():
    pytest.importorskip("numpyro")
    pytest.importorskip("blackjax")
    made: dict = {}
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs/interop.md").read_text(), re.DOTALL)
    ):
        exec(compile(block, f"interop.md, block {number}", "exec"), made)
    assert {name: value.shape for name, value in made["exact"].items()} == {"scale": (100,), "x": (100, 2)}
    assert made["chains"].x.shape == (4, 200, 2)
    assert abs(float(made["particles"].log_normalizer.mean()) - math.log(math.pi)) < 0.2

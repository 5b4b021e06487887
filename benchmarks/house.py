"""The house in numbers: what a training step passes through, where kinds are asked for, how long things are.

    python benchmarks/house.py                 # this checkout, to read
    python benchmarks/house.py --root DIR      # another checkout, with the jflows in it
    python benchmarks/house.py --json          # the same as one JSON object

"walk" counts the files of `jflows/` in which a function runs (seen by `sys.setprofile`) while `fit` takes one step of
`realnvp((6,))` and of a Glow of two levels of two steps, with default options. "all" is the whole call: settings,
initialisation, tracing, one line of metrics. "fit" leaves out `jflows/data/`, since rows may come from anywhere. "step"
is what runs while one gradient step is traced, below `step` of `train/step.py`.

"sites" are the lines of `jflows/`, `experiments/` and `benchmarks/` that ask what a value is. "kind": isinstance,
issubclass or `type(...) is` with a class whose name ends in one of `KIND_SUFFIXES`, a call such as `is_table(...)`, a
comparison of an attribute of `KIND_ATTRIBUTES` with a word of `KIND_WORDS`, or a `match` on such an attribute.
"capability": hasattr, or getattr with a default, of an attribute written as a word; those of arrays, of Python and of
other libraries are left out. "fields":
names written as `"a b c".split()`, or getattr over names that are written out. "walk": isinstance of a bijector that
holds others, outside of `jflows/bijectors/`. A class that asks about itself is not counted. "arguments" are checks
whose only answer is an error about a type (an assert, or an `if` that raises); they do not count in the total.

"lines" of code are neither blank nor comment nor docstring. "long" are files over 400 lines and functions over 60, with
decorators and docstring. "mentions" are the files and lines, tests and documents included, that name one thing of each
sort: about what it takes to add such a thing.
"""

import argparse
import ast
import inspect
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
FOLDERS = ("jflows", "experiments", "benchmarks")
KIND_SUFFIXES = ("Data", "Flow", "Flows", "Density", "Config", "Loss", "Recipe", "Reading")
KIND_CALL = re.compile(r"_?is_(image|table|mixture|flow|vector)s?$")
KIND_ATTRIBUTES = {"kind", "objective", "unit"}
KIND_WORDS = {"image", "images", "table", "tables", "vector", "vectors", "flow", "flows", "mixture", "base", "none"}
KIND_WORDS |= {"likelihood", "BITS_PER_DIM", "NATS"}
HOLDERS = {"Chain", "Repeat", "Inverse", "MultiScale", "Split", "Stack", "Masked", "Vmap", "Conditioned", "Continuous"}
OF_ARRAYS = {"shape", "dtype", "ndim", "vma", "committed", "x"}
OF_OTHERS = {"key", "msg", "ctx", "jaxpr", "eqns", "n_frames", "decorator_list"}  # of jax, click, Pillow and `ast`
REASONS = {
    "jflows/cli/options.py": "click's own options, such as --help, have no group",
    "jflows/data/store/builders.py": "narrows the type of known data to those that tensorflow-datasets keeps",
    "jflows/flows/mixture_of.py": "an argument may be one flow, or several",
    "jflows/options.py": "an error says what to write instead of an object of another library",
    "jflows/runs/configs.py": "an argument may be a recipe, a preset, a name or a path",
    "jflows/runs/presets.py": "the annotation of a preset may be missing, or be no class",
    "jflows/runs/recipe.py": "an argument may be a loss, or the name of one",
    "jflows/runs/running.py": "a run that resumes takes its own recipe, unless one is given as an object",
    "jflows/train/losses/__init__.py": "finds the losses among the names of the package",
}
"""Why a question may stand: one in each of these files, and none elsewhere, held by `tests/test_house.py`."""
MENTIONED = {
    "preset": r"\bnsf_autoregressive\b|\bNsfAutoregressive",
    "image data set": r"\bfashion_mnist\b|\bFashionMnist",
    "table": r"\bred_wine\b|\bRedWine",
    "loss": r"\breverse_kl\b|\bReverseKL",
}


class Site(NamedTuple):
    """One question: the rule by which it counts, where it stands, and the source line."""

    rule: str
    file: str
    line: int
    source: str


def python_files(root: Path, *folders: str) -> list[Path]:
    """The files below these folders that git knows; all of them where the root is no checkout."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True)
    names = listed.stdout.split() or [str(path.relative_to(root)) for path in root.rglob("*.py")]
    return sorted(root / name for name in names if name.split("/")[0] in folders and (root / name).is_file())


def files_run(call: Callable[[], object], package: Path) -> dict[str, set[str]]:
    """The package's files in which a function runs: in all of `call`, and below one gradient step."""
    found: dict[str, set[str]] = {"all": set(), "step": set()}
    prefix, steps = f"{package}/", []

    def profile(frame: Any, event: str, _: object) -> None:
        if event == "return" and steps and frame is steps[-1]:
            steps.pop()
        if event != "call" or not frame.f_code.co_filename.startswith(prefix):
            return
        name = frame.f_code.co_filename.removeprefix(prefix)
        if (name, frame.f_code.co_name) == ("train/step.py", "step"):
            steps.append(frame)
        for part in ("all", "step") if steps else ("all",):
            found[part].add(name)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def walk(root: Path) -> dict[str, dict[str, list[str]]]:
    """The files that one training step of a RealNVP and of a Glow passes through."""
    import numpy as np

    import jflows
    from jflows.data import ImageData, TableData
    from jflows.train import TrainConfig, fit

    package = Path(jflows.__file__).parent
    if package != root / "jflows":
        sys.exit(f"benchmarks/house.py: --root must hold the package jflows; found {package}.")
    draw = np.random.default_rng(0)
    table = TableData("rows", draw.normal(size=(64, 6)).astype(np.float32))
    images = ImageData("pixels", draw.integers(0, 256, (64, 8, 8, 1)).astype(np.uint8))
    glow = jflows.glow((8, 8, 1), num_levels=2, num_steps=2, width=8)
    quiet = {"progress": False} if "progress" in inspect.signature(fit).parameters else {}
    rows = {}
    for name, flow, data in (("realnvp", jflows.realnvp((6,)), table), ("glow", glow, images)):
        config = TrainConfig(steps=1, batch_size=8)
        found = files_run(lambda flow=flow, data=data, config=config: fit(flow, data, config, **quiet), package)
        found["fit"] = {file for file in found["all"] if not file.startswith("data/")}
        rows[name] = {part: sorted(found[part]) for part in ("step", "fit", "all")}
    return rows


def words_in(*trees: ast.AST) -> set[str]:
    """Names, attributes and strings in expressions."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    words = {node.id for node in nodes if isinstance(node, ast.Name)}
    words |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return words | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def name_called(node: ast.AST) -> str:
    """The name that a call calls; "" for anything else."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "id", getattr(function, "attr", ""))


def is_pythons(name: str) -> bool:
    """Whether an attribute is one that Python gives its own objects."""
    return name.startswith("__") or name == "_is_protocol"


def is_word(node: ast.AST) -> bool:
    """Whether an expression is a string that is written out."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def rule_of(node: ast.AST, around: list[ast.AST]) -> tuple[str, set[str]]:
    """The rule by which an expression is a question, "" if it is none; and the classes that it asks about."""
    if isinstance(node, ast.Compare):
        sides = (node.left, *node.comparators)
        if any(name_called(side) == "type" for side in sides):
            return rule_of_classes(words_in(*sides))
        attributes = {side.attr for side in sides if isinstance(side, ast.Attribute)}
        return ("kind" if attributes & KIND_ATTRIBUTES and words_in(*sides) & KIND_WORDS else ""), set()
    if isinstance(node, ast.Match):
        return ("kind" if words_in(node.subject) & KIND_ATTRIBUTES else ""), set()
    if not isinstance(node, ast.Call):
        return "", set()
    name, given = name_called(node), node.args
    if name in ("isinstance", "issubclass"):
        return rule_of_classes(words_in(given[1]))
    if KIND_CALL.match(name):
        return "kind", set()
    if (name == "hasattr" or (name == "getattr" and len(given) == 3)) and is_word(given[1]):
        asked = words_in(given[1])
        return ("" if asked & (OF_ARRAYS | OF_OTHERS) or any(map(is_pythons, asked)) else "capability"), set()
    if name == "getattr" and isinstance(given[1], ast.Name):
        return ("fields" if is_written_out(given[1], around) else ""), set()
    if name == "split" and not given and isinstance(node.func, ast.Attribute):
        text = node.func.value
        return ("fields" if is_word(text) or is_written_out(text, around) else ""), set()
    return "", set()


def rule_of_classes(classes: set[str]) -> tuple[str, set[str]]:
    """The rule for a check against these classes, and those that count."""
    kinds = {name for name in classes if name.endswith(KIND_SUFFIXES)}
    return ("kind", kinds) if kinds else ("walk" if classes & HOLDERS else "", classes & HOLDERS)


def is_written_out(name: ast.AST, around: list[ast.AST]) -> bool:
    """Whether a name stands for strings written in its function: by a loop over them, or by an assignment."""
    for node in (node for outer in around for node in ast.walk(outer)):
        loops = isinstance(node, ast.For | ast.comprehension)
        source = node.iter if loops else node.value if isinstance(node, ast.Assign) else None
        targets = [node.target] if loops else getattr(node, "targets", [])
        if source is not None and any(isinstance(target, ast.Name) for target in targets):
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if names & words_in(name) and any(is_word(part) for part in ast.walk(source)):
                return True
    return False


def only_raises(node: ast.AST, around: list[ast.AST]) -> bool:
    """Whether the only answer to a question is an error about a type."""
    for outer in reversed(around):
        if isinstance(outer, ast.If) and any(node is part for part in ast.walk(outer.test)):
            last = outer.body[-1]
            return isinstance(last, ast.Raise) and any(name.endswith("TypeError") for name in words_in(last))
        if isinstance(outer, ast.stmt):
            return isinstance(outer, ast.Assert)
    return False


def nodes_of(tree: ast.AST, around: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, list[ast.AST]]]:
    """Every node below a tree, with those around it, the outermost first."""
    for child in ast.iter_child_nodes(tree):
        yield child, [*around, tree]
        yield from nodes_of(child, (*around, tree))


def sites(root: Path) -> list[Site]:
    """All questions of a checkout, in order of place."""
    found = set()
    for path in python_files(root, *FOLDERS):
        file, text = str(path.relative_to(root)), path.read_text()
        for node, around in nodes_of(ast.parse(text)) if path.name != Path(__file__).name else ():
            functions = [outer for outer in around if isinstance(outer, ast.FunctionDef)]
            rule, classes = rule_of(node, functions[:1] or around[:1])
            if classes & {outer.name for outer in around if isinstance(outer, ast.ClassDef)}:
                continue
            if rule and not (rule == "walk" and file.startswith("jflows/bijectors/")):
                rule = "arguments" if only_raises(node, around) else rule
                line = getattr(node, "lineno", 0)
                found.add(Site(rule, file, line, text.splitlines()[line - 1].strip()))
    return sorted(found, key=lambda site: site[1:3])


def count_code(text: str) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    left_out = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in left_out]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and is_word(node.value):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def lengths(root: Path) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Lines of every package and folder, and what is too long."""
    packages: dict[str, dict[str, int]] = defaultdict(lambda: {"files": 0, "code": 0, "total": 0})
    long = []
    for path in python_files(root, *FOLDERS, "tests"):
        file, text = path.relative_to(root), path.read_text()
        total = len(text.splitlines())
        inside = file.parts[0] == "jflows" and len(file.parts) > 2
        for package in {file.parts[0], "/".join(file.parts[: 1 + inside])}:
            for what, count in (("files", 1), ("code", count_code(text)), ("total", total)):
                packages[package][what] += count
        if total > MAX_FILE_LINES:
            long.append(f"{file}: {total} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = min(part.lineno for part in (node, *node.decorator_list))
                if (count := (node.end_lineno or first) - first + 1) > MAX_FUNCTION_LINES:
                    long.append(f"{file}:{node.lineno} {node.name}: {count} lines")
    return dict(sorted(packages.items())), long


def mentions(root: Path) -> dict[str, dict[str, int]]:
    """Files and lines that name one thing of each sort; the changelog is left out."""
    documents = [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("experiments/*.md"))]
    texts = [path.read_text() for path in (*python_files(root, *FOLDERS, "tests"), *documents) if path.is_file()]
    counts = {}
    for sort, pattern in MENTIONED.items():
        lines = [sum(bool(re.search(pattern, line)) for line in text.splitlines()) for text in texts]
        counts[sort] = {"files": sum(map(bool, lines)), "lines": sum(lines)}
    return counts


def report(root: Path) -> dict[str, Any]:
    """All counts, as plain values."""
    found, (packages, long) = sites(root), lengths(root)
    by_rule = dict(sorted(Counter(site.rule for site in found).items()))
    counts = by_rule | {"total": sum(number for rule, number in by_rule.items() if rule != "arguments")}
    passed = walk(root)
    walked = {name: {part: len(files) for part, files in parts.items()} for name, parts in passed.items()}
    facts = {"walk": walked, "sites": counts, "lines": packages, "long": long, "mentions": mentions(root)}
    return facts | {"walk_files": passed, "site_lines": [site._asdict() for site in found]}


def main() -> None:
    """Reads the command line and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to count")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    root = options.root.resolve()
    sys.path.insert(0, str(root))
    facts = report(root)
    if options.json:
        print(json.dumps(facts, indent=1))
        return
    for site in facts.pop("site_lines"):
        reason = "" if site["rule"] == "arguments" else f"  # {REASONS.get(site['file'], 'no reason is known')}"
        print("{rule:<11}{file}:{line}: {source}".format(**site) + reason)
    for name, parts in facts.pop("walk_files").items():
        marked = [file if file in parts["step"] else f"({file})" for file in parts["all"]]
        print(f"\n{name}, brackets around what is not below the step:\n  {' '.join(marked)}")
    for title, rows in facts.items():
        print(f"\n{title}")
        for row in rows if isinstance(rows, list) else [f"{name:<22}{value}" for name, value in rows.items()]:
            print(f"  {row}")


if __name__ == "__main__":
    main()

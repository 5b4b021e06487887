"""Who may ask of what kind something is: densities and data say it themselves, so hardly anyone has to.

Counted are calls of `isinstance`, `issubclass`, `hasattr` and `getattr` that ask whether something is images, a table,
a flow or a mixture, outside the packages where these are defined. Checks of arguments, which raise an error of ours, do
not count.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "jflows"
HOMES = ("data", "flows", "testing")
CLASSES = {"ImageData", "TableData", "NoData", "Flow", "MixtureOfFlows", "Density", "Data", "Continuous", "MultiScale"}
CAPABILITIES = {"encode", "num_components", "num_classes", "backprop", "embed", "dequantize", "num_bits", "columns"}
MOST = 10
REASONS = {
    "interop/distrax.py": "one adapter serves flows and bases, which share no class",
    "train/losses/divergence.py": "the type checker learns what `check` has refused before",
    "train/losses/flow_matching.py": "the type checker learns what `check` has refused before",
    "train/losses/mixture.py": "the type checker learns what `check` has refused before",
}


def asks(node: ast.AST) -> bool:
    """Whether a call asks for one of the kinds."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) < 2:
        return False
    if node.func.id in ("isinstance", "issubclass"):
        return any(getattr(part, "id", getattr(part, "attr", "")) in CLASSES for part in ast.walk(node.args[1]))
    wanted = node.args[1]
    return node.func.id in ("hasattr", "getattr") and isinstance(wanted, ast.Constant) and wanted.value in CAPABILITIES


def refusals(tree: ast.AST) -> set[int]:
    """Lines of conditions whose body raises."""
    conditions = [node for node in ast.walk(tree) if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)]
    return {line for node in conditions for line in range(node.lineno, node.body[-1].end_lineno + 1)}


def sites() -> list[tuple[str, int]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name.split("/")[0] in HOMES:
            continue
        tree = ast.parse(path.read_text())
        refused = refusals(tree)
        found += [(name, node.lineno) for node in ast.walk(tree) if asks(node) and node.lineno not in refused]
    return found


def test_hardly_anyone_asks_for_the_kind_of_a_thing():
    found = sites()
    unexplained = [site for site in found if site[0] not in REASONS]
    assert not unexplained, f"ask the thing itself, or say in REASONS why not: {unexplained}"
    assert len(found) <= MOST
    assert set(REASONS) <= {name for name, _ in found}, "a reason is without its site"


def test_a_question_would_be_noticed():
    tree = ast.parse(
        "if isinstance(data, TableData):\n    use(data)\nif not isinstance(flow, Flow):\n    raise Error()"
    )
    lines = [node.lineno for node in ast.walk(tree) if asks(node) and node.lineno not in refusals(tree)]
    assert lines == [1]
    assert asks(ast.parse('getattr(flow, "num_components", None)').body[0].value)

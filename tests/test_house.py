"""Nobody asks what a value is, but for a few places with a reason."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def house():
    """`benchmarks/house.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_questions_stand_where_a_reason_is_known():
    module = house()
    found = [site for site in module.sites(ROOT) if site.rule != "arguments"]
    assert sorted(site.file for site in found) == sorted(module.REASONS), [
        f"{s.file}:{s.line} {s.source}" for s in found
    ]
    assert len(found) <= 10


def test_every_rule_finds_its_question(tmp_path):
    """A rule that finds nothing would let everything pass."""
    lines = {
        "kind": "def f(data): return data.kind == 'images'",
        "capability": "def f(flow): return hasattr(flow, 'encode')",
        "fields": "def f(row): return [getattr(row, name) for name in ('a', 'b')]",
        "walk": "def f(map): return 1 if isinstance(map, Chain) else 2",
        "arguments": "def f(flow):\n    if not isinstance(flow, Flow):\n        raise InvalidTypeError",
    }
    for rule, source in lines.items():
        (tmp_path / "jflows").mkdir(exist_ok=True)
        (tmp_path / "jflows" / f"{rule}.py").write_text(source)
    assert {(site.file, site.rule) for site in house().sites(tmp_path)} == {(f"jflows/{r}.py", r) for r in lines}

"""Reads every kind of input of `reliability_cases.py`, and writes what came of it into docs/reliability.md.

python tests/reliability.py            # prints what is not right; the exit code is 1 if anything is not
python tests/reliability.py --write    # also writes docs/reliability.md
"""

import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jflows.data import load  # noqa: E402 - the checkout that this file is in, and no other
from jflows.errors import JflowsError  # noqa: E402
from tests.reliability_cases import CASES as FOREIGN  # noqa: E402
from tests.reliability_cases import Case, Read, Refused  # noqa: E402
from tests.reliability_texts import TEXTS  # noqa: E402

CASES = (*FOREIGN, *TEXTS)
PAGE, FIXTURES = ROOT / "docs" / "reliability.md", ROOT / "tests" / "fixtures"
HEAD = """# Reliability: what becomes of {num} kinds of input

`python tests/reliability.py --write` makes this page, and `make test` checks that it is right: each outcome was written
down in tests/reliability_cases.py and reliability_texts.py before it was run. The number of inputs of each writer:
{writers}; [WRITERS.txt](../tests/fixtures/WRITERS.txt) has the versions. [data.md](data.md) states the rules.

| input | written by | right outcome | outcome |
|---|---|---|---|
"""


def placed(case: Case, folder: Path) -> Path:
    """The path of the input, in a folder of its own."""
    if callable(case.source):
        return case.source(folder)
    if isinstance(case.source, tuple):
        path = folder / case.source[0]
        path.write_bytes(case.source[1])
        return path
    source = FIXTURES / case.source
    path = folder / source.name
    shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    return path


def outcome(case: Case, folder: Path) -> tuple[str, bool]:
    """What came of the input, in words, and whether it is right; anything but one of our errors is raised."""
    path, right = placed(case, folder), case.right
    try:
        data = load(path, "all", **dict(case.options))
    except JflowsError as error:
        line = str(error).replace(str(folder), ".")
        line = re.sub(r"[^\s(]*x{50,}", "xxx...", line)
        wanted = isinstance(right, Refused) and re.search(right.pattern, line)
        return line, bool(wanted) and "\n" not in line
    noun = "images of " + "x".join(map(str, data.event_shape)) if data.kind.has_pixels else "rows"
    told = f"; told: {data.read_as}" if data.read_as else ""
    words = f"read: {len(data)} {noun}{_names(data.columns)}{told}"
    return words, isinstance(right, Read) and _is(data, right)


def _is(data, right: Read) -> bool:
    label = None if data.label is None else tuple(data.label.tolist())
    if data.columns != right.columns or right.told not in data.read_as or label != right.label:
        return False
    wanted = np.asarray(right.values, np.float64)
    return data.x.shape == wanted.shape and bool(np.abs(data.x - wanted.astype(np.float32)).max() <= right.tolerance)


def _names(columns: tuple[str, ...]) -> str:
    shown = ", ".join(columns[:4]) + (", ..." if len(columns) > 4 else "")
    return f" of {shown}" if columns else ""


def in_words(right: Read | Refused) -> str:
    """The right outcome, as the page has it."""
    if isinstance(right, Refused):
        return f"refused: `{right.pattern}`"
    told = f", told: {right.told}" if right.told else ""
    labels = "" if right.label is None else ", with labels"
    return f"read as shape {'x'.join(map(str, np.shape(right.values)))}{labels}{told}"


def rows() -> list[tuple[Case, str, bool]]:
    """All inputs with their outcomes."""
    found = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found.append((case, *outcome(case, Path(folder).resolve())))
    return found


def page(found: list[tuple[Case, str, bool]]) -> str:
    """The text of docs/reliability.md."""
    count = Counter(case.writer for case, _, _ in found)
    head = HEAD.format(num=len(found), writers=", ".join(f"{writer} {num}" for writer, num in count.most_common()))
    clean = lambda text: text.replace("|", "\\|")
    lines = (
        f"| {clean(c.what)} | {c.writer} | {clean(in_words(c.right))} | {clean(words)} |\n" for c, words, _ in found
    )
    return head + "".join(lines)


def main() -> None:
    """Runs all and tells what is not right."""
    found = rows()
    wrong = [(case, words) for case, words, right in found if not right]
    for case, words in wrong:
        print(f"{case.writer}: {case.what}: must be {in_words(case.right)}\n    {words}")
    print(f"{len(found)} inputs, {len(wrong)} not right")
    if "--write" in sys.argv:
        PAGE.write_text(page(found))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

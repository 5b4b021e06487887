"""Every kind of input of `tests/reliability.py` has the outcome that was written down for it; the page says so."""

import numpy as np
import pytest

from jflows.data import load
from jflows.errors import JflowsError
from tests.reliability import CASES, FIXTURES, PAGE, outcome, page

pytest.importorskip("pyarrow")
pytest.importorskip("PIL")


def test_every_kind_of_input_has_the_right_outcome_and_the_page_is_up_to_date(tmp_path):
    found = []
    for number, case in enumerate(CASES):
        (tmp_path / str(number)).mkdir()
        found.append((case, *outcome(case, tmp_path / str(number))))
    wrong = [f"{case.writer}: {case.what}: {words}" for case, words, right in found if not right]
    assert not wrong, "\n".join(wrong)
    assert len({(case.writer, case.what, case.options) for case in CASES}) > 200
    own = sum(case.writer in ("by hand", "as Excel writes it") for case in CASES)
    assert own < len(CASES) / 2
    assert PAGE.read_text() == page(found), "run `python tests/reliability.py --write`"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_damage_is_read_or_refused_in_one_line(tmp_path, seed):
    random, pieces = np.random.default_rng(seed), [b"\0", b'"', b",", b"\n", b"\xff", b"#", b"nan", b"---", b" ", b"\t"]
    files = [path for path in sorted(FIXTURES.rglob("*")) if path.is_file() and path.parent != FIXTURES]
    for number in range(1000):
        source = files[random.integers(len(files))]
        content = bytearray(source.read_bytes())
        for place in random.integers(len(content), size=random.choice([1, 2, 8])):
            change = random.integers(4)
            if change == 0 and place < len(content):
                content[place] ^= 1 << int(random.integers(8))
            elif change == 1:
                del content[place:]
            elif change == 2:
                content[place:place] = pieces[random.integers(len(pieces))]
            else:
                content[place : place + 8] = bytes(8)
        place = tmp_path / str(number)
        place.mkdir()
        (place / source.name).write_bytes(content)
        images = not {"pillow", "magick"}.isdisjoint(source.parts)
        try:
            load(place if images else place / source.name, "all")
        except JflowsError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("change", ["values", "columns", "told", "pattern"])
def test_a_wrong_outcome_would_be_noticed(tmp_path, change):
    case = next(case for case in CASES if case.what == "CSV with semicolons and decimal commas")
    refused = next(case for case in CASES if case.what == "JSON")
    wrong = {
        "values": case._replace(right=case.right._replace(values=case.right.values + 1e-3)),
        "columns": case._replace(right=case.right._replace(columns=("a", "b", "d"))),
        "told": case._replace(right=case.right._replace(told="separator=comma")),
        "pattern": refused._replace(right=case.right),
    }[change]
    assert outcome(wrong, tmp_path)[1] is False

"""Every kind of input of `tests/reliability.py` has the outcome that was written down for it; the page says so."""

import pytest

from tests.reliability import CASES, PAGE, outcome, page

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

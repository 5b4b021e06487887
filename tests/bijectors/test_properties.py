"""The whole property suite on every registered bijector."""

import pytest

from jflows.testing import check_bijector
from tests.cases import CASES, classes_in, exported_bijectors


def parameter(case):
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else [])


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_keeps_the_contract(case):
    if case.requires:
        pytest.importorskip(case.requires, reason=f"{case.name} needs the optional package {case.requires}")
    check_bijector(case.make(), case.x_event_shape, **case.options)


def test_every_exported_bijector_is_registered():
    covered = set().union(*(classes_in(case.make()) for case in CASES))
    missing = exported_bijectors() - covered
    assert not missing, f"tests/cases.py has no case for {sorted(missing)}"

"""The tables of docs/bijectors.md name everything that can be used, and nothing else."""

import re
from pathlib import Path

import pytest

import jflows.bijectors
import jflows.distributions
import jflows.flows
import jflows.nn

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "bijectors.md").read_text()
NAMED = set(re.findall(r"`(?:jflows\.\w+\.)?([A-Z]\w+)", TEXT))
ABSTRACT = {"Bijector", "InnerMap", "Base", "StandardBase", "Dequantize", "LinearMap"}
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

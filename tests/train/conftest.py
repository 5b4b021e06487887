"""The fixture of the checkpoint tests."""

import pytest

from jflows.train.checkpoint import Checkpoints
from tests.train.checkpointing import training_of, variables_of


@pytest.fixture
def two_steps(tmp_path):
    """A run with steps 1 and 2, a fresh copy for each test."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, variables_of(step), training_of(step), {"flow": "nice", "step": step})
    return tmp_path

"""One tiny run of a table, trained once from Python, for all tests of runs."""

from pathlib import Path

import numpy as np
import pytest

import jflows

ROOT = Path(__file__).resolve().parents[2]
TINY = dict(num_layers=1, hidden_sizes=(4,), batch_size=16, init_batch=32, warmup_steps=5, steps=20, num_validation=10)
TINY |= dict(log_every=5, eval_every=10, checkpoint_every=10, steps_per_call=5, parallel="none", eval_batch_size=50)


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """Prepared data stay in the checkout's cache, not in the user's."""
    monkeypatch.setenv("JFLOWS_CACHE", str(ROOT / ".cache" / "jflows"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory) -> Path:
    """A table of 120 rows in the plane, with labels."""
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    random = np.random.RandomState(0)
    label = random.randint(0, 2, 120)
    np.savez(path, x=random.randn(120, 2) + 3.0 * label[:, None], label=label)
    return path


@pytest.fixture(scope="session")
def tiny(rows) -> dict:
    """Options of runs that take a second; all compile to the same program."""
    return {**TINY, "data": str(rows), "progress": False}


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory) -> "jflows.runs.RunResult":
    """A finished run of `realnvp`."""
    return jflows.run("realnvp", tmp_path_factory.mktemp("runs") / "trained", **tiny)

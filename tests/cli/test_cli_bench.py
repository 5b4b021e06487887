"""`jflows bench`: a map of one's own in one line, comparison with committed rows, and what is refused."""

import re

import pytest

from jflows.bench import Results, Row, machine
from jflows.bench.results import Done

MODULE = """
import jax.numpy as jnp
from jflows.bijectors import SameShape
from jflows.ops import sum_event


class Doubled(SameShape):
    event_ndims: int = 1
    wrong: bool = False

    def _log_det(self, values, sign):
        return sum_event(jnp.full_like(values, sign * jnp.log(2.0) * (not self.wrong)), 1)

    def _forward_and_log_det(self, z, context):
        return 2 * z, self._log_det(z, 1)

    def _inverse_and_log_det(self, x, context):
        return x / 2, self._log_det(x, -1)


wrong = Doubled(wrong=True)
"""


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    monkeypatch.setitem(machine.PRODUCT_SIZE, "cpu", 64)
    monkeypatch.setitem(machine.COPY_BYTES, "cpu", (1 << 12, 1 << 16))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "bench_mine.py"
    path.write_text(MODULE)
    return path


def test_a_map_of_ones_own_is_timed_in_one_line(jflows, mine, tmp_path):
    out = tmp_path / "own.jsonl"
    words = ("bench", "--import", mine, "--shape", "8,3", "--runs", "1", "--calls", "3", "--out", out)
    result = jflows(*words, "--bijector", "bench_mine.wrong")
    assert result.exit_code == 2 and "`log-det` must equal" in result.stderr and "with --unchecked" in result.stderr
    assert not out.exists()
    result = jflows(*words, "--bijector", "bench_mine.wrong", "--unchecked")
    assert result.exit_code == 0, result.stderr
    assert (
        "bench_mine.wrong  inverse_gradient" in result.stdout and f"page in {out.with_suffix('.html')}" in result.stdout
    )
    assert [row.what for row in Results(out).rows] == ["forward", "inverse", "forward_gradient", "inverse_gradient"]
    result = jflows(*words, "--bijector", "bench_mine.wrong", "--unchecked")
    assert result.stdout.startswith("All rows are there already; name another file by --out")


def results_of(path, faster):
    """A file in which all is measured that the next command asks for."""
    results = Results(path)
    results.begin(machine.description((), {}))
    times = dict(calls=3, ms=1.0, low_ms=1.0, high_ms=1.0, times_faster=faster)
    for run in range(2):
        results.add(Row("actnorm", "forward", (64,), 4096, "float32", "distrax", run, **times))
        results.finish(Done("actnorm", (64,), 4096, "float32", run, ("distrax",)))
    return path


def test_ratios_are_compared_with_committed_ones(jflows, tmp_path):
    out = results_of(tmp_path / "found.jsonl", 2.0)
    words = ("bench", "--only", "actnorm", "--library", "distrax", "--runs", "2", "--out", out, "--check")
    result = jflows(*words, results_of(tmp_path / "slower.jsonl", 1.0))
    assert result.exit_code == 0 and "No ratio is below that of" in result.stdout, result.stderr
    result = jflows(*words, results_of(tmp_path / "faster.jsonl", 3.0))
    assert result.exit_code == 1 and "jflows: bench: jflows is slower than in" in result.stderr
    assert "actnorm forward is 2.00 times as fast as distrax, and was 3.00 times; 20% less is allowed." in result.stderr
    result = jflows("bench", "--only", "actnorm", "--library", "none", "--out", tmp_path / "new.jsonl", "--check", out)
    assert result.exit_code == 2 and "`--check` needs a library beside jflows, as ratios are compared" in result.stderr
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--library", "zuco"), "bench: `--library` must be one of .*; got 'zuco'. Did you mean zuko?"),
        (("--library", "none", "--library", "zuko"), "`--library` must not be none and others; got none, zuko. Leave"),
        (("--library", "none", "--check", "no_such.jsonl"), "`--check` must be a file of rows that is there; got no_"),
        (("--library", "nflows"), r"nflows is not. pip install 'jflows-flax\[bench\]' .* has it by --python."),
        (
            ("--only", "glov"),
            "`--only` must match the name of .*; got 'glov'. Did you mean glow.*`jflows bench --list`",
        ),
        (("--python", "zuko"), "`--python` must be LIBRARY=PATH; got 'zuko'. Write zuko=env/bin/python."),
        (("--shape", "3,4"), "`--shape` must be left out without --bijector, whose it is; got"),
        (
            ("--bijector", "a.B", "--batch", "3"),
            "`--batch` must be left out with --bijector; got 3. Set sizes by --shape.",
        ),
        (("--bijector", "a.B", "--quick"), "`--quick` must be left out with --bijector; got True."),
        (("--bijector", "a.B", "--shape", "x"), "'x' must be whole numbers of at least 1, separated by commas."),
        (("--bijector", "no_such.B"), "must be a module that Python finds here"),
    ],
)
def test_what_cannot_be_timed_is_refused(jflows, words, message, monkeypatch):
    from jflows.bench import beside

    monkeypatch.setattr(beside, "find_spec", lambda name: None)
    result = jflows("bench", *words)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr


def test_names_are_listed(jflows):
    assert {"glow", "actnorm"} <= set(jflows("bench", "--list").stdout.split())

"""`jflows.bench` in miniature: what is measured, how turns are taken, what is written, and what is refused."""

import ast
import json
import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

import jflows
from jflows import bench
from jflows import bijectors as b
from jflows.bench import beside, machine, measure, own, page, results, running, suite
from jflows.errors import DataError, InvalidTypeError, InvalidValueError, MissingPackageError, RunError
from jflows.flows.presets import PRESETS
from jflows.ops import Domain
from jflows.testing import CheckError
from tests.cases import classes_in, exported_bijectors

PARTS_OF_OTHERS = {"Conditioned"}  # it embeds a context, and the suite has none
MACHINE = {"platform": "cpu", "kind": "a", "cores": 1, "python": "3", "versions": {"jax": "1"}, "commit": None}
MACHINE |= {"date": "2026-01-01", "load": 0.0, "quiet": True, "libraries": {}}


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    """Peaks of small arrays, measured once."""
    monkeypatch.setitem(machine.PRODUCT_SIZE, "cpu", 64)
    monkeypatch.setitem(machine.COPY_BYTES, "cpu", (1 << 12, 1 << 16))


def row(subject="a", library="jflows", run=0, faster=None, ms=1.0, **more) -> bench.Row:
    times = dict(calls=3, ms=ms, low_ms=ms, high_ms=ms, times_faster=faster)
    return bench.Row(subject, "log_prob", (4,), 8, "float32", library, run, **times, **more)


def test_the_suite_has_every_bijector_and_every_preset():
    made = [subject.make(subject.event_shape) for subject in suite.SUBJECTS if subject.requires is None]
    maps = [each.bijector if isinstance(each, jflows.Flow) else each for each in made]
    covered = {"Continuous"}.union(*map(classes_in, maps))
    assert exported_bijectors() - covered == PARTS_OF_OTHERS
    names = [subject.name for subject in suite.SUBJECTS]
    assert set(PRESETS) - {"tamed"} <= set(names) and len(set(names)) == len(names)


def test_a_map_is_timed_in_one_line():
    rows = bench.time(b.InvertibleLinear(), (8, 4), calls=3)
    assert [each.what for each in rows] == ["forward", "inverse", "forward_gradient", "inverse_gradient"]
    inverse = rows[1]
    assert inverse.low_ms <= inverse.ms <= inverse.high_ms and inverse.calls == 3
    assert inverse.elements_per_s == pytest.approx(32e3 / inverse.ms, rel=1e-3)
    assert inverse.gflop == 2e-9 * 8 * 4 * 4 or inverse.gflop > 0
    assert inverse.planned_bytes >= 2 * 32 * 4 and inverse.compile_s > 0
    assert set(inverse.shares) == {"matrix products", "memory", "elementary functions", "calling a program"}
    assert inverse.bound[1] == max(inverse.shares.values()) > 0
    text = str(rows)
    assert text.count("\n") == 4 and "InvertibleLinear" in text and "elements/s" in text


def test_bytes_that_caches_hold_are_moved_faster():
    best = machine.Peaks(1.0, ((100, 50.0), (1000, 20.0)), 1.0, 1.0)
    assert [best.bytes_rate(moved) for moved in (80, 300, 5000)] == [50.0, 20.0, 20.0]


@pytest.mark.parametrize(
    "subject",
    [b.RationalQuadraticSpline(2, 2.0), jflows.realnvp((4,), 1, (4,), standardize=False)],
    ids=["inner", "flow"],
)
def test_other_kinds_have_their_own_programs(subject):
    dtype = "float64"
    with jax.enable_x64(True):
        found = measure.programs(subject, (3, 4), dtype, None)
        shapes = {name: jax.eval_shape(program.call, *program.args) for name, program in found.items()}
    names = set(found) - {"forward", "inverse"}
    is_map = names == {"forward_gradient", "inverse_gradient"}
    assert is_map or names == {"log_prob", "gradient", "sample"}
    assert shapes["forward"][0].shape == (3, 4) and shapes["inverse"][0].dtype == dtype
    if not is_map:
        assert shapes["sample"].shape == (3, 4) and shapes["log_prob"].shape == (3,)


@pytest.mark.parametrize("domain", [Domain(), Domain(low=2.0), Domain(high=-1.0), Domain(1.0, 3.0)], ids=str)
def test_data_lie_in_the_domain(domain):
    assert bool(jnp.all(domain.contains(measure._drawn((500,), None, domain))))


def test_calls_take_turns_in_new_orders():
    made = []

    def call(name, ms):
        return lambda count: made.append((name, count)) or ms

    times = measure.by_turns({"fast": call("fast", 0.1), "slow": call("slow", 5.0)}, 12, seed=0)
    assert times == {"fast": [0.1] * 12, "slow": [5.0] * 12}
    untimed, timed = made[4::2], made[5::2]
    assert untimed == [(name, 1) for name, _ in timed], "a call that fills the caches comes before each"
    rounds = list(zip(timed[::2], timed[1::2], strict=True))
    assert len(rounds) == 12 and {frozenset(each) for each in rounds} == {frozenset({("fast", 50), ("slow", 1)})}
    assert len(set(rounds)) == 2  # both orders
    long = measure.by_turns({"long": call("long", 9000.0)}, 12, seed=0)
    assert len(long["long"]) == measure.LEAST_ROUNDS


@pytest.mark.parametrize(
    ("subject", "shape", "options", "error", "message"),
    [
        (3, (2, 3), {}, InvalidTypeError, "`subject` must be a bijector, an inner map, a flow or a mixture.*got int"),
        (b.Tanh(), (), {}, InvalidValueError, r"`shape` must be the shape of x, such as \(1024, 64\); got \(\)"),
        (
            b.Tanh(),
            (2, 3),
            {"dtype": "float23"},
            InvalidValueError,
            "`dtype` must be one of .*; got 'float23'. Did you",
        ),
        (b.Tanh(), (2, 3), {"calls": 0}, InvalidValueError, "bench.time: `calls` must be at least 1; got 0"),
        (b.Tanh(), (2, 3), {"calls": 1.5}, InvalidTypeError, "`calls` must be an int; got 1.5"),
        (
            b.ActNorm(),
            (4,),
            {},
            InvalidValueError,
            r"`shape` must have a batch axis before the 1 of an event; got \(4,\)",
        ),
        (
            jflows.normal((2,)),
            (2,),
            {},
            InvalidValueError,
            r"`shape` must have a batch axis before the 1 of an event; got \(2,\)",
        ),
        (
            b.Tanh(),
            (2, 3),
            {"draw": lambda rng, shape: rng.normal(size=3)},
            InvalidValueError,
            r"`draw` must return .*",
        ),
        (b.Tanh(), 4096, {}, InvalidTypeError, "bench.time: `shape` must be .*; got 4096"),
        (b.Tanh(), (2.5, 4), {}, InvalidTypeError, r"bench.time: `shape` must be .*; got \(2.5, 4\)"),
        (
            jflows.normal((3,)),
            (2, 4),
            {},
            InvalidValueError,
            r"`shape` must end with the event shape \(3,\); got \(2, 4\)",
        ),
    ],
)
def test_what_cannot_be_timed_is_refused(subject, shape, options, error, message):
    with pytest.raises(error, match=message):
        bench.time(subject, shape, **options)


def test_libraries_are_found_or_named():
    assert beside.environments(["distrax"], {}) == {"distrax": sys.executable}
    assert beside.environments(None, {"zuko": sys.executable})["zuko"] == sys.executable
    with pytest.raises(
        InvalidValueError, match="`library` must be one of 'distrax', .*; got 'zuco'. Did you mean zuko?"
    ):
        beside.environments(["zuco"], {})
    with pytest.raises(
        InvalidValueError, match="`python` must be LIBRARY=PATH with the path of a Python; got 'zuko=/no"
    ):
        beside.environments(["zuko"], {"zuko": "/no/python"})


@pytest.mark.parametrize("library", beside.LIBRARIES)
def test_models_of_workers_are_subjects_and_take_their_sizes(library):
    """Read, not run: the libraries are elsewhere."""
    tree = ast.parse((beside.OTHERS / f"{library}_worker.py").read_text())
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    (models,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["MODELS"]
    )
    assert isinstance(models, ast.Dict) and models.keys
    for key, value in zip(models.keys, models.values, strict=True):
        (subject,) = suite.chosen([ast.literal_eval(key)])
        if isinstance(value, ast.Name):
            taken = [argument.arg for argument in functions[value.id].args]
            assert sorted(taken) == sorted(["shape", *subject.sizes]), subject.name
        else:  # made by a function, of a layer or of a spline
            assert set(subject.sizes) <= {"num_bins", "bound", "num_reflections"}


@pytest.mark.slow
@pytest.mark.parametrize("library", [name for name in beside.LIBRARIES if find_spec(name)])
def test_workers_answer_all_that_is_timed_of_their_subjects(library):
    sizes = {
        "num_layers": 1,
        "hidden": 4,
        "num_bins": 2,
        "num_levels": 2,
        "num_steps": 1,
        "width": 4,
        "num_reflections": 2,
    }
    worker, answered = beside.Worker(library, sys.executable, "cpu"), 0
    for subject in suite.SUBJECTS:
        event_shape = (8, 8, 1) if len(subject.event_shape) == 3 else (4,)
        small = {name: sizes.get(name, value) for name, value in subject.sizes.items()}
        able = worker.prepare(subject.name, (3, *event_shape), "float32", small)
        assert set(able) in (
            set(),
            {"forward", "inverse", "forward_gradient", "inverse_gradient"},
            {"forward", "forward_gradient"},  # of a map that the library cannot invert
            {"inverse", "inverse_gradient"},
            {"log_prob", "gradient", "sample"},
        ), subject.name
        assert all(worker.milliseconds(what, 1) > 0 for what in able), subject.name
        answered += len(able) > 0
    worker.close()
    assert answered >= 2


def test_a_library_that_is_absent_says_which_extra_brings_it(monkeypatch):
    monkeypatch.setattr(beside, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackageError, match=r"nflows is not. pip install 'jflows-flax\[bench\]' brings all of them"
    ):
        beside.environments(["nflows"], {})
    assert beside.environments(None, {}) == {}


def test_a_process_that_ends_says_why(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such module >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(
        RunError, match="zuko must run in its environment, and its process ended at versions; got no such"
    ):
        beside.Worker("zuko", str(broken), "cpu")


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    subject = suite.Subject("actnorm", lambda shape: b.ActNorm(), (4,), 8)
    plan = bench.Plan([subject], {"distrax": sys.executable}, runs=1, calls=3)
    found = bench.Results(tmp_path / "found.jsonl")
    shown = []
    bench.run(plan, found, shown.append)
    assert shown == found.rows and len(shown) == 8
    theirs = [each for each in found.rows if each.by == "distrax"]
    assert set(found.machines[0]["libraries"]["distrax"]) == {"distrax", "jax"}
    assert [each.what for each in theirs] == ["forward", "inverse", "forward_gradient", "inverse_gradient"]
    assert all(each.times_faster > 0 and each.compile_s is None for each in theirs)

    torn = found.path.read_text() + '{"subject": "act'
    found.path.write_text(torn)
    again = bench.Results(found.path)
    assert again.rows == found.rows and again.path.read_text() == torn
    with again.held():
        assert again.path.read_text() == torn.removesuffix('{"subject": "act')
    monkeypatch.setattr(running, "programs", lambda *args: pytest.fail("measured again"))
    bench.run(bench.Plan([subject], {}, runs=1), again)
    assert again.rows == found.rows
    written = page.page(again)
    assert "actnorm inverse" not in written and "actnorm" in written and "<script" not in written


def test_a_file_of_something_else_and_of_another_device_is_refused(tmp_path):
    path = tmp_path / "found.jsonl"
    path.write_text('{"metric": 3}\n')
    with pytest.raises(DataError, match="`out` must be a file of rows that `jflows bench` has written; got line 1 of"):
        bench.Results(path)
    path.write_text(json.dumps(MACHINE) + "\n")
    with pytest.raises(
        InvalidValueError, match="rows of this device only, which is 2 cores of b; got rows of 1 core of a"
    ):
        bench.Results(path).begin(MACHINE | {"kind": "b", "cores": 2})


def test_a_machine_of_another_speed_is_warned_of(tmp_path):
    found = bench.Results(tmp_path / "found.jsonl")
    rated = lambda flops, dtype="float32": MACHINE | {"peaks": {dtype: {"flops": flops}}}
    found.begin(rated(1e11))
    found.begin(rated(1.4e11))
    found.begin(rated(1.0, "bfloat16"))  # nothing to compare with
    found.begin(rated(1e11))
    with pytest.warns(UserWarning, match=r"jsonl goes on, on a machine that multiplies matrices 0\.5 times as fast"):
        found.begin(rated(5e10))


def test_two_processes_do_not_add_to_one_file(tmp_path):
    found, same = (bench.Results(tmp_path / "new" / "found.jsonl") for _ in range(2))
    with found.held(), pytest.raises(RunError, match="`out` must not be in use by another process; got .*found.jsonl"):
        bench.run(bench.Plan([]), same)
    with same.held():
        same.begin(MACHINE)
    with pytest.raises(RunError, match="`out` must be a file that can be written; got .*Choose another."):
        bench.run(bench.Plan([]), bench.Results(found.path / "below.jsonl"))


def test_rows_are_read_as_they_were_written():
    made = row(faster=2.0, compile_s=0.5)
    assert bench.Row.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_slower_ratios_are_found_beyond_their_spread():
    of_runs = lambda *values, name="a": [row(name, "distrax", n, value) for n, value in enumerate(values)]
    committed = of_runs(2.0, 2.0, 2.0) + of_runs(2.0, 3.0, 2.5, name="b")
    assert results.ratios(committed)[committed[3].case, "distrax"].spread == pytest.approx(0.4)
    assert results.slower(of_runs(1.62) + of_runs(1.6, name="b"), committed) == []
    (first, second) = results.slower(of_runs(1.58) + of_runs(1.4, name="b"), committed)
    assert first == "a log_prob is 1.58 times as fast as distrax, and was 2.00 times; 20% less is allowed."
    assert "1.40 times" in second and "40% less" in second
    with pytest.raises(InvalidValueError, match="`check` must hold ratios of what is measured now.*got 2 other ratios"):
        results.slower(of_runs(1.0, name="c"), committed)


def test_the_page_begins_with_what_is_not_ahead(tmp_path):
    found = bench.Results(tmp_path / "found.jsonl")
    found.begin(MACHINE | {"quiet": False, "load": 3.0})
    shares = dict(product_share=0.8, memory_share=0.1, function_share=0.0, dispatch_share=0.01, compile_s=0.1)
    for each in (row(**shares), row("slow", **shares | {"product_share": 0.2}), row("split", **shares)):
        found.add(each)
    for name, ratios in {"a": (0.5, 0.6), "slow": (0.9, 0.9), "split": (0.9, 1.1), "ahead": (3.0, 3.1)}.items():
        for number, faster in enumerate(ratios):
            found.add(row(name, "zuko", number, faster))
    first, second, third = (part for part in page.page(found).split("<section")[1:])
    assert first.index(">a<") < first.index(">slow<") and ">ahead<" not in first
    assert "The share of matrix products is 80%: at most 1.2 times faster is possible." in first
    assert "The largest share, of matrix products, is 20%: the operations leave room for a faster program." in first
    assert "The runs do not agree on who is faster." in first
    assert ">ahead<" in second and "3.05 ± 0.05 *" in second and ">ahead<" not in third
    assert "11 rows were measured on 2026-01-01 on 1 core of a (cpu), which was busy, at" in page.page(found)


class Wrong(b.SameShape):
    """Its log-det is 0, and should not be."""

    event_ndims: int = 1

    def _forward_and_log_det(self, z, context):
        return 2 * z, jnp.zeros(z.shape[:-1])

    def _inverse_and_log_det(self, x, context):
        return x / 2, jnp.zeros(x.shape[:-1])


def test_a_map_of_ones_own_is_checked_first():
    name = f"{__name__}.Wrong"
    sys.modules.setdefault(__name__, sys.modules[Wrong.__module__])
    with pytest.raises(CheckError, match="`log-det` must equal.*Mend it, or time it all the same with unchecked"):
        own.own_subject(name, (4, 3))
    assert own.own_subject(name, (4, 3), unchecked=True).make((3,)) == Wrong()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("Tanh", (4, 3), "`bijector` must be MODULE.NAME; got 'Tanh'"),
        ("jflows.bijectors.Tanhh", (4, 3), "must be a name in jflows.bijectors; got 'Tanhh'. Did you mean Tanh?"),
        ("no_such_module.Tanh", (4, 3), "`import` must be a module that Python finds here"),
        ("jflows.bijectors.Shift", (4, 3), "must name a bijector; got jflows.bijectors.Shift, which is Shift"),
        ("jflows.bijectors.Tanh", (4,), r"`shape` must have a batch axis and the event, as in 1024,64; got \(4,\)"),
    ],
)
def test_names_of_maps_that_cannot_be_timed(name, shape, message):
    with pytest.raises((InvalidValueError, InvalidTypeError, DataError), match=message):
        own.own_subject(name, shape)


def test_patterns_choose_subjects():
    names = lambda *patterns, quick=False: [each.name for each in suite.chosen(patterns, quick)]
    assert names("realnvp", "*_spline") == ["realnvp", "linear_spline", "quadratic_spline", "cubic_spline"]
    assert 3 <= len(names(quick=True)) < len(names()) == len(suite.SUBJECTS)
    small = suite.chosen(["realnvp", "glow"])
    assert [each.resized(42, 7).event_shape for each in small] == [(42,), (32, 32, 3)]
    with pytest.raises(InvalidValueError, match="`only` must match the name of.*got 'realnvpp'. Did you mean realnvp?"):
        names("realnvpp")

"""`jflows coherence`: the page and its numbers, of images and of a conditional flow of tables, and what is left out."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

import jflows as library
from jflows import bijectors as b
from jflows import distributions as d
from jflows.data import ImageData, TableData
from jflows.errors import DataError, InvalidValueError
from jflows.flows import MixtureOfFlows
from jflows.runs import TrainedRun
from jflows.runs.reports import html
from jflows.runs.reports.coherence import attributes as of_attributes
from jflows.runs.reports.coherence import base, write_coherence

TITLES = ["1. The base", "2. Latent tests", "3. Attributes", "4. Classes"]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """As few samples as sections need."""
    for name, value in {"NUM_PER_SHELL": 6, "NUM_OF_BASE": 6, "NUM_RADII": 100, "STEPS": 5}.items():
        monkeypatch.setattr(base, name, value)
    monkeypatch.setattr(of_attributes, "NUM_MOVED", 3)


def check_page(path):
    """The page holds everything itself, and its parts are closed; returns its text."""
    page = path.read_text()
    assert page.count("<section") == page.count("</section>") == 4
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES and page.count('class="see"') == 4
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert 'name="viewport"' in page
    return page


def test_the_command_writes_a_page_and_its_numbers(trained, jflows, tmp_path):
    out = tmp_path / "c.html"
    given = ("--num", 60, "--num-sets", 19, "--attributes", "ink", "--out", out)
    shown = jflows("coherence", trained, *given)
    assert shown.exit_code == 0, shown.output
    assert "attribute ink: balanced accuracy 0." in shown.output
    assert "classes by ink: balanced accuracy 0." in shown.output
    assert "Classes by labels are left out: they must have at least 10 rows of each class to fit to" in shown.output
    assert shown.output.splitlines()[-1] == f"page in {out}, numbers in {tmp_path / 'c.json'}"
    page, numbers = check_page(out), json.loads((tmp_path / "c.json").read_text())
    assert page.count("<img") == 13 and "alpha from -20 to 20 in 20 steps" in page
    assert (numbers["num_train"], numbers["num_test"], numbers["base"]["dim"]) == (60, 60, 64)
    k = dict(zip(numbers["base"]["deviations"]["k"], numbers["base"]["deviations"]["base_log_prob"], strict=True))
    assert k[2.0] == pytest.approx(-64 * (np.log(2 * np.pi) / 2 + 2))
    assert len(numbers["base"]["tempered"]["log_prob"]) == 10
    regions = {region["name"]: region for region in numbers["base"]["regions"]}
    assert list(regions) == ["mode", "highest", "typical"] and regions["typical"]["base_share"] == 0.95
    checks = numbers["base"]["checks"]
    assert list(checks) == ["entropy", "reconstruction"]
    assert [len(checks["entropy"][name]) for name in ("shells", "parts")] == [7, 5]
    assert "A sample fails if a classifier of 1,397 real training images" in page
    ink = numbers["attributes"]["ink"]
    assert sum(ink["num_fitted"]) == sum(ink["num_held_out"]) == 60 and 0 < ink["margin"] < 100
    confusion = np.array(numbers["classes"]["ink"]["confusion"])
    assert confusion.sum() == 60 and confusion.shape == (2, 2)
    assert numbers["latent_tests"]["p_value"] >= 0.05 and len(numbers["left_out"]) == 1


def halves(num, seed):
    label = (np.arange(num) % 2).astype(np.int32)
    x = np.random.default_rng(seed).standard_normal((num, 2)) + 3 * label[:, None]
    return TableData("halves", x.astype(np.float32), label=label, num_classes=2)


def test_a_conditional_flow_of_tables_has_the_parts_that_make_sense(tmp_path):
    embed = library.nn.ClassEmbed(2)
    flow = library.Flow(b.Identity(), d.ClassConditionalNormal((2,)), (2,), embed=embed, context_shape=())
    variables = flow.init(jax.random.key(0), halves(10, 0).x, halves(10, 0).label)
    found = write_coherence(
        flow, variables, halves(100, 1), halves(60, 2), tmp_path / "t.html", num_sets=19, names=("<left>", "right")
    )
    page = check_page(tmp_path / "t.html")
    assert page.count("<img") == 4 and "&lt;left&gt;" in page and "<left>" not in page
    assert found.left_out == (
        "Pictures are left out: rows of a table are listed as numbers in their place.",
        "Attributes are left out: tables have none.",
    )
    base_numbers, _, _, classes = (section.numbers for section in found.sections)
    assert list(base_numbers["checks"]) == ["nearest"] and base_numbers["mean"]["base_log_prob"].shape == (2,)
    table = classes["labels"]
    assert table["balanced_accuracy"] > 0.9 and table["names"] == ("<left>", "right")
    np.testing.assert_allclose(table["mean_log_prob"][:, 2], table["mean_log_prob"][:, 3], rtol=1e-5)  # the identity


def test_runs_and_rows_that_do_not_serve_are_refused_before_anything_is_computed(trained, tmp_path):
    run = TrainedRun.open(trained)
    flow = library.realnvp((2,), 1, (4,))
    table = dataclasses.replace(run, density=flow, stored=run.stored._replace(facts={}))
    x, path = np.zeros((60, 2), np.float32) + np.arange(60)[:, None], tmp_path / "p.html"
    rows = TableData("t", x)
    mixture = dataclasses.replace(table, density=MixtureOfFlows((flow,), 2))
    for call, error, message in [
        (lambda: mixture.coherence(rows, rows), InvalidValueError, "`run` must be that of a flow: a mixture of flows"),
        (
            lambda: table.coherence(TableData("t", x, weight=np.ones(60)), rows),
            InvalidValueError,
            "`weight` must be none",
        ),
        (lambda: table.coherence(rows, TableData("t", x[:49])), DataError, "must have at least 50 rows; got 49 of 't'"),
        (lambda: table.coherence(rows, rows, path, attributes=("a",)), DataError, "which have none; got 'a'. Name"),
        (lambda: table.coherence(rows, rows, path, num=20), InvalidValueError, "`num` must be at least 50; got 20"),
        (
            lambda: run.judged_by("train"),
            InvalidValueError,
            "`split` must be validation or test, as planes and classes",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert not path.exists()
    images = ImageData("i", np.zeros((60, 8, 8, 1), np.uint8), num_bits=4, attributes={"hat": np.zeros(60, bool)})
    with pytest.raises(InvalidValueError, match="`attributes` must name each attribute once; got 'hat' twice"):
        run.coherence(images, images, path, attributes=("hat", "hat"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--num", 20], "Invalid value for '--num': 20 is not in the range 50<=x"),
        (
            ["--split", "train"],
            "`--split` must be validation or test, as planes and classes are fitted to training rows",
        ),
        (["--attributes", "hat"], "`--attributes` must be one of slant, thickness, ink; got 'hat'"),
        (["--out", "page.pdf"], "must end in .html"),
    ],
)
def test_what_the_command_refuses_is_one_line(trained, jflows, args, message):
    shown = jflows("coherence", trained, *args)
    assert shown.exit_code == 2 and message in shown.stderr and shown.stderr.count("\n") == 1, shown.stderr


def test_texts_and_pictures_of_a_page_are_safe_and_whole():
    listed = html.table(["a", "b"], [["<x>", 1.5]], words=(0,))
    assert '<td class="words">&lt;x&gt;</td><td>1.5</td>' in listed
    from PIL import Image

    smooth = np.outer(np.linspace(0, 1, 400), np.linspace(0, 255, 700))[..., None] * [1.0, 0.6, 0.2]
    shown = html.picture(Image.fromarray(smooth.astype(np.uint8)), 'a "picture"')
    assert 'src="data:image/jpeg;base64,' in shown and "min-width: 540px" in shown
    assert 'alt="a &quot;picture&quot;"' in shown
    small = html.picture(Image.new("RGB", (8, 8)), "grey")
    assert 'src="data:image/png;base64,' in small and "min-width: 8px" in small

"""`coherence.html` and `coherence.json`: whether probable regions of a latent space decode to coherent samples."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from jflows.data import Data, eval_batches
from jflows.errors import DataError, InvalidValueError
from jflows.eval.coherence import Embedded, LatentBase, base_of, embedded
from jflows.eval.directions import PENALTY
from jflows.flows import Density, Flow
from jflows.runs.files import write_json, write_text
from jflows.runs.reports import html, latent
from jflows.runs.reports.chosen import check_testable
from jflows.runs.reports.coherence.attributes import SEE as SEE_ATTRIBUTES
from jflows.runs.reports.coherence.attributes import Grouped, attributes_section, grouped
from jflows.runs.reports.coherence.base import base_section
from jflows.runs.reports.coherence.classes import classes_section
from jflows.runs.reports.coherence.material import Material, Section
from jflows.train.progress import stages
from jflows.typing import Variables

FILE = "coherence.html"
NAMES = ("base", "latent_tests", "attributes", "classes")  # of the sections in coherence.json
NUM, NUM_SETS = 2000, 99
CHECK_ROWS = 10_000  # training rows that checks of samples are fitted to, at most
LEAST_ROWS = 50  # of training rows, and of test rows
MOST_TESTED = (
    4096  # dimensions of the latent tests: correlations of all pairs need memory in proportion to their square
)
BATCH = 250
SEE_TESTS = (
    "See whether latents of test data are draws of the base, as the flow promises: tests beyond the dashed line, and "
    "coloured dots, are where they are not."
)


class CoherenceReport(NamedTuple):
    """The written report.

    Attributes:
      path, json_path: the page, and its numbers.
      sections: base, latent tests, attributes and classes.
    """

    path: Path
    json_path: Path
    sections: tuple[Section, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out, and why, in sentences."""
        return tuple(line for section in self.sections for line in section.left_out)


def write_coherence(
    density: Density,
    variables: Variables,
    train: Data,
    test: Data,
    path: Path,
    *,
    attributes: Sequence[str] | None = None,
    num: int | None = None,
    num_sets: int = NUM_SETS,
    penalty: float = PENALTY,
    seed: int = 0,
    names: tuple[str, ...] = (),
    title: str = "",
) -> CoherenceReport:
    """Embeds training and test rows, and writes the page with its numbers beside it.

    Args:
      train, test: rows without weights, as the density reads them; planes, classes and checks are fitted to the former,
        and everything is judged by the latter.
      path: the .html file; the numbers get the same name with .json.
      attributes: names of attributes; None takes all that the data have.
      num: number of rows of each, chosen by the seed; None takes 2,000, or all if there are fewer.
      num_sets: number of sets from the base for the latent tests.
      penalty: C of the support vector machines.
      names: the names of classes; () where they have none.
      title: what the page is about.
    Raises:
      InvalidValueError: if the density has no single latent space, and so no base to compare with, rows have weights,
        or there is no such attribute.
      DataError: if there are fewer than 50 rows of either, latents are not finite, or the base has no mean.
    """
    check(density, train, test, num)
    chosen = _names(train, attributes)
    flow = cast(Flow, density)
    base = base_of(flow, variables)
    with stages("coherence", ("embedding", "base", "latent tests", "attributes", "classes")) as on_stage:
        rows = [_chosen(each, num, seed) for each in (train, test)]
        both = [_embedded(flow, variables, base, each, seed) for each in rows]
        class_names = names or tuple(map(str, range(rows[0].num_classes or 0)))
        checked = _chosen(train, CHECK_ROWS, seed)
        m = Material(flow, variables, base, rows[0], rows[1], both[0], both[1], checked, seed, class_names, title)
        on_stage(1)
        sections = [base_section(m)]
        on_stage(2)
        sections.append(_latent_tests(m, num_sets))
        on_stage(3)
        groups, missing = _groups(m, chosen)
        sections.append(_with(attributes_section(m, groups, penalty) if groups else _no_attributes(m), missing))
        on_stage(4)
        sections.append(classes_section(m, groups))
    return _written(m, sections, path)


def check(density: Density, train: Data, test: Data, num: int | None = None) -> None:
    """Raises unless the density has one latent space, rows count alike, and there are enough; nothing is computed."""
    for rows in (train, test):
        check_testable("coherence", density, rows)
        if len(rows) < LEAST_ROWS:
            rule, got = f"must have at least {LEAST_ROWS} rows", f"{len(rows)} of {rows.name!r}"
            raise DataError("coherence", "data", rule, got, "Name other data by {data}.")
    if num is not None and num < LEAST_ROWS:
        raise InvalidValueError("coherence", "num", f"must be at least {LEAST_ROWS}", num)


def _names(data: Data, attributes: Sequence[str] | None) -> tuple[str, ...]:
    """The names of attributes to look at; raises if one is unknown, or named twice."""
    if attributes is None:
        return data.attribute_names
    for place, name in enumerate(attributes):
        if name in attributes[:place]:
            raise InvalidValueError("coherence", "attributes", "must name each attribute once", f"{name!r} twice")
        if name not in data.attribute_names:
            try:
                data.attribute(name)
            except DataError as error:
                raise error.renamed(attribute="attributes") from error
    return tuple(attributes)


def _chosen(data: Data, num: int | None, seed: int) -> Data:
    num = min(NUM if num is None else num, len(data))
    return data.take(np.sort(np.random.RandomState(seed % 2**32).permutation(len(data))[:num]))


def _embedded(flow: Flow, variables: Variables, base: LatentBase, rows: Data, seed: int) -> Embedded:
    return embedded(flow, variables, base, eval_batches(rows, BATCH, flow.reading), jax.random.key(seed))


def _groups(m: Material, chosen: Sequence[str]) -> tuple[list[Grouped], list[str]]:
    groups, missing = [], []
    for name in chosen:
        try:
            groups.append(grouped(m, name))
        except DataError as error:
            missing.append(f"{name} is left out: it {error.rule}; it has {error.got}.")
    return groups, missing


def _with(section: Section, missing: Sequence[str]) -> Section:
    return section._replace(left_out=(*missing, *section.left_out))


def _no_attributes(m: Material) -> Section:
    why = "the images have none; name a file of them by --attributes" if m.has_pictures else "tables have none"
    return Section("Attributes", SEE_ATTRIBUTES, [], {}, (f"Attributes are left out: {why}.",))


def _latent_tests(m: Material, num_sets: int) -> Section:
    """The tests of `jflows latent` with their figure."""
    title = "Latent tests"
    if m.base.dim > MOST_TESTED:
        why = f"Latent tests are left out: correlations of all pairs of {m.base.dim:,} dimensions need too much memory."
        return Section(title, SEE_TESTS, [], {}, (why,))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / latent.FILE
        options: Any = {"num": len(m.test), "num_sets": num_sets, "seed": m.seed, "names": m.class_names}
        options["progress"] = False  # that of the sections is shown
        tested = latent.draw_latent(m.flow, m.variables, m.test, file, title=m.title, **options)
        content = file.read_bytes()
    found = tested.report
    rows = [
        [each.name, f"{each.value:.4f}", f"{each.typical:.4f}", f"{each.high:.4f}", f"{each.p_value:.3g}"]
        for each in found.tests
    ]
    verdict = "they differ from draws of the base" if found.p_value <= 0.05 else "no difference from the base was found"
    parts = [
        html.paragraph(f"All tests together have p = {found.p_value:.3g}: at a level of 0.05, {verdict}."),
        html.table(["test", "statistic", "median of the base", "its 95 % point", "p"], rows),
        html.png(content, "Left, each test; right, each dimension, in deviations over sets from the base."),
    ]
    numbers = {"p_value": found.p_value, "tests": [each._asdict() for each in found.tests]}
    left_out = tuple(f"Class {name} has too few rows for a test of its own." for name in tested.left_out)
    return Section(title, SEE_TESTS, parts, numbers, left_out)


def _written(m: Material, sections: list[Section], path: Path) -> CoherenceReport:
    drawn = [
        html.section(
            place,
            section.title,
            section.see,
            [*section.parts, *(html.paragraph(line, "left-out") for line in section.left_out)],
        )
        for place, section in enumerate(sections, start=1)
    ]
    intro = [
        "Is a flow coherent: do the regions that it holds to be probable decode to coherent samples? Two regions are "
        "meant: that of the base, and that of embedded data.",
        f"{len(m.train):,} training {m.noun} and {len(m.test):,} test {m.noun} of {m.test.name} were embedded, as u, "
        f"in a latent space of D = {m.base.dim:,} dimensions. ln p(u) is their log density under the base, and ln p(x) "
        "that of the data by the flow, in nats.",
    ]
    titles = [section.title for section in sections]
    write_text(path, html.page(f"Coherence of {m.title}", intro, titles, drawn))
    content = {
        "title": m.title,
        "num_train": len(m.train),
        "num_test": len(m.test),
        "seed": m.seed,
        **{name: _plain(section.numbers) for name, section in zip(NAMES, sections, strict=True)},
        "left_out": [line for section in sections for line in section.left_out],
    }
    json_path = path.with_suffix(".json")
    write_json(json_path, content)
    return CoherenceReport(path, json_path, tuple(sections))


def _plain(value: Any) -> Any:
    """Arrays and NumPy numbers as JSON holds them; numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(own) for own in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value

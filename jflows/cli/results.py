"""Scores and results as text, for the command line."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jflows.eval import PIXEL_SCALES, Auroc, Calibration, CalibrationTest, Evaluation, nats_from_bits
from jflows.eval.modes import ModalityReport
from jflows.eval.ood import Measure
from jflows.flows import NATS, Density, Unit
from jflows.runs.ensembles import FOLDER
from jflows.runs.recalibrated import RecalibratedRun
from jflows.runs.reports import clusters
from jflows.runs.reports.calibration import Calibrated
from jflows.runs.reports.coherence import CoherenceReport
from jflows.runs.reports.fidelity import Fidelity
from jflows.runs.reports.inpainting import Filled
from jflows.runs.reports.latent import Tested, modes_path
from jflows.runs.reports.neighbours import Nearness
from jflows.runs.reports.samples import MAX_ROW
from jflows.runs.running import RunResult


def score_in_words(score: Evaluation, unit: Unit, of_what: str) -> str:
    """A score in one line: in the unit of the density, with its standard error, and in the other unit."""
    nats = f"{score.nats:.4f} ± {score.nats_standard_error:.4f} nats"
    bits = f"{score.bits_per_dim:.4f} ± {score.standard_error:.4f} bits/dim"
    first, second = (nats, bits) if unit is NATS else (bits, nats)
    found = f"{first} ({second}) on {score.num_examples:,} {of_what}"
    if score.effective_examples > score.num_examples - 0.5:
        return found
    return f"{found}, whose weights make them worth {score.effective_examples:,.1f} of equal weight"


def scaled_in_words(score: Evaluation, density: Density) -> list[str]:
    """The score of images in nats of scaled pixels, as papers state it, a line that names the scales; else none."""
    bits = density.reading.num_bits
    if bits is None:
        return []
    parts = []
    for scale in PIXEL_SCALES:
        nats = nats_from_bits(score.bits_per_dim, density.num_dims, scale, bits)
        parts.append(f"{nats:.2f} ± {score.nats_standard_error:.2f} nats of pixels scaled to {scale}")
    return [f"this score amounts to {parts[0]}, or to {parts[1]}"]


def result_in_words(result: RunResult) -> str:
    """The text that `jflows train` prints: the score of the test rows, the files, and a mixture's use of components."""
    assert result.score is not None
    content, noun = result.result, result.flow.reading.kind.rows
    if "study" in content:
        return _study_in_words(result, noun)
    steps, all_steps = content["steps"], content["planned_steps"]
    early = f" of {all_steps:,}" if steps < all_steps else ""
    kept = "" if content["evaluated_step"] == steps else f", weights of step {content['evaluated_step']:,}"
    of_what = f"{noun} after {steps:,}{early} steps ({content['train_seconds']:.0f} s){kept}"
    lines = [f"test {score_in_words(result.score, result.flow.unit, of_what)}; {_files(result)}"]
    lines += [clusters.in_words(content["mixture"])] if "mixture" in content else []
    facts = content["config"]["facts"]
    lines += read_in_words(facts.get("read_as", "")) + read_in_words(facts.get("test_read_as", ""), "test file")
    return "\n".join(lines)


def samples_in_words(num: int, temperature: float, path: Path, with_contexts: bool) -> str:
    """Where samples are, and whether their contexts are with them."""
    contexts = ", with their contexts" if path.suffix.lower() == ".csv" else ", without their contexts"
    return f"{num} samples at temperature {temperature:g} in {path}{contexts if with_contexts else ''}"


def scores_in_words(scores: np.ndarray, unit: Unit, of_what: str, path: Path) -> str:
    """How many scores were written, their range, and how many rows are outside of the support of the density."""
    finite = scores[np.isfinite(scores)]
    spread = f", {finite.min():.4f} to {finite.max():.4f} {unit.label}" if len(finite) else ""
    return f"scores of {len(scores):,} {of_what}{spread}{_outside_in_words(scores)}; {path}"


def _outside_in_words(scores: np.ndarray) -> str:
    outside = int(np.sum(~np.isfinite(scores)))
    return f"; {outside:,} of them outside of the support of the density, with density 0" if outside else ""


def apart_in_words(found: Auroc, data: str, others: str, other_scores: np.ndarray) -> str:
    """How well scores tell two data sets apart, and how many of the others are outside of the support."""
    outside = _outside_in_words(other_scores).removeprefix("; ")
    others = f"{others} ({outside})" if outside else others
    words = f"AUROC {found.value:.4f} ± {found.standard_error:.4f}: with this probability "
    return f"{words}a draw from the {data} is more likely than one from the {others}; ties count half"


def measure_in_words(measure: Measure, values: np.ndarray, of_what: str, path: Path) -> str:
    """How many numbers of a measure were written, and their range."""
    finite = values[np.isfinite(values)]
    spread = f", {finite.min():.4f} to {finite.max():.4f} {measure.unit}" if len(finite) else ""
    size = measure.rows_per_value
    groups = f" groups of {size}" if size > 1 else ""
    return f"{measure.name} of {len(values):,}{groups} {of_what}{spread}; {path}"


def unusual_in_words(measure: Measure, found: Auroc, data: str, others: str) -> str:
    """How well a measure tells rows of a second data set from those of the first."""
    words = f"{measure.name}: AUROC {found.value:.4f} ± {found.standard_error:.4f}: with this probability "
    each = "a draw" if measure.rows_per_value == 1 else f"a group of {measure.rows_per_value}"
    return f"{words}{each} from the {others} is further out than one from the {data}; ties count half"


def read_in_words(read_as: str, what: str = "file") -> list[str]:
    """A line on how a file was read, where its form had to be told from its content."""
    return [f"the {what} was read by {read_as}"] if read_as else []


def _study_in_words(result: RunResult, noun: str) -> str:
    assert result.score is not None
    content = result.result
    lines, unit = [], result.flow.unit.label
    names = list(content["chosen"] or ("fold",))
    for row in content["runs"]:
        label = {name: row[name] for name in names}
        if "error" in row:
            lines.append(f"{_label_in_words(label)}: failed, {row['error']}")
            continue
        chosen = " (chosen by training rows)" if content["chosen"] == label else ""
        accuracy = f", accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
        lines.append(f"{_label_in_words(label)}: {row['score']:.4f} {unit}{accuracy}{chosen}")
    for row in content.get("over_seeds", ()):
        label = {name: value for name, value in row.items() if name in names}
        seeds = f"{row['num_runs']} seed{'s' if row['num_runs'] > 1 else ''}"
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.4f}"
        lines.append(f"{_label_in_words(label)}: {row['score']:.4f}{spread} {unit} over {seeds}")
    of_what = f"{noun} over {len(content['runs'])} folds" if content["study"] == "folds" else f"{noun}"
    if content["study"] == "ensemble" and "score" in content:
        of_what = f"{noun} by the mixture of the members, in {result.directory / FOLDER}"
    lines.append(f"test {score_in_words(result.score, result.flow.unit, of_what)}; {_files(result)}")
    return "\n".join(lines)


def _label_in_words(label: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in label.items())


def _files(result: RunResult) -> str:
    own = () if "study" in result.result else ("result.json",)
    return f"{result.directory}: {', '.join((*own, *result.files))}"


def inpainted_in_words(found: Mapping[str, Filled], unit: Unit, of_what: str, path: Path) -> str:
    """The scores of images before and after inpainting, a line for each mask."""
    width = max(map(len, found))
    lines = [f"{unit.label} of {of_what}, from the start to the result:"]
    lines += [f"  {name:<{width}}  {score.before:9.4f} -> {score.after:9.4f}" for name, score in found.items()]
    return "\n".join([*lines, f"picture in {path}"])


def neighbours_in_words(found: Nearness, of_what: str, path: Path) -> str:
    """How near samples and new images lie to the training images, in lines."""
    lines = (
        f"median distance to the nearest of {found.num_rows:,} training images, in pixel levels (Euclidean):",
        f"  {found.of_samples:,.1f} of {found.num:,} samples",
        f"  {found.of_new:,.1f} of {found.num:,} {of_what}",
        f"{found.closer:.1%} of the samples lie closer than the median of these; 50% would if samples were like them",
        f"the samples that lie closest, above their nearest training images, are in {path}",
    )
    return "\n".join(lines)


def fidelity_in_words(found: Fidelity, of_what: str, path: Path) -> str:
    """The distances of samples and of training images, in lines, and what network measured them."""
    network = found.network
    of_class = "" if found.label is None else f" of class {found.label}"
    rows = {
        f"{found.num:,} samples{of_class} at temperature {found.temperature:g}": found.of_samples,
        f"{found.num:,} training images{of_class}": found.of_training,
    }
    lines = [
        f"distances from {found.num:,} {of_what}, in {len(network.mean)} features of a network that was trained here, "
        f"on {network.num_train:,} images of {found.network_data}, and tells the {network.num_classes} classes of "
        f"{network.num_test:,} test images apart with an accuracy of {network.accuracy:.3f}:"
    ]
    for name, row in rows.items():
        kernel = f"kernel {row.kernel.value:.4f} ± {row.kernel.standard_error:.4f}"
        lines.append(f"  Fréchet {row.frechet:.3f}, {kernel}: {name}")
    last = f"FID and KID of papers are distances in features of other networks and do not compare; numbers in {path}"
    return "\n".join([*lines, last])


def reconstruction_in_words(error: float, num: int, of_what: str, path: Path) -> str:
    """The largest error of reconstructions, and the picture, which shows the first of them."""
    shown = f" shows {MAX_ROW} of them" if num > MAX_ROW else ""
    return f"largest |decode(encode(x)) - x| over {num:,} {of_what}: {error:.3g} pixel levels; picture in {path}{shown}"


NAMED_DIMENSIONS = 5  # at most, of those that differ


LEAST_SETS = 100  # that show a single dimension at a rate of 5 %, see `LatentReport.found`


def latent_in_words(tested: Tested, of_what: str, path: Path) -> str:
    """The table of tests of latents, the dimensions and groups that differ most, and where the picture is."""
    found = tested.report
    width = max(len(test.name) for test in found.tests)
    lines = [
        f"latents of {found.num:,} {of_what} beside {found.num_sets:,} sets from the base (larger is further from it):",
        f"  {'test':<{width}}  {'statistic':>9}  {'median':>8}  {'95 %':>8}  p",
    ]
    for test in found.tests:
        lines.append(
            f"  {test.name:<{width}}  {test.value:>9.4f}  {test.typical:>8.4f}  {test.high:>8.4f}  {test.p_value:.3g}"
        )
    verdict = "they differ from draws of the base" if found.p_value <= 0.05 else "no difference from the base was found"
    lines.append(f"all tests together: p = {found.p_value:.3g}; {verdict} (at 0.05)")
    deviating = found.found()
    if deviating:
        named = ", ".join(f"{each.dimension} ({each.statistic})" for each in deviating[:NAMED_DIMENSIONS])
        count = len({each.dimension for each in deviating})
        lines.append(f"dimensions that differ, at a false discovery rate of 5 %: {count} of {found.dim}, first {named}")
    elif found.num_sets < LEAST_SETS:
        lines.append(f"no dimension was found to differ; a single one is found only with {LEAST_SETS} sets or more")
    if tested.groups:
        worst = max(zip(found.groups, tested.groups, strict=True), key=lambda pair: pair[0].auroc)
        words = f"{worst[1]}, with an area under the curve of {worst[0].auroc:.3f} (q = {worst[0].q_value:.3g})"
        lines.append(f"group that a classifier tells best from the base, of {len(tested.groups)}: {words}")
    if tested.left_out:
        lines.append(f"groups with too few rows for a test of their own: {', '.join(tested.left_out)}")
    pictures = f"picture in {path}"
    if tested.modes is not None:
        lines += _modes_in_words(tested.modes)
        pictures = f"pictures in {path} and {modes_path(path)}"
    return "\n".join([*lines, pictures])


def _modes_in_words(found: ModalityReport) -> list[str]:
    """The table of tests of modes, and what follows from them."""
    width = max(len(test.name) for test in found.tests)
    lines = [f"  {'modes':<{width}}  {'statistic':>9}  {'median':>8}  {'95 %':>8}  p"]
    for test in found.tests:
        lines.append(
            f"  {test.name:<{width}}  {test.value:>9.4f}  {test.typical:>8.4f}  {test.high:>8.4f}  {test.p_value:.3g}"
        )
    verdict = "no sign of several modes was found"
    if found.unimodal_p_value <= 0.05:
        verdict = "there are several modes along a direction"
    elif found.p_value <= 0.05:
        verdict = "latents differ from the base, in tails or in modes that are too close to be sure of"
    words = f"p = {found.p_value:.3g}, and of a dip beside uniform samples {found.unimodal_p_value:.3g}"
    return [*lines, f"all tests of modes together: {words}; {verdict} (at 0.05)"]


def recalibrated_in_words(found: RecalibratedRun, unit: Unit, num_dims: int, noun: str) -> str:
    """What each base is worth on rows held out, in the unit of scores, and where the new run is."""
    in_unit = lambda nats: unit.curve(nats, num_dims)
    lines = [
        f"bases fitted to {found.num_fitted:,} {found.split} {noun}, and their gain on {found.num_held_out:,} others "
        f"over the flow's own, in {unit.label}:"
    ]
    width, after = max(map(len, found.found.gains)), False
    for kind, gain in found.found.gains.items():
        mark = "  (chosen)" if kind == found.found.kind else ""
        if after and gain.nats > found.found.gains[found.found.kind].nats:
            mark = "  (not better than the chosen one by two standard errors of the difference)"
        after = after or bool(mark)
        lines.append(f"  {kind:<{width}}  {in_unit(gain.nats):+9.4f} ± {in_unit(gain.standard_error):.4f}{mark}")
    if found.path is None:
        lines.append("none is better by two standard errors: the flow keeps its base, and nothing was written")
    else:
        lines.append(f"the flow with this base is in {found.path}")
    return "\n".join(lines)


SHOWN_TESTS = 8  # of dimensions: all, or those that are furthest out


def calibration_in_words(found: Calibrated, of_what: str, path: Path, columns: Sequence[str] = ()) -> str:
    """The tables of tests of ranks and of latents, what follows from them, and where the picture is.

    Args:
      columns: the names of the columns of the data; () where they have none.
    """
    report = found.report
    given = ", given their contexts" if found.conditional else ""
    lines = [f"calibration of {found.num:,} {of_what}{given}:"]
    names = {str(number): name for number, name in enumerate(columns)}
    lines += _tests_in_words(f"ranks among {found.num_draws:,} draws", report.tests, names)
    if report.pit:
        lines += _tests_in_words("latents, by the base", report.pit, {})
        parts = f" (ranks {report.ranks_p_value:.3g}, latents {report.pit_p_value:.3g})"
    else:
        lines.append(f"latents were not tested: {found.base} has no distribution functions that are known")
        parts = ""
    way = _way_of(report, found.num)
    verdict = f"it is not calibrated, {way} (at 0.05)" if report.p_value <= 0.05 else "no fault was found (at 0.05)"
    return "\n".join([*lines, f"all tests together: p = {report.p_value:.3g}{parts}; {verdict}", f"picture in {path}"])


def _way_of(report: Calibration, num: int) -> str:
    """In which way a flow is not calibrated, by the last test: a width of less than two standard errors says nothing.

    The logarithm of the mean of squares of n normal scores has the standard error sqrt(2 / n), and that of the mean of
    n numbers -log u, of coverage, sqrt(1 / n).
    """
    whole = (report.pit or report.tests)[-1]
    if whole.p_value > 0.05:
        return "in single dimensions"
    error = math.sqrt(2 / (num * (len(report.pit) - 1)) if report.pit else 1 / num)
    if abs(whole.width) < 2 * error:
        return "in place or shape, not in width"
    return "on the narrow side" if whole.width > 0 else "on the wide side"


def _tests_in_words(head: str, tests: Sequence[CalibrationTest], names: Mapping[str, str]) -> list[str]:
    """A table of the tests of dimensions, at most eight of them, and of the last test, which joins all."""
    *dimensions, last = tests
    far = sorted(dimensions, key=lambda test: test.p_value)[:SHOWN_TESTS]
    left = len(dimensions) - len(far)
    shown = [*(test for test in dimensions if test in far), last]
    labels = [names.get(test.name, test.name) for test in shown]
    size = max(len(head), *map(len, labels))
    lines = [f"  {head:<{size}}  {'width':>7}  {'place':>7}  {'ks':>6}  p"]
    for label, test in zip(labels, shown, strict=True):
        lines.append(f"  {label:<{size}}  {test.width:>7.3f}  {test.place:>7.3f}  {test.ks:>6.3f}  {test.p_value:.3g}")
    if left:
        lines.append(f"  {left:,} other dimensions have larger p-values")
    return lines


def coherence_in_words(found: CoherenceReport) -> str:
    """The numbers of the page that matter most, what was left out, and where the page is."""
    base, tests, attributes, classes = (section.numbers for section in found.sections)
    lines = []
    for region in base["regions"]:
        shares = f"{region['base_share']:.3g} of the base, {region['data_share']:.3g} of the test data"
        lines.append(f"region {region['name']}: {shares}")
    for name, check in base["checks"].items():
        innermost, *_, outermost = [part["failing"] for part in check["parts"]]
        shares = f"{innermost:.1%} of the innermost fifth, {outermost:.1%} of the outermost"
        lines.append(f"draws of the base that fail by {name}: {shares} ({check['test_failing']:.1%} of the test data)")
    lines += [f"latent tests: p = {tests['p_value']:.3g}"] if tests else []
    for name, plane in attributes.items():
        numbers = (
            f"{plane['balanced_accuracy']:.3f} (accuracy {plane['accuracy']:.3f}, majority {plane['majority']:.3f})"
        )
        lines.append(f"attribute {name}: balanced accuracy {numbers} on held-out rows")
    for name, table in classes.items():
        lines.append(f"classes by {name}: balanced accuracy {table['balanced_accuracy']:.3f} by the larger log density")
    return "\n".join([*lines, *found.left_out, f"page in {found.path}, numbers in {found.json_path}"])

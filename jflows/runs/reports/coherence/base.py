"""The section on the base: its mean, tempered samples, points at k deviations, its regions, and who fails by radius."""

from typing import Any

import numpy as np

from jflows.eval.coherence import (
    Check,
    Region,
    deviation_points,
    entropy_check,
    nearest_check,
    normal_regions,
    reconstruction_check,
    regions_of,
    shell,
    shells_by_radius,
)
from jflows.eval.coherence.checks import STEPS
from jflows.eval.coherence.class_gaussian import LOG_2PI
from jflows.eval.coherence.figures import radius_figure, shells_figure
from jflows.eval.coherence.regions import DEFINITIONS, MASS
from jflows.eval.coherence.shells import TEMPERATURES
from jflows.runs.reports import html
from jflows.runs.reports.coherence.material import COLUMNS, TEMPERATURE, Material, Section, nats

MOST_MEANS, NUM_TEMPERED = 10, 10
DEVIATIONS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
DIMENSIONS = (2, 64, 784, 3072, 49152)
NUM_RADII, NUM_PER_SHELL, NUM_OF_BASE = 1000, 64, 256
PCA_ROWS = 2000  # training images whose principal components are taken, at most
FIXED = (
    "Each check was fixed by real data, before any sample was looked at. None sees every fault: a smooth image that "
    "shows nothing can pass them all, so look at the samples too."
)
SEE = (
    "See whether the mean of the base decodes to a coherent sample, how far out embedded data lie, and whether samples "
    "fail the check more often towards the mean, where the density is highest, or on the shell, where draws are."
)


def base_section(material: Material) -> Section:
    """Everything that is asked of the base alone."""
    m = material
    parts, numbers = [], {}
    for make in (_means, _tempered, _deviations, _regions, _shells):
        own, found = make(m)
        parts += own
        numbers |= found
    left_out = (
        () if m.has_pictures else ("Pictures are left out: rows of a table are listed as numbers in their place.",)
    )
    return Section("The base", SEE, parts, numbers, left_out)


def _means(m: Material) -> tuple[list[str], dict[str, Any]]:
    num = min(MOST_MEANS, m.flow.reading.num_classes or MOST_MEANS) if m.flow.reading.context != "none" else 1
    context = m.contexts(num)
    mean = m.base.moments(context)[0].reshape(num, *m.base.latent_shape)
    found = m.decode(mean, context)
    of_each = (
        "" if num == 1 else ", under " + ("each class" if context is not None and context.ndim == 1 else "contexts")
    )
    names = [m.class_names[i] for i in range(num)] if num > 1 and len(m.class_names) >= num else ()
    caption = f"What the mean of the base decodes to{of_each}, with ln p(x) and ln p(u) in nats."
    numbers = {"mean": {"log_prob": found.log_prob, "base_log_prob": found.base_log_prob}}
    return [html.heading("The mean of the base"), *m.shown(found, caption, headings=names)], numbers


def _tempered(m: Material) -> tuple[list[str], dict[str, Any]]:
    context = m.contexts(NUM_TEMPERED)
    found = m.decode(m.base.draw(NUM_TEMPERED, m.seed, context, TEMPERATURE), context)
    caption = f"Ten samples at temperature {TEMPERATURE}, with ln p(x) and ln p(u) in nats."
    numbers = {"tempered": {"log_prob": found.log_prob, "base_log_prob": found.base_log_prob}}
    return [html.heading(f"Samples at temperature {TEMPERATURE}"), *m.shown(found, caption)], numbers


def _deviations(m: Material) -> tuple[list[str], dict[str, Any]]:
    one = m.contexts(1)
    points = deviation_points(m.base, DEVIATIONS, None if one is None else one[0])
    context = None if one is None else np.repeat(one, len(points), axis=0)
    found = m.decode(points, context)
    of_first = "" if one is None else " Those of the first context are shown."
    caption = (
        f"Points k deviations from the mean in every dimension at once, with ln p(x) and ln p(u) in nats.{of_first}"
    )
    names = [f"k = {k:g}" for k in DEVIATIONS]
    parts = [html.heading("Points at k standard deviations"), *m.shown(found, caption, headings=names)]
    if m.base.is_standard_normal:
        words = f"Under N(0, I) of D = {m.base.dim:,} dimensions, ln p(u) = -D (ln(2 pi) / 2 + k^2 / 2)."
        parts.append(html.paragraph(words, "note"))
    numbers = {"k": DEVIATIONS, "log_prob": found.log_prob, "base_log_prob": found.base_log_prob}
    return parts, {"deviations": numbers}


def _regions(m: Material) -> tuple[list[str], dict[str, Any]]:
    of_data = m.base.radius(m.of_test.latents, m.of_test.context)
    context = m.of_test.context
    regions = regions_of(m.base, MASS, seed=m.seed, context=context)
    drawn_context = None if context is None else context[np.arange(NUM_RADII) % len(context)]
    drawn = m.base.draw(NUM_RADII, m.seed + 1, drawn_context, 1.0)
    of_base = m.base.radius(drawn, drawn_context)
    exact = -0.5 * m.base.dim * (LOG_2PI + 1)
    formula = ", which is -D / 2 ln(2 pi e)" if m.base.is_standard_normal else ""
    mean = exact if m.base.is_standard_normal else float(m.base.log_prob(drawn, drawn_context).mean())
    shares = [float(region.inside(of_data, m.of_test.base_log_prob).mean()) for region in regions]
    low, middle, high = np.quantile(of_data, (0.025, 0.5, 0.975))
    rows = [
        [
            DEFINITIONS[region.name].format(mass=MASS),
            *_spans(region),
            _share(region, m.base.dim if m.base.is_normal else None),
            f"{share:.1%}",
        ]
        for region, share in zip(regions, shares, strict=True)
    ]
    spread = np.quantile(m.of_test.base_log_prob, (0.025, 0.975))
    rows.append(
        ["embedded data: where 95 % of the test data lie", f"{low:.2f} to {high:.2f}", _span(spread), "", "95%"]
    )
    head = ["region", "distance from the mean", "ln p(u), nats", "share of the base", "share of the test data"]
    how = "in closed form" if m.base.is_normal else "by draws of it, with standard errors"
    parts = [
        html.heading("What the high-probability region is"),
        html.paragraph(
            f"Three definitions for this base of D = {m.base.dim:,} dimensions, {how}, beside the region of embedded "
            "test data. Distances are in deviations of each dimension. Draws lie near sqrt(D) = "
            f"{m.base.dim**0.5:.2f}, and their ln p(u) has a mean of {nats(mean)} nats{formula}."
        ),
        html.table(head, rows, words=(0,)),
        html.figure(
            radius_figure(of_data, of_base, regions),
            "Distances of embedded test data and of draws of the base from its mean; below, the three regions.",
        ),
        html.paragraph("The same definitions for N(0, I), by the number of dimensions D:"),
        _by_dimension(),
    ]
    numbers = {
        "regions": [{**region._asdict(), "data_share": share} for region, share in zip(regions, shares, strict=True)],
        "data_radius": {"low": low, "median": middle, "high": high},
        "dim": m.base.dim,
    }
    return parts, numbers


def _by_dimension() -> str:
    rows = []
    for dim in DIMENSIONS:
        mode, highest, typical = normal_regions(dim)
        rows.append(
            [
                f"{dim:,}",
                "0 to 1",
                _mass(mode.base_share, dim),
                f"0 to {highest.radius[1]:.2f}",
                f"{typical.radius[0]:.2f} to {typical.radius[1]:.2f}",
                nats(highest.log_prob[1]),
                _span(typical.log_prob),
            ]
        )
    head = ["D", "mode", "its share", "highest density", "typical set", "ln p at the mode", "ln p in the typical set"]
    return html.table(head, rows)


def _shells(m: Material) -> tuple[list[str], dict[str, Any]]:
    checks = _checks(m)
    latents = [_decoded(m, NUM_PER_SHELL, m.seed + 10, temperature) for temperature in TEMPERATURES]  # of one noise
    of_base = _decoded(m, NUM_OF_BASE, m.seed + 9, 1.0)
    failed = {check.name: [check.fails(x) for _, x in latents] for check in checks}
    names, figures, numbers = [f"temperature {temperature:g}" for temperature in TEMPERATURES], [], {}
    for check in checks:
        parts = zip(names, latents, failed[check.name], strict=True)
        shells = [shell(name, radius, fails) for name, (radius, _), fails in parts]
        by_radius = shells_by_radius(of_base[0], check.fails(of_base[1]))
        of_test = float(check.fails(m.test.x).mean())
        caption = f"Share that fails by {check.name}, with two standard errors; {of_test:.1%} of the test data do."
        figures.append(html.figure(shells_figure(shells, by_radius), caption))
        numbers[check.name] = {
            "statement": check.statement,
            "threshold": check.threshold,
            "test_failing": of_test,
            "shells": [each._asdict() for each in shells],
            "parts": [each._asdict() for each in by_radius],
        }
    body = [
        html.heading("Share of samples that fail, by radius"),
        html.paragraph(FIXED),
        *(html.paragraph(f"Check by {check.name}: {check.statement}") for check in checks),
        *_pictured(m, [x for _, x in latents], failed),
        _listed(numbers),
        *figures,
    ]
    return body, {"checks": numbers}


def _listed(numbers: dict[str, dict[str, Any]]) -> str:
    """The table of all shells, with the share that fails each check."""
    columns = [[*found["shells"], *found["parts"]] for found in numbers.values()]
    share = lambda each: f"{each['failing']:.1%} ± {each['standard_error']:.1%}"
    rows = [
        [each[0]["name"], f"{each[0]['radius']:.2f}", each[0]["num"], *map(share, each)]
        for each in zip(*columns, strict=True)
    ]
    return html.table(["samples", "mean distance", "number", *(f"fail by {name}" for name in numbers)], rows)


def _decoded(m: Material, num: int, seed: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the mean, and the samples."""
    context = m.contexts(num)
    latents = m.base.draw(num, seed, context, temperature)
    return m.base.radius(latents, context), m.decode(latents, context).x


def _pictured(m: Material, samples: list[np.ndarray], failed: dict[str, list[np.ndarray]]) -> list[str]:
    """A picture of the first samples of each temperature, a row for each, with the checks that they fail."""
    if not m.has_pictures:
        return []
    x = np.concatenate([each[:COLUMNS] for each in samples])
    lines = [
        [f"fails {name}" for name in failed if failed[name][row][column]]
        for row in range(len(samples))
        for column in range(COLUMNS)
    ]
    names = [f"T = {temperature:g}" for temperature in TEMPERATURES]
    caption = "The first samples at each temperature, of the same noise in each column, with the checks that they fail."
    return [html.picture(m.grid(x, lines, COLUMNS, names=names), caption, full=True)]


def _checks(m: Material) -> list[Check]:
    """Of tables, the nearest row; of images, the reconstruction, and the entropy if they have labels."""
    train, test = m.checked, m.test
    if not m.has_pictures:
        return [nearest_check(train.x, test.x)]
    found = [reconstruction_check(train.x[:PCA_ROWS], test.x)]
    labelled = all(each.label is not None and not each.partly_labelled for each in (train, test))
    if labelled and len(np.unique(np.asarray(train.label))) > 1:
        levels, labels = 2 ** (m.flow.reading.num_bits or 8), (np.asarray(train.label), np.asarray(test.label))
        found.insert(0, entropy_check(train.x, labels[0], test.x, labels[1], levels, seed=m.seed, steps=STEPS))
    return found


def _spans(region: Region) -> tuple[str, str]:
    low, high = region.radius
    return f"{low:.2f} to {high:.2f}", _span(region.log_prob)


def _span(pair: Any) -> str:
    return f"{nats(pair[0])} to {nats(pair[1])}" if np.isfinite(pair[0]) else f"up to {nats(pair[1])}"


def _share(region: Region, dim: int | None) -> str:
    error = f" ± {region.standard_error:.1%}" if region.standard_error else ""
    return (_mass(region.base_share, dim) if region.name == "mode" else _mass(region.base_share)) + error


def _mass(share: float, dim: int | None = None) -> str:
    """A share as text; of the ball around the mode of N(0, I) in `dim` dimensions, where floats end too."""
    if share == 0 and dim is not None:
        from scipy.special import gammaln

        # The volume of the ball times the density at the mode bounds its mass from above, closely for large D.
        log_mass = -0.5 * dim * np.log(2.0) - gammaln(0.5 * dim + 1)
        return f"below 1e{int(np.ceil(log_mass / np.log(10))):d}"
    return f"{share:.1%}" if share >= 1e-3 or share == 0 else f"{share:.0e}"

"""One HTML page of results, without scripts: what is not ahead comes first, with what bounds it."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jflows.bench.results import OURS, Case, Ratio, Results, Row, cores_of, ratios
from jflows.eval import drawing
from jflows.runs.reports import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSE = 0.5  # share of a peak from which a resource is said to bound the time
BAR = 0.21  # inches of height for one bar
COLOURS = (drawing.BEFORE, drawing.AFTER, drawing.GREY, drawing.INK)  # of resources
SIZE = "{} x {}, {}"


def page(results: Results) -> str:
    """The page of a file of results."""
    titles = ("Not ahead", "Beside other libraries", "Shares of what this machine can do")
    sees = (
        "These are the cases in which another library is as fast or faster, the worst first.",
        "A bar ends at the median ratio over runs; above 1, jflows is faster. The thin line goes from the smallest to "
        "the largest of the runs.",
        "A share says what part of the time one resource would take alone at the rate that was measured for it. Where "
        "the largest is near 100 %, no other program of the same operations can be faster.",
    )
    found = ratios(results.rows)
    own = _medians(row for row in results.rows if row.by == OURS)
    parts = (_behind(found, own), _beside(found, results), _alone(own))
    sections = [html.section(*each) for each in zip((1, 2, 3), titles, sees, parts, strict=True)]
    return html.page("jflows bench", _intro(results), titles, sections)


def _intro(results: Results) -> list[str]:
    """A line for each machine, commit and set of versions, with the number of rows."""
    counts: dict[str, int] = {}
    for row in results.rows:
        line = _measured_on(results.machines[row.session])
        counts[line] = counts.get(line, 0) + 1
    lines = [f"{count} rows were measured on {line}" for line, count in counts.items()]
    if not all(results.machines[row.session]["quiet"] for row in results.rows):
        lines.append("A star marks ratios of a machine that was busy: times may be of others' work.")
    lines.append(
        "Times are of interleaved calls, each in a new order; compilation is apart. Ratios are medians of pairs."
    )
    return lines


def _measured_on(machine: dict[str, Any]) -> str:
    versions = machine["versions"] | {name: each[name] for name, each in machine["libraries"].items()}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    state = "quiet" if machine["quiet"] else "busy"
    return (
        f"{machine['date']} on {cores_of(machine)} ({machine['platform']}), which was "
        f"{state}, at commit {machine['commit'] or 'unknown'}, with {listed}."
    )


def _medians(rows: Iterable[Row]) -> dict[Case, Row]:
    """For each case the run whose time is the median."""
    found: dict[Case, list[Row]] = {}
    for row in rows:
        found.setdefault(row.case, []).append(row)
    return {case: sorted(each, key=lambda row: row.ms)[(len(each) - 1) // 2] for case, each in found.items()}


def _behind(found: dict[tuple[Case, str], Ratio], own: dict[Case, Row]) -> list[str]:
    late = sorted((each for each in found.values() if each.median <= 1), key=lambda each: each.median)
    if not late:
        return [html.paragraph("There is none." if found else "No other library was timed.")]
    head = ("", "what", "size", "library", "times as fast", "runs", "why")
    rows = [(*_named(each.case), each.by, f"{each.median:.2f}", _range(each), _why(each, own)) for each in late]
    return [html.table(head, rows, words=(6,))]


def _why(ratio: Ratio, own: dict[Case, Row]) -> str:
    """What bounds our time, or that nothing does, or that the runs do not agree."""
    if max(ratio.runs) > 1:
        return "The runs do not agree on who is faster."
    name, share = own[ratio.case].bound if ratio.case in own else ("", 0.0)
    if share >= CLOSE:
        return f"The share of {name} is {share:.0%}: at most {max(1, 1 / share):.1f} times faster is possible."
    return f"The largest share, of {name}, is {share:.0%}: the operations leave room for a faster program."


def _named(case: Case) -> tuple[str, str, str]:
    subject, what, event_shape, batch, dtype = case
    return subject, what, SIZE.format(batch, "x".join(map(str, event_shape)), dtype)


def _range(ratio: Ratio) -> str:
    return f"{min(ratio.runs):.2f} to {max(ratio.runs):.2f} ({len(ratio.runs)})"


def _beside(found: dict[tuple[Case, str], Ratio], results: Results) -> list[str]:
    if not found:
        return [html.paragraph("No other library was timed.")]
    libraries = list(dict.fromkeys(library for _, library in found))
    cases = list(dict.fromkeys(case for case, _ in found))
    cell = lambda case, library: _cell(found.get((case, library)), results)
    rows = [(*_named(case), *(cell(case, library) for library in libraries)) for case in cases]
    overall = [
        statistics.geometric_mean(r.median for (_, name), r in found.items() if name == lib) for lib in libraries
    ]
    rows.append(("geometric mean", "", "", *(f"{mean:.2f}" for mean in overall)))
    caption = "Times faster than each library, on a logarithmic axis."
    return [html.figure(_bars(found), caption), html.table(("", "what", "size", *libraries), rows)]


def _cell(ratio: Ratio | None, results: Results) -> str:
    if ratio is None:
        return ""
    busy = "" if results.machines[ratio.session]["quiet"] else " *"
    spread = f" ± {ratio.median * ratio.spread / 2:.2f}" if len(ratio.runs) > 1 else ""
    return f"{ratio.median:.2f}{spread}{busy}"


def _bars(found: dict[tuple[Case, str], Ratio]) -> "Figure":
    """One bar for each ratio, from 1, in the colour of who is faster."""
    names = [f"{case[0]} {case[1]} / {library}" for case, library in found]
    figure, axes = _axes(len(names))
    for place, each in enumerate(found.values()):
        low, middle, high = min(each.runs), each.median, max(each.runs)
        colour = drawing.BEFORE if middle > 1 else drawing.AFTER
        axes.barh(place, math.log2(middle), color=colour, height=0.7)
        axes.plot([math.log2(low), math.log2(high)], [place, place], color=drawing.INK, linewidth=1)
    least = math.floor(min(0.0, *(math.log2(min(each.runs)) for each in found.values())))
    most = math.ceil(max(1.0, *(math.log2(max(each.runs)) for each in found.values())))
    axes.set_xticks(range(least, most + 1), [f"{2.0**power:g}" for power in range(least, most + 1)])
    _finish(axes, names)
    axes.axvline(0, color=drawing.INK, linewidth=1)
    return figure


def _alone(own: dict[Case, Row]) -> list[str]:
    if not own:
        return []
    resources = list(dict.fromkeys(name for row in own.values() for name in row.shares))
    head = ("", "what", "size", "ms", "quartiles", "elements/s", "compile s", "planned MB", "GFLOP", *resources)
    rows = [
        (*_named(row.case), *_numbers(row), *(f"{row.shares[name]:.0%}" for name in resources)) for row in own.values()
    ]
    return [html.figure(_roofline(list(own.values()), resources), "The shares of each case."), html.table(head, rows)]


def _numbers(row: Row) -> Sequence[str]:
    planned, gflop = row.planned_bytes or 0, row.gflop or 0.0
    quartiles = f"{row.low_ms:.3g} to {row.high_ms:.3g}"
    return (
        f"{row.ms:.3g}",
        quartiles,
        f"{row.elements_per_s or 0:.3g}",
        f"{row.compile_s:.2f}",
        *(
            f"{planned / 1e6:.3g}",
            f"{gflop:.3g}",
        ),
    )


def _roofline(rows: list[Row], resources: list[str]) -> "Figure":
    """A mark for each share; the highest in a line is what bounds the case."""
    figure, axes = _axes(len(rows))
    for name, colour in zip(resources, COLOURS, strict=False):
        shares = [100 * row.shares[name] for row in rows]
        axes.plot(shares, range(len(rows)), linestyle="", marker="o", markersize=4, color=colour, label=name)
    axes.set_xlim(0, max(100.0, *(100 * row.bound[1] for row in rows)) * 1.02)
    axes.set_xlabel("% of the time")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(resources), frameon=False, fontsize=8)
    _finish(axes, [f"{row.subject} {row.what}" for row in rows])
    return figure


def _axes(count: int) -> tuple["Figure", Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 0.8 + BAR * count), dpi=drawing.DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _finish(axes: Any, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.4, -0.6)
    drawing.plain(axes, "x")

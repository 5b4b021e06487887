"""The command `jflows bench`."""

import click

from jflows.cli.groups import FlowCommand, Stop
from jflows.cli.types import COUNT, PathType
from jflows.errors import InvalidValueError

DTYPES = ("float32", "float64", "bfloat16")
RUNS, CALLS, QUICK_CALLS = 3, 15, 7


class ShapeType(click.ParamType):
    """Whole numbers of at least 1, separated by commas."""

    name = "INTEGER,..."

    def convert(self, value, param, ctx) -> tuple[int, ...]:
        """The numbers of a text."""
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} must be whole numbers of at least 1, separated by commas.", param, ctx)
        return tuple(map(int, parts))


@click.command(cls=FlowCommand)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Name of a bijector or flow to time, in which * stands for anything; may be given several times. "
    "[default: all]",
)
@click.option("--list", "listed", is_flag=True, help="Print the names that --only knows, and time nothing.")
@click.option(
    "--library",
    multiple=True,
    metavar="NAME",
    help="Library to time beside jflows: distrax, flowjax, bijx, nflows, zuko, normflows, or none for jflows alone; "
    "may be given several times. [default: those that are installed here, and those of --python]",
)
@click.option(
    "--python",
    multiple=True,
    metavar="LIBRARY=PATH",
    help="Python of another environment, by which a library that is installed there is run; may be given several "
    "times.",
)
@click.option("--dim", type=COUNT, help="Dimension of vectors. [default: that of each bijector or flow]")
@click.option("--batch", type=COUNT, help="Number of rows. [default: that of each bijector or flow]")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    multiple=True,
    help="Type of numbers; may be given several times. [default: float32]",
)
@click.option(
    "--runs",
    type=COUNT,
    default=RUNS,
    show_default=True,
    help="How often everything is compiled and measured, other libraries in new processes; ratios are given with their "
    "spread over runs.",
)
@click.option("--calls", type=COUNT, help="Timings of each call in a run. [default: 15, or 7 with --quick]")
@click.option("--quick", is_flag=True, help="Time only the few bijectors and flows that `make bench-check` compares.")
@click.option("--bijector", metavar="MODULE.NAME", help="Bijector of your own to time, instead of those of jflows.")
@click.option(
    "--shape",
    type=ShapeType(),
    help="Shape of x for --bijector: the number of rows, then the shape of one. [default: 4096,64]",
)
@click.option("--unchecked", is_flag=True, help="Time --bijector even if it does not keep the contract of bijectors.")
@click.option(
    "--out",
    type=PathType(".jsonl"),
    metavar="JSONL",
    help="File of rows to go on with, or to write; a page of the same name that ends in .html is written beside it. "
    "[default: runs/bench.jsonl]",
)
@click.option(
    "--check",
    type=PathType(".jsonl"),
    metavar="JSONL",
    help="File of rows to compare with. The command fails if jflows is slower than there, beside the same library, by "
    "more than the spread of the ratio and at least 20 %.",
)
def bench(
    only, listed, library, python, dim, batch, dtype, runs, calls, quick, bijector, shape, unchecked, out, check
) -> None:
    """Time bijectors and flows, alone and beside other libraries.

    Each call is timed by turns with the same call of other libraries, which run in processes of their own. Rows that
    the file has are not measured again, so that a run which was stopped goes on. Times are given as shares of what
    this machine can do, too. Use a machine that does nothing else.
    """
    from pathlib import Path

    from jflows.bench import Plan, Results, Rows, beside, own, run, suite
    from jflows.bench.page import page
    from jflows.bench.results import slower

    if listed:
        for subject in suite.SUBJECTS:
            click.echo(subject.name)
        return
    if bijector is None:
        fix = "Set sizes by {dim} and {batch}."
        _refuse("must be left out without {bijector}, whose it is", fix, shape=shape, unchecked=unchecked)
        subjects = [each.resized(dim, batch) for each in suite.chosen(only, quick)]
    else:
        given = dict(only=only, library=library, python=python, dim=dim, batch=batch, quick=quick)
        _refuse("must be left out with {bijector}", "Set sizes by {shape}.", **given)
        subjects = [own.own_subject(bijector, shape or (4096, 64), unchecked)]
    pythons = {} if bijector else beside.environments(_libraries(library), _pairs(python))
    _check_baseline(check, pythons)
    committed = None if check is None else Results(check, "check")
    plan = Plan(subjects, pythons, dtype or ("float32",), runs, calls or (QUICK_CALLS if quick else CALLS))
    results = Results(out or Path("runs") / "bench.jsonl")
    first = len(results.rows)
    run(plan, results, lambda row: click.echo(_line(row), err=True))
    click.echo(
        str(Rows(results.rows[first:]))
        if results.rows[first:]
        else "All rows are there already; name another file by --out to measure them again."
    )
    path = results.path.with_suffix(".html")
    path.write_text(page(results))
    click.echo(f"rows in {results.path}, page in {path}")
    if committed is not None:
        _compare(slower(results.rows, committed.rows), check)


def _libraries(names: tuple[str, ...]) -> list[str] | None:
    """The libraries to time beside jflows; None where the command line leaves the choice open."""
    if "none" in names and len(set(names)) > 1:
        fix = "Leave {library=none} out, or the others."
        raise InvalidValueError("bench", "library", "must not be none and others", ", ".join(names), fix)
    return [name for name in names if name != "none"] if names else None


def _check_baseline(check, pythons) -> None:
    """Raises, before anything is measured, if there is nothing that can be compared with committed rows."""
    if check is None:
        return
    if not check.is_file():
        fix = "Measure them first, by {out}."
        raise InvalidValueError("bench", "check", "must be a file of rows that is there", check, fix)
    if not pythons:
        rule, fix = "needs a library beside jflows, as ratios are compared", "Name one by {library}."
        raise InvalidValueError("bench", "check", rule, check, fix)


def _compare(sentences, check) -> None:
    if sentences:
        raise Stop(f"bench: jflows is slower than in {check}: {' '.join(sentences)}", 1)
    click.echo(f"No ratio is below that of {check} by more than its spread.")


def _line(row) -> str:
    faster = "" if row.times_faster is None else f", jflows is {row.times_faster:.2f} times as fast"
    return f"run {row.run + 1}: {row.subject} {row.what} by {row.by} in {row.ms:.3g} ms{faster}"


def _pairs(values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not all(part.strip() for part in (value.partition("=")[0], value.partition("=")[2])):
            raise InvalidValueError(
                "bench", "python", "must be LIBRARY=PATH", repr(value), "Write zuko=env/bin/python."
            )
    return {name: path for name, _, path in (value.partition("=") for value in values)}


def _refuse(rule: str, fix: str, **given) -> None:
    for name, value in given.items():
        if value:
            raise InvalidValueError("bench", name, rule, value, fix)

"""Values from text: types, none, tuples, sweeps; and options that stand before any config is known."""

from typing import Annotated, get_args, get_origin

import pytest

import jflows as library
from jflows.cli.options import in_words, parse, parse_values, show
from jflows.data.domains import CircleColumns, IntervalColumns, PositiveColumns, SimplexColumns
from jflows.runs import Recipe


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("8", int, 8),
        ("none", int | None, None),
        ("8", int | None, 8),
        ("8", int | tuple[int, ...], 8),
        ("8,16", int | tuple[int, ...], (8, 16)),
        ("", tuple[str, ...], ()),
        ("a, b", tuple[str, ...], ("a", "b")),
        ("1e-3", float, 1e-3),
        ("off", bool, False),
        ("uniform", str | tuple[float, ...], "uniform"),
        ("0.2,0.8", str | tuple[float, ...], (0.2, 0.8)),
        ("a,1", PositiveColumns, ("a", "1")),
        ("share=0,1;b=-1,1e3", IntervalColumns, (("share", 0.0, 1.0), ("b", -1.0, 1000.0))),
        ("phase=6.28", CircleColumns, (("phase", 6.28),)),
        ("a,b; c,d", SimplexColumns, (("a", "b"), ("c", "d"))),
    ],
)
def test_a_value_is_read_by_its_type(text, hint, value):
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    found = parse(text, hint)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "words"),
    [
        ("2.5", int, "a whole number"),
        ("x", int | None, "none or a whole number"),
        ("4,x", tuple[int, ...], "whole numbers separated by commas, such as 8,16"),
        ("maybe", bool, "true or false"),
        ("share", IntervalColumns, "a column with numbers, such as share=0,1"),
        ("=0,1", CircleColumns, "a column with numbers, such as share=0,1"),
    ],
)
def test_a_text_of_another_type_is_refused(text, hint, words):
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    with pytest.raises(ValueError):
        parse(text, hint)
    assert in_words(hint) == words


def test_defaults_are_shown_as_they_would_be_written():
    assert [show(value) for value in (None, (), (8, 16), True, "", 0.5)] == [
        "none",
        "empty",
        "8,16",
        "on",
        "empty",
        "0.5",
    ]


def test_columns_with_numbers_are_shown_as_they_would_be_written():
    assert show((("share", 0.0, 1.0), ("b", -1.5, 2.0))) == "share=0,1;b=-1.5,2"
    assert show((("a", "b"), ("c", "d"))) == "a,b;c,d"


def test_values_of_a_sweep():
    options = Recipe(flow=library.vmonf).options()
    assert parse_values("1,2", options["component.num_layers"]) == (1, 2)
    assert parse_values("8;8,8", options["component.hidden_sizes"]) == ((8,), (8, 8))
    assert parse_values("maf,realnvp", options["component"]) == ("maf", "realnvp")
    assert parse_values("0.1, 0.2", options["learning_rate"]) == (0.1, 0.2)
    glow = Recipe(flow=library.glow).options()
    assert parse_values("1,2", glow["num_steps"]) == (1, 2) and parse_values("1;1,2,3", glow["num_steps"]) == (
        1,
        (1, 2, 3),
    )


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--sweep", "num_layer=1,2"], "`--sweep` must be an option and its values, such as num_layers=1,2,4; got"),
        (["--sweep", "num_layers"], "`--sweep` must be an option and its values"),
        (["--sweep", "num_layers=1,x"], "`--sweep` must hold values for num_layers, each a whole number; got"),
        (["--sweep", "num-layers=1,0"], "`--num-layers` must be at least 1; got 0"),
        (["--sweep", "seed=0", "--sweep", "seed=1"], "`--sweep` must name each option once; got seed twice. Write all"),
        (["--sweep", "seed=0,1", "--sweep", "mix=a"], "`--sweep` must be an option and its values"),
        (["--epochs", "1", "--warmup-epochs", "2"], "`--warmup-epochs` must be at most --epochs=1, the length of the"),
        (["--warmup-epochs", "2"], "Set --epochs instead of --steps, or --warmup-epochs=0"),
        (["--restarts", "2", "--folds", "2"], "`--restarts, --folds` must not be asked for together"),
        (["--epochs", "-1"], "`--epochs` must be at least 0; got -1"),
        (["--epochs", "2", "--steps", "3"], "`--steps, --epochs` must not both be given"),
        (["--fold", "1"], "`--fold` is for tables that papers score in ten folds"),
        (["--loss", "nll"], "`--loss` must be one of"),
        (["--temperature", "2"], "No such option '--temperature'"),
    ],
)
def test_a_mistake_is_one_line(jflows, tmp_path, args, part):
    result = jflows("train", "realnvp", "--data", "two_moons", "--out", tmp_path / "run", *args)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert part in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_loss_brings_its_own_options(jflows):
    shown = jflows("train", "realnvp", "--loss", "mixture", "--help").stdout
    assert (
        "--temperature-decay NUMBER" in shown
        and "--temperature-decay" not in jflows("train", "realnvp", "--help").stdout
    )
    shown = " ".join(jflows("train", "glow_digits", "--help").stdout.split())
    assert "--num-steps INTEGER|INTEGER[,INTEGER...]" in shown and "[default: 4; at least 1]" in shown
    assert "--conditional / --no-conditional Model x given each row's label" in shown


@pytest.mark.parametrize("args", [["--config"], []])
def test_no_config(jflows, args):
    result = jflows("train", *args)
    assert result.exit_code == 2 and "`CONFIG` must be given. `jflows configs` lists the configs" in result.stderr

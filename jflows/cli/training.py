"""`jflows train` and `jflows info`, whose subcommands are configs, each with the options of its recipe."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jflows.cli.groups import IMPORT, INTERRUPTED, SETTINGS, Commands, FlowCommand, Stop, import_modules
from jflows.cli.types import PathType
from jflows.cli.words import flag, in_words_of
from jflows.errors import path_of
from jflows.runs import configs

if TYPE_CHECKING:
    from jflows.flows import Density
    from jflows.runs.recipe import Recipe

STUDY_OPTIONS = ("restarts", "folds", "sweep", "ensemble")
MOST_RUNS = 1000  # of a study


class RecipeCommand(FlowCommand):
    """A command with the options of a recipe, which its help lists in one section for each part of the recipe."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options into the help, in sections."""
        from jflows.cli.options import write_options

        write_options(self, ctx, formatter)


class Configs(Commands):
    """A group whose commands are the configs, by name or path, each with the options of its recipe.

    Args:
      make: builds the command of a config from its name and recipe.
      make_run: builds the command of a run directory; None if the group takes configs only.
    """

    def __init__(self, *args: Any, make: Callable, make_run: Callable | None = None, **settings: Any):
        word = "CONFIG|RUN" if make_run else "CONFIG"
        settings |= {"subcommand_metavar": f"{word} [OPTIONS]...", "context_settings": SETTINGS}
        super().__init__(*args, **settings)
        self.make, self.make_run, self.word = make, make_run, word
        self.asked: list[str] = []

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all configs."""
        return list(configs.list_configs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Makes the command of a config when it is asked for."""
        if self.make_run is not None and Path(cmd_name).expanduser().is_dir() and not configs.is_known(cmd_name):
            return self.make_run(cmd_name)
        with in_words_of(click.Command(self.name), str(self.name)):
            name, recipe = configs.find_recipe(cmd_name)
        command = self.make(cmd_name, name, recipe)
        with in_words_of(command, str(self.name)):
            asked = _as_asked(name, recipe, self.asked)
        return command if asked is recipe else self.make(cmd_name, name, asked)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses arguments as click does, where a leading `--config PATH` means the same as PATH."""
        if args and args[0] == "--config":
            args = args[1:]
        elif args and args[0].startswith("--config="):
            args = [args[0].partition("=")[2], *args[1:]]
        elif any(arg == "--config" or arg.startswith("--config=") for arg in args[1:]):
            fix = f"Write `jflows {self.name} --config FILE`, and then the options."
            ctx.fail(f"`--config` must stand in the place of the name; got it after {args[0]!r}. {fix}")
        if not args or not args[0].strip():
            ctx.fail(f"`{self.word}` must be given. `jflows configs` lists the configs.")
        self.asked = args[1:]
        import_modules(_all_given(args, IMPORT), str(self.name))  # before the recipe: it may name a preset of theirs
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table of configs and presets into the help, without loading them."""
        with formatter.section("Configs"):
            formatter.write_dl(list(configs.list_configs().items()))
        with formatter.section("Presets, whose name alone is a config; they need --data"):
            formatter.write_dl(list(configs.list_presets().items()))


def _as_asked(name: str, recipe: "Recipe", args: list[str]) -> "Recipe":
    """The recipe with those options that decide which options there are; of a run that goes on, its own."""
    from jflows.runs.running import RUNS
    from jflows.runs.stored import read_recipe

    if "--resume" in args:
        given = _given(args, "--out")
        out = RUNS / name if given is None else path_of("train", "out", given)
        recipe = read_recipe(out).recipe if (out / "config.json").is_file() else recipe
    for option in recipe.options().values():
        word = _given(args, flag(option.name)) if option.choices else None
        recipe = recipe if word is None else recipe.with_options(**{option.name: word})
    return recipe


def _given(args: list[str], option: str) -> str | None:
    """The value of an option among arguments that are not parsed yet; the last, if it is given twice."""
    return (_all_given(args, option) or [None])[-1]


def _all_given(args: list[str], option: str) -> list[str]:
    """The values of an option among arguments that are not parsed yet."""
    found = [after for arg, after in itertools.pairwise(args) if arg == option]
    return found + [arg.partition("=")[2] for arg in args if arg.startswith(f"{option}=")]


def _train_command(cmd_name: str, name: str, recipe: "Recipe") -> click.Command:
    from jflows.cli.options import options_of

    def callback(out: Path | None, resume: bool, sweep: tuple[str, ...], **given: Any) -> None:
        study = {word: given.pop(word) for word in ("restarts", "folds", "ensemble", "start_from")}
        options = {key: value for key, value in given.items() if value is not None}
        swept = _swept(recipe, sweep)
        place = _place(name, out)
        _train(cmd_name, place, resume, options, {**study, "sweep": swept})

    text = f"Train {name}: {configs.list_configs().get(name) or configs.list_presets().get(name, 'your own config.')}"
    params: list[click.Parameter] = [*_own_options(name), *options_of(recipe)]
    settings: Any = {"params": params, "help": text, "context_settings": SETTINGS, "divided": True}
    return RecipeCommand(cmd_name, callback=callback, **settings)


def _own_options(name: str) -> list[click.Option]:
    """The options of `train` that say where, from what and how often a recipe is trained."""
    return [
        click.Option(["--out"], type=PathType(), metavar="DIR", help=f"Directory of the run. [default: runs/{name}]"),
        click.Option(
            ["--resume"],
            is_flag=True,
            help="Go on from the last checkpoint in the directory of --out, with the options stored there unless you "
            "give others.",
        ),
        click.Option(
            ["--start-from"],
            type=PathType(),
            metavar="RUN",
            help="Start from the best weights of another run of the same flow; the statistics by which it standardised "
            "its data come along. [default: new weights]",
        ),
        click.Option(
            ["--restarts"],
            type=click.IntRange(1, MOST_RUNS),
            default=1,
            show_default=True,
            help="Train this many runs, each from a seed of its own, and choose the run with the best score on "
            "training rows. 1 trains a single run.",
        ),
        click.Option(
            ["--folds"],
            type=click.IntRange(0, MOST_RUNS),
            default=0,
            show_default=True,
            help="Train on each of this many folds of a table that papers score in ten folds, and print the mean "
            "score. 0 trains a single run.",
        ),
        click.Option(
            ["--ensemble"],
            type=click.IntRange(1, MOST_RUNS),
            default=1,
            show_default=True,
            help="Train this many runs at once by one program, from seeds that follow each other, and score their "
            "mixture with equal weights, which is written as a run of its own. 1 trains a single run.",
        ),
        click.Option(
            ["--sweep"],
            metavar="OPTION=VALUE,...",
            multiple=True,
            help="Train one run for each value of an option, such as num_layers=1,2,4, and choose the run with the "
            "best score on training rows. If it is given several times, each combination of values gets a run; over "
            "values of seed, the figure draws the mean and the deviation. With --resume, more values may be given.",
        ),
    ]


def _train(cmd_name: str, out: Path, resume: bool, options: dict[str, Any], study: dict[str, Any]) -> None:
    """SIGTERM is a request, not a failure: the state is saved, the way to go on is printed, and the exit code is 0, so
    that a scheduler which preempts the job does not count it as broken.
    """
    from jflows.cli.results import result_in_words
    from jflows.runs.running import run
    from jflows.runs.signals import Terminated, sigterm_unwinds

    again = f"jflows train {cmd_name} --out {out} --resume"
    try:
        with sigterm_unwinds():
            result = run(cmd_name, out, resume=resume, **study, **options)
    except Terminated:
        result = None
    except KeyboardInterrupt:
        message = f"interrupted; continue from the last checkpoint with `{again}`."
        raise Stop(message, INTERRUPTED) from None
    if result is None or result.interrupted:
        started = any(out.rglob("config.json"))
        rest = f"what was done is saved. Continue with `{again}`." if started else "nothing was done yet."
        click.echo(f"jflows: stopped by SIGTERM; {rest}", err=True)
        return
    click.echo(result_in_words(result))


def _place(name: str, out: Path | None) -> Path:
    from jflows.runs.running import RUNS

    return RUNS / name if out is None else out


def _swept(recipe: "Recipe", texts: tuple[str, ...]) -> dict[str, tuple[Any, ...]] | None:
    """The values of every option that is swept; None if none is."""
    from jflows.errors import InvalidValueError

    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, values = _sweep(recipe, text)
        if name in found:
            fix = "Write all its values into one."
            raise InvalidValueError("train", "sweep", "must name each option once", f"{name} twice", fix)
        found[name] = values
    return found or None


def _sweep(recipe: "Recipe", text: str) -> tuple[str, tuple[Any, ...]]:
    from jflows.cli.options import in_words, parse_values
    from jflows.errors import InvalidValueError, did_you_mean

    name, _, values = text.partition("=")
    name, known = name.strip().removeprefix("--").replace("-", "_"), recipe.options()
    if not values or name not in known:
        rule = "must be an option and its values, such as num_layers=1,2,4"
        fix = "Name its values." if name in known else did_you_mean(name, known)
        raise InvalidValueError("train", "sweep", rule, repr(text), fix.strip())
    try:
        return name, parse_values(values, known[name])
    except ValueError:
        rule = f"must hold values for {name}, each {in_words(known[name].setting.type)}"
        raise InvalidValueError("train", "sweep", rule, repr(text)) from None


def _info_command(cmd_name: str, name: str, recipe: "Recipe") -> click.Command:
    from jflows.cli.options import options_of

    def callback(memory: bool, **given: Any) -> None:
        made = recipe.with_options(**{key: value for key, value in given.items() if value is not None})
        _show(made.build(made.data.outline()), made if memory else None)

    params: list[click.Parameter] = [_memory_option(), *options_of(recipe)]
    text = f"Show the layers of the flow of {name}; no layer is run."
    return RecipeCommand(cmd_name, callback=callback, params=params, help=text, context_settings=SETTINGS)


def _info_run_command(cmd_name: str) -> click.Command:
    def callback(memory: bool) -> None:
        from jflows.runs.directory import load
        from jflows.runs.stored import read_recipe

        _show(load(cmd_name)[0], read_recipe(cmd_name).recipe if memory else None)

    return FlowCommand(
        cmd_name, callback=callback, params=[_memory_option()], help=f"Show the layers of the flow of {cmd_name}."
    )


def _show(density: "Density", planned: "Recipe | None") -> None:
    """Prints the table of layers, and the memory of a training step of a recipe."""
    from jflows.train import plan_step

    click.echo(str(density.summary(batch_size=0)))
    if planned is not None:
        click.echo(repr(plan_step(density, planned.train, planned.objective)))


def _memory_option() -> click.Option:
    return click.Option(
        ["--memory"],
        is_flag=True,
        help="Also compile a training step, as the options of training ask for it, on the devices of this machine, "
        "which takes 5 to 60 seconds, and print the memory that it plans on each device.",
    )


train = Configs(
    "train",
    make=_train_command,
    help="Train a flow, score it on the test rows, and write its reports. CONFIG is the name of a config or preset, "
    "the path of a .py file, or the config.json of a run (also as --config PATH), which is then repeated. Every "
    "option of the recipe is an option here: `jflows train CONFIG --help` lists them.",
)
info = Configs(
    "info",
    make=_info_command,
    make_run=_info_run_command,
    help="Show the layers of a flow, with shapes and parameters. They are listed from data to latent.",
)

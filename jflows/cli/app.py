"""The `jflows` command: its subcommands, what is printed when something is wrong, and silence of the libraries.

A mistake of the user (any `JflowsError` or usage error) is one line on stderr and exit code 2; anything else is a
defect and keeps its traceback. Results go to stdout, progress to stderr. Heavy modules are imported by the commands
that need them. Read next: `jflows/cli/train.py` and `jflows/cli/runs.py`.
"""

import contextlib
import errno
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from jflows._version import __version__
from jflows.cli import configs
from jflows.cli.wording import in_words_of
from jflows.errors import JflowsError, did_you_mean

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells expect
CACHED_COMPILE_SECONDS = 0.1  # programs that compile faster are not worth a file
SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


class Stop(click.ClickException):
    """Ends a command early with one line; not a mistake of the user."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class _Commands(click.Group):
    """A group that names the nearest command when one is unknown."""

    noun = "command"

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx))
            known = ", ".join(self.list_commands(ctx))
            ctx.fail(f"`{self.noun}` must be one of {known}; got {args[0]!r}. {hint}".rstrip())
        return super().resolve_command(ctx, args)


class _FlowCommand(click.Command):
    """A command that works with flows: JAX is loaded when it runs, not for its help."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, with errors in the words of this command."""
        _keep_compiled_programs()
        with in_words_of(ctx):
            return super().invoke(ctx)


class _App(_Commands):
    """The whole command: every way out of it goes through `main`."""

    def main(self, args: Any = None, prog_name: str | None = None, **extra: Any) -> Any:
        """Runs the command and exits the process; `prog_name` is always jflows."""
        try:
            with _quiet():
                code = super().main(args, "jflows", **{**extra, "standalone_mode": False})
        except Stop as stop:
            _fail(stop.format_message(), stop.code)
        except click.ClickException as error:
            _fail(_usage_text(error))
        except JflowsError as error:
            _fail(str(error))
        except click.Abort:
            _fail("interrupted.", INTERRUPTED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f"`{error.filename}`" if error.filename else "the disk"
            _fail(f"{where} must have free space to write to; got {error.strerror}. Free some and try again.")
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, without the empty line that it prints at Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stop("interrupted.", INTERRUPTED) from None


class _Configs(_Commands):
    """A group whose commands are the configs, by name or path, each with one option per field.

    Args:
      make: builds the command of a config from (name, config class, options).
      make_run: builds the command of a run directory, where that is allowed instead of a config.
    """

    def __init__(self, *args: Any, make: Callable, make_run: Callable | None = None, **settings: Any):
        word = "CONFIG|RUN" if make_run else "CONFIG"
        settings |= {"subcommand_metavar": f"{word} [OVERRIDES]...", "context_settings": SETTINGS}
        super().__init__(*args, **settings)
        self.make, self.make_run, self.word = make, make_run, word

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(configs.list_configs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if self.make_run is not None and Path(cmd_name).is_dir():
            return self.make_run(cmd_name)
        with in_words_of(ctx):
            cls = configs.load_config(cmd_name)
            return self.make(cmd_name, cls, configs.field_options(cls))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            ctx.fail(f"`{self.word}` must be given. `jflows configs` lists the configs.")
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of configs, without loading them."""
        rows = list(configs.list_configs().items())
        if rows:
            with formatter.section("Configs"):
                formatter.write_dl(rows)


@click.group("jflows", cls=_App, context_settings=SETTINGS, no_args_is_help=False, invoke_without_command=True)
@click.version_option(__version__, message="jflows %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Normalizing flows: train one, then evaluate, sample and inspect it from its run directory alone."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@main.command("configs")
def list_configs() -> None:
    """List the configs that `train` takes."""
    found = configs.list_configs()
    width = max(map(len, found), default=0)
    for name, line in found.items():
        click.echo(f"{name:<{width}}  {line}")


def _train_command(name: str, cls: type, options: list[click.Option]) -> click.Command:
    def callback(out: Path | None, resume: bool, **overrides: Any) -> None:
        from jflows.cli.train import train

        train(name, cls, {k: v for k, v in overrides.items() if v is not None}, out, resume)

    stem = Path(name).stem
    path = click.Path(file_okay=False, path_type=Path)
    own = [
        click.Option(["--out"], type=path, metavar="DIR", help=f"Run directory. [runs/{stem}]"),
        click.Option(["--resume"], is_flag=True, help="Go on from its last checkpoint, with its settings."),
    ]
    text = f"Train {stem}: {configs.list_configs().get(name, cls.__name__)}"
    return _FlowCommand(name, callback=callback, params=[*own, *options], help=text, context_settings=SETTINGS)


def _info_command(name: str, cls: type, options: list[click.Option]) -> click.Command:
    def callback(**overrides: Any) -> None:
        from jflows.cli.info import describe_config

        describe_config(cls(**{k: v for k, v in overrides.items() if v is not None}))

    return _FlowCommand(name, callback=callback, params=[*options], help=f"Describe {name}.", context_settings=SETTINGS)


def _info_run_command(name: str) -> click.Command:
    def callback() -> None:
        from jflows.cli.info import describe_run

        describe_run(Path(name))

    return _FlowCommand(name, callback=callback, help=f"Describe the flow of {name}.")


main.add_command(
    _Configs(
        "train",
        make=_train_command,
        help="Train a flow, evaluate it, and draw its pictures. Every setting is an option: "
        "`jflows train CONFIG --help` lists them, with --out and --resume.",
    )
)
main.add_command(
    _Configs(
        "info",
        make=_info_command,
        make_run=_info_run_command,
        help="Show a flow's layers, shapes and parameters.",
    )
)


def _run_options(command: Callable) -> Callable:
    """What all commands on a run directory share."""
    run = click.argument("run", type=click.Path(path_type=Path))
    weights = click.option(
        "--weights", type=click.Choice(["ema", "params"]), default="ema", show_default=True, help="Averaged or last."
    )
    checkpoint = click.option(
        "--checkpoint",
        type=_Checkpoint(),
        default="auto",
        show_default=True,
        help="latest, best, a step, or auto: the best if there was validation, else the latest.",
    )
    seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of noise and choices.")
    return run(weights(checkpoint(seed(command))))


def _data_options(command: Callable) -> Callable:
    data = click.option("--data", metavar="NAME|PATH", help="Data set; by default that of the run.")
    split = click.option(
        "--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True
    )
    return data(split(command))


class _OutPath(click.Path):
    """The path of a file to write, with one of these suffixes."""

    def __init__(self, *suffixes: str):
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        if Path(path).suffix.lower() not in self.suffixes:
            self.fail(f"must end in {' or '.join(self.suffixes)}; got {str(path)!r}.", param, ctx)
        return path


def _png(default: str) -> Callable:
    return click.option("--out", type=_OutPath(".png"), metavar="PNG", help=f"Picture to write. [RUN/{default}]")


class _Checkpoint(click.ParamType):
    """auto, latest, best, or a step."""

    name = "auto|latest|best|STEP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if value in ("auto", "latest", "best") or isinstance(value, int):
            return value
        if str(value).isdecimal():
            return int(value)
        self.fail(f"{value!r} must be auto, latest, best or a step.", param, ctx)


def _command(function: Callable) -> Callable:
    """Registers a function of `jflows.cli.runs` by its name, imported when it is called."""

    @functools.wraps(function)
    def callback(**options: Any) -> None:
        from jflows.cli import runs

        getattr(runs, function.__name__)(**options)

    return main.command(function.__name__, cls=_FlowCommand)(callback)


@_command
@_run_options
@_data_options
@click.option("--num-draws", type=click.IntRange(1), default=1, show_default=True, help="Noise draws per image.")
@click.option("--batch-size", type=click.IntRange(1), default=250, show_default=True)
def evaluate() -> None:
    """Print bits/dim of images, or nats of a table, with the standard error."""


@_command
@_run_options
@click.option("--num", type=click.IntRange(1), default=64, show_default=True, help="Images, or rows of a table.")
@click.option("--temperature", type=click.FloatRange(0), help="[0.7 of images, 1 of tables]")
@click.option(
    "--label", type=int, help="Class of a conditional flow, by default all in turn; or component of a mixture."
)
@click.option("--columns", type=click.IntRange(1), help="Images per row.")
@click.option(
    "--out",
    type=_OutPath(".png", ".csv", ".npy"),
    metavar="PNG|CSV|NPY",
    help="File to write: .png of images, .csv or .npy of a table. [RUN/sample.png, RUN/sample.csv]",
)
def sample() -> None:
    """Draw images or rows from a run."""


@_command
@_run_options
@_data_options
@click.option("--num-pairs", type=click.IntRange(1), default=8, show_default=True, help="Rows.")
@click.option("--num-steps", type=click.IntRange(2), default=10, show_default=True, help="Images per row.")
@click.option("--mode", type=click.Choice(["linear", "spherical"]), default="linear", show_default=True)
@_png("interpolation.png")
def interpolate() -> None:
    """Draw latent paths between pairs of images."""


@_command
@_run_options
@_data_options
@click.option("--num", type=click.IntRange(1), default=12, show_default=True, help="Images.")
@_png("reconstruction.png")
def reconstruct() -> None:
    """Draw images, decode(encode(images)) and the error."""


def _usage_text(error: click.ClickException) -> str:
    """One line: the command, click's message, and where the options are listed."""
    text = " ".join(error.format_message().split())
    ctx = getattr(error, "ctx", None)
    command = ctx.command_path if ctx is not None else "jflows"
    where = command.partition(" ")[2]
    text = text if text.endswith((".", "?")) else f"{text}."
    return f"{where}: {text} See `{command} --help`." if where else f"{text} See `{command} --help`."


def _fail(message: str, code: int = USAGE_ERROR) -> NoReturn:
    click.echo(f"jflows: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs on disk, unless the user has chosen a place."""
    import jax

    from jflows.data import cache_dir

    if not jax.config.values.get("jax_compilation_cache_dir") and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHED_COMPILE_SECONDS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of jflows in one line each, and nothing from the libraries."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in shown:  # the three splits of a folder have the same to say
            shown.add(str(message))
            click.echo(f"jflows: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=r"jflows\.")
        warnings.showwarning = show
        yield

"""How the `jflows` command ends in every case: its exit codes, its one line on stderr, and quiet libraries.

A mistake of the user (any `JflowsError` or usage error) is one line on stderr and exit code 2; anything else is a
defect and keeps its traceback. Results go to stdout, progress to stderr.
"""

import contextlib
import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import click

from jflows.cli.joining import join, process_options, refuse_to_join
from jflows.cli.words import in_words_of
from jflows.errors import JflowsError, did_you_mean
from jflows.processes.starting import failed_together, is_one_of_many, leave

IMPORT = "--import"
FAILED, USAGE_ERROR = 1, 2
INTERRUPTED = 130  # 128 + SIGINT, as shells expect
CACHED_COMPILE_SECONDS = 0.1  # programs that compile faster are not worth a file
SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


class Stop(click.ClickException):
    """Ends a command early with one line, where the user has made no mistake."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class Commands(click.Group):
    """A group that names the nearest command when one is unknown."""

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Finds the command by its name, as click does; the error for an unknown name suggests the nearest one."""
        if self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx))
            known = ", ".join(self.list_commands(ctx))
            ctx.fail(f"`command` must be one of {known}; got {args[0]!r}. {hint}".rstrip())
        return super().resolve_command(ctx, args)


def import_option() -> click.Option:
    """The option --import, which imports modules of the user before any other option is read."""
    return click.Option(
        [IMPORT],
        multiple=True,
        metavar="MODULE",
        is_eager=True,
        expose_value=False,
        callback=lambda ctx, param, names: import_modules(names, ctx.command_path.split()[1]),
        help="Module, or .py file, to import first: its presets and registered classes are then known. May be given "
        "several times.",
    )


def import_modules(names: Iterable[str], called: str) -> None:
    """Imports modules of the user, whose presets, bijectors and losses then have names."""
    from jflows.runs.configs import import_module

    with in_words_of(click.Command(called, params=[import_option()]), called):
        for name in names:
            import_module(name)


class FlowCommand(click.Command):
    """A command that works with flows: JAX is loaded when it runs, not for its help.

    Args:
      divided: whether many processes can divide its work, so that it has the options by which they find each other.
    """

    def __init__(self, *args: Any, divided: bool = False, **settings: Any):
        super().__init__(*args, **settings)
        self.divided = divided
        self.params += [import_option(), *(process_options() if divided else ())]

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command, as click does, and words errors of jflows as those of this command."""
        _keep_compiled_programs()
        name = ctx.command_path.split()[1]
        with in_words_of(ctx.command, name):
            join(ctx.params) if self.divided else refuse_to_join(name)
            return super().invoke(ctx)


class App(Commands):
    """The `jflows` command, all of whose exits go through `main`."""

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
        except RuntimeError as error:
            failed = failed_together(error)
            if failed is None:
                raise
            _fail(str(failed), FAILED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f"`{error.filename}`" if error.filename else "the disk"
            _fail(f"{where} must have free space to write to; got {error.strerror}. Free some and try again.")
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a subcommand, as click does, without the empty line that click prints at Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stop("interrupted.", INTERRUPTED) from None


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
    if is_one_of_many():
        leave(code)
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
    """Shows warnings of jflows in one line each, and no warnings of the libraries."""
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

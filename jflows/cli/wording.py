"""Errors of the library in the words of the command line: `--batch-size` for `batch_size`, the command for a function.

GlowDigits: `batch_size` must be positive; got -1.      as raised, and as seen in Python
train: `--batch-size` must be positive; got -1.         as printed by `jflows train glow_digits --batch-size -1`
"""

import contextlib
import re
from collections.abc import Iterator

import click

from jflows.errors import JflowsError

# What the library calls otherwise than the command line does, where the command has no option of that name.
OTHER_WORDS = {"run": "out", "size": "image_size", "name_or_path": "data"}
_FUNCTION = re.compile(r"[a-z_]\w*|\w+(\.\w+)+")  # `load`, `Run.resume`; a class tells which layer it is, and stays
_CLASS_OF_DATA = re.compile(r"^\w+ (?=')")  # in "ImageData 'pictures.npz'"
# A setting in a sentence: `size`, width=4, sharp=True, clip_norm; not part of a path, a formula or another word.
_SETTING = re.compile(r"(?<![\w/.^'\"-])([a-z]\w*)(`|=True\b|=False\b|=|(?![\w/-]|\.\w))")


@contextlib.contextmanager
def in_words_of(ctx: click.Context) -> Iterator[None]:
    """Rewords the errors of jflows raised inside for the command of this context."""
    try:
        yield
    except JflowsError as error:
        names = parameter_names(ctx.command)
        arguments = error.settings
        where = ctx.command_path.split()[1]
        if not all(name in names for name in arguments) and not _FUNCTION.fullmatch(error.where):
            where = f"{where}: {_CLASS_OF_DATA.sub('', error.where)}"
        argument = ", ".join(names.get(name, name) for name in arguments)
        rule, fix = (with_options(text, names) for text in (error.rule, error.fix))
        raise type(error)(where, argument, rule, error.got, fix) from error


def parameter_names(command: click.Command) -> dict[str, str]:
    """How settings are spelt: {"batch_size": "--batch-size", "run": "RUN", ...}."""
    own = {
        str(param.name): max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
        for param in command.params
    }
    others = {word: own[name] for word, name in OTHER_WORDS.items() if name in own}
    return {"run": "RUN", "config": "CONFIG", **others, **own}


def with_options(text: str, names: dict[str, str]) -> str:
    """A rule or a fix with its settings spelt as options."""

    def reword(found: re.Match[str]) -> str:
        name, after = found.groups()
        option = names.get(name, "")
        if not option.startswith("--") or not (after or "_" in name):
            return found[0]
        if after == "=False":
            return f"--no-{option[2:]}"
        return option if after == "=True" else option + after

    return _SETTING.sub(reword, text)

"""Errors of the library in the words of the command line: `--batch-size` for `batch_size`, the command for a function.

TrainConfig: `batch_size` must be at least 1; got -1.      as raised, and as seen in Python
train: `--batch-size` must be at least 1; got -1.          as printed by `jflows train glow_digits --batch-size -1`

Only the settings that an error carries, and those that its templates mark, are spelt anew; no sentence is parsed.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import click

from jflows.errors import JflowsError

OTHER_WORDS: Mapping[str, str] = MappingProxyType(
    {"run": "out", "size": "image_size", "name_or_path": "data", "name": "data"}
    | {"num_per_class": "labels_per_class", "share": "labelled_share", "recipe": "config"}
)
"""What the library calls otherwise than the command line does, where the command has no option of that name."""


class _Worded(JflowsError):
    """An error whose sentence is already in the words of a command."""

    def __init__(self, error: JflowsError, sentence: str):
        super().__init__(error.where, error.settings, error.rule, error.got, error.fix, code=error.code)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


@contextlib.contextmanager
def in_words_of(command: click.Command, called: str) -> Iterator[None]:
    """Rewords the errors of jflows raised inside for a command.

    Args:
      command: whose options settings are spelt as.
      called: its name, such as "train".
    """
    try:
        yield
    except JflowsError as error:
        raise _Worded(error, worded(error, command, called)) from error


def worded(error: JflowsError, command: click.Command, called: str) -> str:
    """The sentence of an error in the words of a command.

    The place is the command if the command has all the settings concerned; else the place in the library follows it.
    """
    names = spellings(command)
    inner = [name for name in error.settings if name not in names]  # arguments of the library, no options

    def spell(name: str, value: str | None) -> str:
        if name in inner:
            return name if value is None else f"{name}={value}"
        option = names.get(name, flag(name))  # of another command, such as `train`
        if value in ("True", "False") and option.startswith("--"):
            return option if value == "True" else f"--no-{option[2:]}"
        return option if value is None else f"{option}={value}"

    return error.render(spell, f"{called}: {error.where}" if inner else called)


def flag(name: str) -> str:
    """The name of an option of a recipe as it is written on the command line: --component.num-layers."""
    return f"--{name.replace('_', '-')}"


def spellings(command: click.Command) -> dict[str, str]:
    """How settings are spelt: {"batch_size": "--batch-size", "component.num_layers": "--component.num-layers", ...}."""
    own = {
        str(param.name).replace("__", "."): max(param.opts, key=len)
        if isinstance(param, click.Option)
        else param.human_readable_name
        for param in command.params
    }
    others = {word: own[name] for word, name in OTHER_WORDS.items() if name in own}
    return {"run": "RUN", "config": "CONFIG", **others, **own}

"""Words errors of the library as the command line does: `--batch-size` for `batch_size`, a command for a function.

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
"""Names by which the command line calls a setting of the library, if the command has no option of that name."""


class _Worded(JflowsError):
    """An error whose sentence is already in the words of a command."""

    def __init__(self, error: JflowsError, sentence: str):
        super().__init__(error.where, error.settings, error.rule, error.got, error.fix, code=error.code)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


@contextlib.contextmanager
def in_words_of(command: click.Command, called: str) -> Iterator[None]:
    """Words the errors that jflows raises inside the block as those of a command.

    Args:
      command: the command by whose options settings are named.
      called: name of the command, such as "train".
    """
    try:
        yield
    except JflowsError as error:
        raise _Worded(error, worded(error, command, called)) from error


def worded(error: JflowsError, command: click.Command, called: str) -> str:
    """The sentence of an error in the words of a command.

    It begins with the command, followed by the place in the library unless the command has all settings concerned.
    """
    names = spellings(command)
    inner = [name for name in error.settings if name not in names]  # arguments of the library, no options

    def spell(name: str, value: str | None) -> str:
        if name in inner:
            return name if value is None else f"{name}={value}"
        option = names.get(name, flag(OTHER_WORDS.get(name, name)))  # of another command, such as `train`
        if value in ("True", "False") and option.startswith("--"):
            return option if value == "True" else f"--no-{option[2:]}"
        return option if value is None else f"{option}={value}"

    return error.render(spell, f"{called}: {error.where}" if inner else called)


def flag(name: str) -> str:
    """The name of a recipe's option as it is written on the command line, such as --component.num-layers."""
    return f"--{name.replace('_', '-')}"


def spellings(command: click.Command) -> dict[str, str]:
    """The spelling of each setting, such as {"component.num_layers": "--component.num-layers"}."""
    own = {
        str(param.name).replace("__", "."): max(param.opts, key=len)
        if isinstance(param, click.Option)
        else param.human_readable_name
        for param in command.params
    }
    others = {word: own[name] for word, name in OTHER_WORDS.items() if name in own}
    others |= {"run": own["runs"]} if "runs" in own else {}
    return {"run": "RUN", "config": "CONFIG", **others, **own}

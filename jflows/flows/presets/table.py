"""docs/presets.md, from the presets' own declarations: `python -m jflows.flows.presets.table > docs/presets.md`."""

from collections.abc import Callable
from typing import Any

from jflows.flows.presets import PRESETS
from jflows.options import REQUIRED, default_in_words, in_words, settings_of

HEAD = """# Presets and their options

This page is written by `python -m jflows.flows.presets.table`, from the signatures of the presets. In Python an option
is an argument, `jflows.maf((6,), num_layers=3)`; on the command line it is `--num-layers 3`, with the same default.
A recipe fills in the options marked *from the data*, so that you need not give them.
"""


def presets_table() -> str:
    """The whole page."""
    sections = [_section(name, PRESETS[name]) for name in sorted(PRESETS)]
    return "\n".join([HEAD, *sections])


def _section(name: str, function: Callable[..., Any]) -> str:
    text = (function.__doc__ or "").partition("\n\nArgs:")[0]
    lines = [f"## `{name}`", "", text, "", "| option | takes | default | |", "|---|---|---|---|"]
    for setting in settings_of(function):
        rule = setting.option.rule().removeprefix("must be ")
        takes = rule if setting.option.choices else ", ".join(filter(None, (in_words(setting.type), rule)))
        default = "" if setting.default is REQUIRED else f"`{default_in_words(setting)}`"
        default = "*from the data*" if setting.option.from_data else default
        lines.append(f"| `{setting.name}` | {takes} | {default} | {setting.option.help} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(presets_table(), end="")

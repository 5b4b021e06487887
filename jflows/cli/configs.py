"""Configs: where they lie, how one is loaded, and how its fields become options of the command line."""

import ast
import dataclasses
import importlib.util
import inspect
import itertools
import sys
import textwrap
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from jflows.errors import DataError, InvalidTypeError, InvalidValueError, did_you_mean

if typing.TYPE_CHECKING:  # `jflows configs` and `--help` answer without loading the trainer
    from jflows.train import TrainConfig


def config_dir() -> Path:
    """The folder of configs: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = [root / "experiments" / "configs" for root in (package, package.parent)]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def list_configs() -> dict[str, str]:
    """Name -> first line of the docstring, read without running the files."""
    found = {}
    for path in sorted(config_dir().glob("[!_]*.py")):
        docstring = ast.get_docstring(_parse(path)) or ""
        found[path.stem] = docstring.partition("\n")[0]
    return found


def load_config(name: str) -> "type[TrainConfig]":
    """The config class of a file, by the file's name in `config_dir()` or by its path.

    Raises:
      InvalidValueError: if there is no such config.
      DataError: if the file is not Python.
      InvalidTypeError: if it does not define exactly one public dataclass derived from `TrainConfig`.
    """
    path = _config_path(name)
    from jflows.train import TrainConfig

    _parse(path)
    module = _run(path)
    found = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, TrainConfig) and value.__module__ == module.__name__
        if not key.startswith("_")
    ]
    if len(found) != 1 or not dataclasses.is_dataclass(found[0]):
        rule = "must define exactly one public dataclass derived from TrainConfig"
        got = ", ".join(cls.__name__ for cls in found) or "none"
        raise InvalidTypeError("config", str(path), rule, got, "Begin the names of helper classes with _.")
    return found[0]


def field_docs(cls: "type[TrainConfig]") -> dict[str, str]:
    """The string under each field, from the source of the class and of those it derives from."""
    from jflows.train import TrainConfig

    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not issubclass(base, TrainConfig):
            continue
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for field, text in itertools.pairwise(body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def field_options(cls: "type[TrainConfig]") -> list[click.Option]:
    """One option per field; an option that is not given is None, so that what was asked for can be told apart."""
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    options = []
    for field in dataclasses.fields(cls):
        flag = field.name.replace("_", "-")
        default = field.default if field.default is not dataclasses.MISSING else None
        help = f"{docs.get(field.name, '')} [{_show(default)}]".strip()
        if hints[field.name] is bool:
            options.append(click.Option([f"--{flag}/--no-{flag}", field.name], default=None, help=help))
        else:
            kind = _param_type(cls, field.name, hints[field.name])
            options.append(click.Option([f"--{flag}", field.name], type=kind, default=None, help=help))
    return options


def from_stored(cls: "type[TrainConfig]", stored: dict[str, Any], overrides: dict[str, Any]) -> "TrainConfig":
    """The config of a run that goes on: its stored settings, then what the command line says."""
    names = {field.name for field in dataclasses.fields(cls)}
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in names}
    return cls(**{**kept, **overrides})


class _IntTuple(click.ParamType):
    """Whole numbers separated by commas."""

    name = "INTEGER[,INTEGER...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} must be whole numbers separated by commas, such as 8,16", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name


class _StrTuple(click.ParamType):
    """Words separated by commas."""

    name = "TEXT[,TEXT...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(","))

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name


def _param_type(cls: type, name: str, hint: Any) -> click.ParamType:
    kinds: dict[Any, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    kinds |= {tuple[int, ...]: _IntTuple(), tuple[str, ...]: _StrTuple()}
    if hint not in kinds:
        rule = "must have a field of type bool, int, float, str, tuple[int, ...] or tuple[str, ...]"
        raise InvalidTypeError("config", f"{cls.__name__}.{name}", rule, str(hint))
    return kinds[hint]


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _config_path(name: str) -> Path:
    if name.endswith(".py") or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file() or path.suffix != ".py":
            raise InvalidValueError("config", "CONFIG", "must be an existing .py file", repr(name), "Check the path.")
        return path
    known = list_configs()
    if name in known:
        return config_dir() / f"{name}.py"
    fix = f"{did_you_mean(name, known)}`jflows configs` lists them all."
    raise InvalidValueError(
        "config", "CONFIG", "must be the name of a config or the path of a .py file", repr(name), fix
    )


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(), str(path))
    except (SyntaxError, ValueError, OSError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        got = f"{type(error).__name__}: {getattr(error, 'msg', error)}{line}"
        raise DataError("config", str(path), "must be a Python file that can be read", got, "Mend the file.") from error


def _run(path: Path) -> ModuleType:
    name = f"jflows_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    spec.loader.exec_module(module)
    return module

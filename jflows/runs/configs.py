"""Finds recipes: configs of `experiments/configs`, presets, .py files of your own, and the config.json of a run.

Listing them neither runs the files nor loads JAX, so that `jflows configs` answers at once.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jflows.errors import DataError, InvalidTypeError, InvalidValueError, JflowsError, did_you_mean, kind_of, path_of

if TYPE_CHECKING:
    from jflows.runs.recipe import Recipe

ATTRIBUTE = "config"
"""The name that a config file must define: `config = Recipe(...)`."""


def config_dir() -> Path:
    """The folder of configs: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = [root / "experiments" / "configs" for root in (package, package.parent)]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def list_configs() -> dict[str, str]:
    """Name of every config -> the first line of its docstring, read without running the file."""
    return {path.stem: _first_line(path) for path in sorted(config_dir().glob("[!_]*.py"))}


def list_presets() -> dict[str, str]:
    """Name of every preset of jflows -> the first line of its docstring, read without importing it.

    The name of a preset alone is a recipe too, which trains it with all defaults on data that you must name.
    """
    folder = Path(__file__).resolve().parents[1] / "flows" / "presets"
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in _parse(path).body:
            decorators = [entry.id for entry in getattr(node, "decorator_list", []) if isinstance(entry, ast.Name)]
            if isinstance(node, ast.FunctionDef) and "preset" in decorators:
                found[node.name] = (ast.get_docstring(node) or "").partition("\n")[0]
    return found


def is_known(name: str) -> bool:
    """Whether a config or a preset has this name; it is meant by it even where a directory is called so, too."""
    from jflows.flows.presets import PRESETS

    return name in list_configs() or name in PRESETS


def find_recipe(recipe: Any) -> "tuple[str, Recipe]":
    """Finds the recipe, and its name, that an argument of `jflows.run` stands for.

    Args:
      recipe: a `Recipe`; a preset, or a partial of one; the name of a config or of a preset; the path of a .py file
        that defines `config`, of a run's config.json, or of a run. Names go first: a run called like a config is
        "./NAME".
    Returns:
      The name of the run, and the recipe.
    Raises:
      InvalidValueError: if there is no config or preset of this name.
      InvalidTypeError: if `recipe` is of another type, or its file does not define a recipe.
      DataError: if its file is not Python, or not JSON.
    """
    from jflows.runs.presets import name_of
    from jflows.runs.recipe import Recipe

    if isinstance(recipe, Recipe):
        return name_of(recipe.flow), recipe
    if isinstance(recipe, str | Path):
        return _find_named(str(recipe))
    if callable(recipe):
        preset: Any = recipe
        return name_of(preset), Recipe(flow=preset)
    rule = "must be a Recipe, a preset, the name of a config or of a preset, or a path"
    raise InvalidTypeError("run", "config", rule, kind_of(recipe))


def import_module(name: str) -> ModuleType:
    """Imports a module of your own, whose presets and registered classes are then known.

    Args:
      name: name of a module that Python finds, also in the working directory; or the path of a .py file.
    Raises:
      DataError: if there is no such module, or it does not run without an error.
    """
    path = path_of("import", "import", name)
    if path.suffix == ".py":
        if not path.is_file():
            raise DataError("import", "import", "must be a module, or an existing .py file", repr(name))
        return _module(path.resolve())
    with _importable(Path.cwd(), name):
        return importlib.import_module(name)


def module_called(name: str) -> ModuleType:
    """The module of this name: that of a file which `import_module` has imported, or one that Python finds."""
    return sys.modules.get(_name_of_file(name)) or import_module(name)


def _find_named(name: str) -> "tuple[str, Recipe]":
    from jflows.flows.presets import PRESETS
    from jflows.runs.recipe import Recipe
    from jflows.runs.stored import read_recipe

    if not name.strip():
        raise InvalidValueError("run", "config", "must be given", repr(name), "`jflows configs` lists the configs.")
    path = path_of("run", "config", name)
    if path.suffix == ".json" and not path.is_file():
        rule = "must be an existing .py file, a run directory, or the config.json of a run"
        raise InvalidValueError("run", "config", rule, repr(name), "Check the path.")
    if path.suffix == ".json" or (path.is_dir() and not is_known(name)):
        stored = read_recipe(path)
        if "start_from" in stored.facts:
            origin = stored.facts["start_from"]
            message = f"run: {name} began with the weights of another run; pass start_from ({origin}) to do so again"
            warnings.warn(message, stacklevel=2)
        return stored.name, stored.recipe
    if path.suffix == ".py" or "/" in name:
        if not path.is_file() or path.suffix != ".py":
            rule = "must be an existing .py file, a run directory, or the config.json of a run"
            raise InvalidValueError("run", "config", rule, repr(name), "Check the path.")
        return path.stem, _load_file(path)
    known = list_configs()
    if name in known:
        return name, _load_file(config_dir() / f"{name}.py")
    if name in PRESETS:
        return name, Recipe(flow=PRESETS[name])
    rule = "must be the name of a config or of a preset, a run directory, or the path of a .py or config.json file"
    fix = f"{did_you_mean(name, (*known, *PRESETS))}`jflows configs` lists the configs."
    raise InvalidValueError("run", "config", rule, repr(name), fix)


def _load_file(path: Path) -> "Recipe":
    from jflows.runs.recipe import Recipe

    _parse(path)
    found = getattr(_module(path.resolve()), ATTRIBUTE, None)
    if not isinstance(found, Recipe):
        rule = "must define `config = jflows.Recipe(...)`"
        got = "nothing of that name" if found is None else kind_of(found)
        raise InvalidTypeError("run", str(path), rule, got)
    return found


def _first_line(path: Path) -> str:
    return (ast.get_docstring(_parse(path)) or "").partition("\n")[0]


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(), str(path))
    except (SyntaxError, ValueError, OSError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        got = f"{type(error).__name__}: {getattr(error, 'msg', error)}{line}"
        raise DataError("run", str(path), "must be a Python file that can be read", got, "Mend the file.") from error


def _name_of_file(stem: str) -> str:
    return f"jflows_config_{stem}"


@functools.cache
def _module(path: Path) -> ModuleType:
    """The module of a file, run once: a preset that it declares must not be declared again."""
    name = _name_of_file(path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    with _importable(path.parent, str(path)):  # a config may import modules beside it, as a script may
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path, what: str) -> Iterator[None]:
    """Lets Python find modules in a folder too; errors of what is imported are of `what`."""
    sys.path.insert(0, str(folder))
    try:
        yield
    except JflowsError:
        raise
    except ModuleNotFoundError as error:
        if error.name != what.partition(".")[0]:
            raise _does_not_run(what, error) from error
        rule = "must be a module that Python finds here, or the path of a .py file"
        raise DataError("import", "import", rule, repr(what), "Check the name.") from error
    except (Exception, SystemExit) as error:
        raise _does_not_run(what, error) from error
    finally:
        sys.path.remove(str(folder))


def _does_not_run(what: str, error: BaseException) -> DataError:
    got = f"{type(error).__name__}: {error}"
    return DataError("import", what, "must be a module that runs without an error", got, "Mend it.")

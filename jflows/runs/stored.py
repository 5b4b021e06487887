"""`StoredRecipe`: the content of a run's config.json, and which settings a resumed run may change."""

from pathlib import Path
from typing import Any, NamedTuple

from jflows.errors import JflowsError, RunError
from jflows.runs.directory import AS_IN_THE_RUN, config_path, damaged_config, read_config
from jflows.runs.recipe import Recipe

MAY_DIFFER = (
    *("steps", "epochs", "patience", "log_every", "eval_every", "checkpoint_every", "steps_per_call"),
    *("eval_batch_size", "parallel", "max_skipped", "max_reconstruction_error", "attributes"),
)
"""The settings that a resumed run may change. `steps` and `epochs` stretch the schedule, `eval_every` and `patience`
decide which weights are kept; the others leave the result alone."""

RECALIBRATED, ENSEMBLE = "recalibrated", "ensemble"
DERIVED = {
    RECALIBRATED: ("one with a recalibrated base", "Train the run that it came from."),
    ENSEMBLE: ("the mixture of an ensemble", "Train its members, by {ensemble} or one by one."),
}
"""Facts about runs whose flow is not that of their recipe, so that they cannot be trained further: what and the fix."""
"""The fact that a run is another one with a base of its own: a dictionary of `run` and `base`."""


class StoredRecipe(NamedTuple):
    """The content of config.json.

    Attributes:
      name: name of the config or preset that the run was started from.
      recipe: the recipe with all its options.
      facts: facts about the rows, by `jflows.runs.data.facts_of`: `data_crc32`, `num_examples`, `columns`, ...
    """

    name: str
    recipe: Recipe
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The content of config.json, as plain values."""
        return {"config": self.name, **self.recipe.to_json(), "facts": self.facts}

    def check_named(self, name: str) -> None:
        """Raises `RunError` unless this is a run of the config or preset of this name."""
        if self.name != name:
            raise RunError("run", "config", "must be as in the run", f"{self.name!r} -> {name!r}", AS_IN_THE_RUN)

    def check_continues(self, before: "StoredRecipe") -> None:
        """Raises `RunError` unless a run that began with `before` may continue with this recipe."""
        before.check_named(self.name)
        for fact in DERIVED.keys() & before.facts.keys():
            what, fix = DERIVED[fact]
            rule, got = f"must not be {what}, which its recipe does not have", f"made from {before.facts[fact]['run']}"
            raise RunError("run", "out", rule, got, fix)
        old, new = _values(before.recipe), _values(self.recipe)
        changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) and name not in MAY_DIFFER]
        if changed:
            got = ", ".join(f"{old.get(name)!r} -> {new.get(name)!r}" for name in changed)
            raise RunError("run", tuple(changed), "must be as in the run", got, AS_IN_THE_RUN)
        data = self.recipe.data
        for fact, what, path in (("data_crc32", "training", data.name), ("test_crc32", "test", data.test_data)):
            if before.facts.get(fact) != self.facts.get(fact):
                rule = f"must hold the {what} rows that the run began with"
                fix = "Restore them, or train into another directory."
                raise RunError("run", "data", rule, f"other rows in {path or data.name!r}", fix)


def read_recipe(run: str | Path) -> StoredRecipe:
    """The recipe of a run.

    Args:
      run: the run directory, or its config.json.
    Raises:
      RunError: if the directory is not that of a run of a recipe, or config.json is damaged.
    """
    content = read_config(run)
    try:
        name, facts = content.pop("config"), content.pop("facts")
    except KeyError as error:
        raise damaged_config(config_path(run), f"no key {error}") from error
    if not isinstance(name, str) or not isinstance(facts, dict):
        raise damaged_config(config_path(run), "`config` is no text, or `facts` no object")
    try:
        return StoredRecipe(str(name), Recipe.from_json(content), dict(facts))
    except JflowsError as error:
        raise error.at(str(config_path(run))) from error


def flow_values(recipe: Recipe) -> dict[str, Any]:
    """The options of the flow by their flat names, the preset and the domains of columns included."""
    values = {name: option.value for name, option in recipe.options().items() if option.group == "flow"}
    return {"flow": recipe.to_json()["flow"]["preset"], **values, "domains": recipe.data.domains}


def _values(recipe: Recipe) -> dict[str, Any]:
    """Every option by its flat name, the preset included."""
    values = {name: option.value for name, option in recipe.options().items()}
    return {"flow": recipe.to_json()["flow"]["preset"], **values}

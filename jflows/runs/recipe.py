"""`Recipe`: one value that describes a training run: a preset, data, a loss and training settings.

    Recipe(flow=partial(realnvp, num_layers=4), data=DataConfig(name="two_moons"), train=TrainConfig(steps=2000))

These four parts declare every option. The command line, the JSON of a run and the table in the docs are made from them,
so that an option, its range and its default are written once. Read next: `jflows/runs/running.py`, which trains one.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jflows.errors import DataError, InvalidTypeError, InvalidValueError, did_you_mean, kind_of
from jflows.flows import Density
from jflows.options import REQUIRED, Checked, Option, Setting, settings_of
from jflows.runs import presets
from jflows.runs.data import DOMAINS, DataConfig, Outline
from jflows.runs.files import MAX_DEPTH, depth_of
from jflows.runs.presets import Preset
from jflows.train import LOSSES, Loss, TrainConfig

FORMAT = 1
"""The version of a recipe's JSON; it changes whenever the meaning of the JSON does."""
_PARTS = ("format", "flow", "data", "loss", "train")
_LOSS = Option("What a training step minimises. Each loss has options of its own, which appear once it is chosen.")


_CONDITIONS = {"num_classes": "labels", "context_dim": "contexts", "context_shape": "frames of features"}
"""What data must have for an option that follows from them, in words."""
_SAME_SCORES = ("num_train", "num_validation", "labels_per_class", "labelled_share", "conditional", "manual_dir")
_SAME_SCORES += ("attributes",)


def changes_what_is_scored(name: str, group: str) -> bool:
    """Whether scores of runs that differ in this option are of other rows, columns or integers, and do not compare."""
    return name.rpartition(".")[2] == "num_bits" or (group == "data" and name not in _SAME_SCORES)


class RecipeOption(NamedTuple):
    """One option of a recipe.

    Attributes:
      name: the flat name, such as "width", "component.num_layers", "data" or "steps".
      group: the part that declares the option: "flow", "data", "loss" or "train".
      setting: the declaration.
      value: the value in this recipe, or `REQUIRED` if it has none yet; the name, if the value is a preset or a loss.
      choices: the names that the option may take, if it is a preset or the loss; else empty.
    """

    name: str
    group: str
    setting: Setting
    value: Any
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Recipe(Checked):
    """A training run as one value, for `jflows.run`.

    Args:
      flow: a preset such as `jflows.realnvp`, or a `functools.partial` that sets some of its options.
      data: the data to train on, and which rows, columns and labels of them to use.
      loss: the loss to minimise; None takes the flow's own, its likelihood, or the bound of a mixture.
      train: the settings of training.
    Raises:
      InvalidTypeError, InvalidValueError: if a part or one of its options is wrong.
    Example:
      >>> import jflows
      >>> recipe = Recipe(flow=jflows.realnvp, data=DataConfig(name="two_moons"))
      >>> recipe = recipe.with_options(num_layers=2, steps=100)
      >>> recipe.to_json()["flow"]["num_layers"], recipe.train.steps
      (2, 100)
    """

    flow: Preset
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    loss: Loss | None = None
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def _check(self) -> None:
        presets.check_preset(self.flow)
        if self.loss is not None and LOSSES.get(self.loss.name) is not type(self.loss):
            rule, fix = f"must be one of {', '.join(LOSSES)}, to be stored", "Call jflows.fit with other losses."
            raise InvalidTypeError("Recipe", "loss", rule, kind_of(self.loss), fix)

    def __eq__(self, other: object) -> bool:
        """Whether all options of two recipes have the same values."""
        return isinstance(other, Recipe) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_json(), sort_keys=True))

    @property
    def objective(self) -> Loss:
        """The loss of this recipe, or the flow's own if none is given."""
        return LOSSES[presets.objective_of(self.flow)]() if self.loss is None else self.loss

    def options(self) -> dict[str, RecipeOption]:
        """Every option by its flat name, in the order flow, data, loss, train."""
        found = [*_flow_options(self.flow), *_data_options(self.data)]
        loss = self.objective
        word = Setting("loss", str, _LOSS, loss.name)
        found.append(RecipeOption("loss", "loss", word, loss.name, tuple(LOSSES)))
        found += _field_options("loss", loss)
        found += _field_options("train", self.train)
        return {option.name: option for option in found}

    def with_options(self, **options: Any) -> "Recipe":
        """A copy of the recipe with some options changed, by their flat names, whichever part declares them.

        `data="mnist"` changes the name of the data, and `loss="mixture"` the loss. Options of a component are written
        `component__num_layers=4`, `component={"preset": "maf", "num_layers": 4}`, or with a dot in a dictionary:
        `**{"component.num_layers": 4}`. If you change the preset of a component, it starts from its own defaults.

        Raises:
          InvalidValueError, InvalidTypeError: if there is no such option, or a value breaks its rule.
        """
        given = {name.replace("__", "."): presets.as_tuple(value) for name, value in options.items()}
        recipe = self
        for name, option in self.options().items():  # these first, as they change which options there are
            if option.choices and name in given:
                recipe = recipe._with_choice(name, given.pop(name))
        known, parts = recipe.options(), {}
        for name, value in given.items():
            if name not in known:
                fix = did_you_mean(name, known).strip()
                raise InvalidValueError("Recipe", name, "must be an option of this recipe", None, fix)
            parts.setdefault(known[name].group, {})[known[name].setting.name if "." not in name else name] = value
        return recipe._with_parts(parts)

    def build(self, outline: Outline) -> Density:
        """Builds the density for data of this shape, with the options that follow from the data filled in.

        Args:
          outline: the shape of the data, by `DataConfig.outline`, or by `jflows.runs.data.outline_of` of loaded data.
        Raises:
          DataError: if the flow is for data of another shape.
          InvalidValueError: if an option does not fit the data, or `conditional` is set for data without context.
        """
        missing = [name for name, value in presets.values_of(self.flow).items() if value is REQUIRED]
        if missing:
            raise InvalidValueError(presets.name_of(self.flow), missing[0], "must be given", None)
        given = self._from_data(outline) | self._domains(outline)
        try:
            return presets.built(self.flow, outline.event_shape, **given)
        except InvalidValueError as error:
            if error.settings == ("circle",):  # the preset knows positions only
                named = ", ".join(repr(entry[0]) for entry in self.data.circle)
                raise InvalidValueError(error.where, "circle", error.rule, named, error.fix) from error
            if error.settings[0].rpartition(".")[2] != "event_shape":
                raise
            rule, got = f"must suit {error.where}, of which the shape {error.rule}", f"shape {outline.event_shape}"
            raise DataError("Recipe", "data", rule, f"{outline.name!r} of {got}", error.fix) from error

    def to_json(self) -> dict[str, Any]:
        """All options with their values, defaults included, as plain values for JSON."""
        loss = self.objective
        return {
            "format": FORMAT,
            "flow": _plain(presets.preset_to_json(self.flow)),
            "data": _plain(_fields(self.data)),
            "loss": {"name": loss.name, **_plain(_fields(loss))},
            "train": _plain(_fields(self.train)),
        }

    @classmethod
    def from_json(cls, content: Any) -> "Recipe":
        """The inverse of `to_json`.

        Raises:
          InvalidTypeError, InvalidValueError: if a key is unknown or missing, or a value breaks its rule.
        """
        where = "Recipe.from_json"
        if not isinstance(content, Mapping):
            raise InvalidTypeError(where, "recipe", "must be an object", kind_of(content))
        if depth_of(content) > MAX_DEPTH:
            raise InvalidValueError(where, "recipe", f"must not be nested more than {MAX_DEPTH} deep", "a deeper one")
        if content.get("format") != FORMAT:
            fix = "It was written by another version of jflows; train anew, or write it as this version does."
            raise InvalidValueError(where, "format", f"must be {FORMAT}", repr(content.get("format")), fix)
        _check_keys(where, content, _PARTS, "recipe")
        loss = dict(_part(where, content, "loss"))
        name = loss.pop("name", None)
        if not isinstance(name, str) or name not in LOSSES:
            raise InvalidValueError(where, "loss", f"must be one of {', '.join(LOSSES)}", repr(name))
        return cls(
            flow=presets.preset_from_json(where, content["flow"]),
            data=_made(where, "data", DataConfig, _part(where, content, "data")),
            loss=_made(where, "loss", LOSSES[name], loss),
            train=_made(where, "train", TrainConfig, _part(where, content, "train")),
        )

    def _with_choice(self, name: str, value: Any) -> "Recipe":
        if name == "loss":
            return dataclasses.replace(self, loss=self._loss_named(value))
        return dataclasses.replace(self, flow=presets.with_option(self.flow, name, value))

    def _with_parts(self, parts: Mapping[str, dict[str, Any]]) -> "Recipe":
        """All options of a part at once, as they may have to fit each other."""
        flow = self.flow
        for name, value in parts.get("flow", {}).items():
            flow = presets.with_option(flow, name, value)
        train = dict(parts.get("train", {}))
        if "epochs" in train or "steps" in train:  # each stands for the other
            train = {"steps": 0, "epochs": 0.0} | train
        return Recipe(
            flow=flow,
            data=dataclasses.replace(self.data, **parts.get("data", {})),
            loss=dataclasses.replace(self.objective, **parts["loss"]) if "loss" in parts else self.loss,
            train=dataclasses.replace(self.train, **train),
        )

    def _loss_named(self, name: Any) -> Loss:
        """The loss of this name with its defaults; the one there is if it has that name."""
        if isinstance(name, Loss):
            return name
        if not isinstance(name, str) or name not in LOSSES:
            rule = f"must be one of {', '.join(LOSSES)}"
            raise InvalidValueError("Recipe", "loss", rule, repr(name), did_you_mean(str(name), LOSSES).strip())
        return self.objective if self.objective.name == name else LOSSES[name]()

    def _from_data(self, outline: Outline) -> dict[str, Any]:
        """`num_classes`, `context_dim` or `context_shape`, if the flow is to be conditioned on what the data have."""
        asked = self.data.conditional
        if asked is False or (asked is None and outline.context_shape is None):
            return {}
        names = [name for name in presets.from_data_of(self.flow) if name in _CONDITIONS]
        preset = presets.name_of(self.flow)
        if asked and "num_classes" in names and outline.num_classes is not None:
            return {"num_classes": outline.num_classes}
        context_shape = outline.context_shape or ()
        if "context_dim" in names and len(context_shape) == 1:
            return {"context_dim": context_shape[0]}
        if "context_shape" in names and len(context_shape) == 2:
            return {"context_shape": context_shape}
        if asked is None:
            setting, fix = "context", "Leave it out, or choose another flow, such as maf."
            got = f"{outline.name!r} with contexts of shape {outline.context_shape}"
            raise InvalidValueError(preset, setting, "is not for this flow, which takes no context vector", got, fix)
        if not names:
            fix = "Leave out {conditional=True}, or choose another flow."
            raise InvalidValueError(preset, "conditional", "is not for this flow, which takes no context", True, fix)
        wanted = " or ".join(_CONDITIONS[name] for name in names)
        rule, fix = f"needs data with {wanted}", "Leave out {conditional=True}, or take other {data}."
        raise InvalidValueError(preset, "conditional", rule, f"{outline.name!r} without them", fix)

    def _domains(self, outline: Outline) -> dict[str, Any]:
        """`domains`, by position, if any column has one."""
        domains = self.data.domains
        if not domains:
            return {}
        setting = next(name for name in DOMAINS if getattr(domains, name))
        preset, got = presets.name_of(self.flow), repr(getattr(domains, setting))
        if not outline.columns:
            fix = "Leave it out, or take other {data}."
            raise InvalidValueError(
                preset, setting, "is for columns of tables", f"{outline.name!r}, which has none", fix
            )
        if "domains" not in presets.from_data_of(self.flow):
            fix = "Leave it out, or choose another flow, such as nsf_autoregressive."
            raise InvalidValueError(preset, setting, "is not for this flow, which takes any real numbers", got, fix)
        return {"domains": domains.of(outline.columns)}


def _flow_options(flow: Preset, prefix: str = "") -> list[RecipeOption]:
    found = []
    for setting, value in zip(presets.options_of(flow), presets.values_of(flow).values(), strict=True):
        name = prefix + setting.name
        if not presets.takes_preset(setting):
            found.append(RecipeOption(name, "flow", setting, value))
            continue
        if value is REQUIRED:
            found.append(RecipeOption(name, "flow", setting, value, presets.choices_for(setting)))
            continue
        found.append(RecipeOption(name, "flow", setting, presets.name_of(value), presets.choices_for(setting)))
        found += _flow_options(value, f"{name}.")
    return found


def _data_options(data: DataConfig) -> list[RecipeOption]:
    """As declared, but for the name of the data, which is called `data`."""
    found = _field_options("data", data)
    return [option._replace(name="data") if option.name == "name" else option for option in found]


def _field_options(group: str, part: Any) -> list[RecipeOption]:
    declared = settings_of(type(part))
    return [RecipeOption(setting.name, group, setting, getattr(part, setting.name)) for setting in declared]


def _fields(part: Any) -> dict[str, Any]:
    return {setting.name: getattr(part, setting.name) for setting in settings_of(type(part))}


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _part(where: str, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(content[name], Mapping):
        raise InvalidTypeError(where, name, "must be an object", kind_of(content[name]))
    return content[name]


def _made(where: str, name: str, cls: type, content: Mapping[str, Any]) -> Any:
    known = [setting.name for setting in settings_of(cls)]
    _check_keys(where, content, known, name, all_of_them=False)
    return cls(**{key: presets.as_tuple(value) for key, value in content.items()})


def _check_keys(where: str, content: Mapping, known: Any, what: str, all_of_them: bool = True) -> None:
    for key in content:
        if key not in known:
            rule = f"must be a key of {what}: {', '.join(known)}"
            raise InvalidValueError(where, str(key), rule, repr(content[key]), did_you_mean(str(key), known).strip())
    missing = [key for key in known if key not in content]
    if missing and all_of_them:
        raise InvalidValueError(where, missing[0], f"must be a key of {what}", "no such key")

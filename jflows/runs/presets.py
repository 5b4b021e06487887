"""How a recipe handles presets: their names, the options that a `functools.partial` has set, and their JSON.

A preset is a function `preset(event_shape, **options) -> Density`, declared by `jflows.flows.presets.preset`. An option
may itself be a preset, such as the `component` of a mixture.
"""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError, did_you_mean, kind_of
from jflows.flows import Density
from jflows.flows.presets import PRESETS
from jflows.options import REQUIRED, Setting, check_call, settings_of
from jflows.spec import from_spec, to_spec

Preset = Callable[..., Density]
FIRST = "event_shape"


def unwrap(flow: Preset) -> tuple[Preset, dict[str, Any]]:
    """The function inside partials, and the options that the partials set.

    Raises:
      InvalidTypeError: if it is not a function, or a partial sets an argument by position.
    """
    given: dict[str, Any] = {}
    while isinstance(flow, functools.partial):
        if flow.args:
            fix = "Write functools.partial(realnvp, num_layers=4)."
            raise InvalidTypeError("Recipe", "flow", "must set options by name", repr(flow.args), fix)
        given = {**flow.keywords, **given}
        flow = flow.func
    if not callable(flow) or isinstance(flow, type):
        fix = "Pass jflows.realnvp, or functools.partial(jflows.realnvp, num_layers=4)."
        raise InvalidTypeError("Recipe", "flow", "must be a preset or a functools.partial of one", kind_of(flow), fix)
    return flow, given


def name_of(flow: Preset) -> str:
    """The name of a preset, which may be inside partials."""
    return unwrap(flow)[0].__name__


def preset_named(where: str, setting: str, name: str, choices: Iterable[str] = PRESETS) -> Preset:
    """The preset of this name, one of `choices`.

    Raises:
      InvalidValueError: if `choices` has no such name.
    """
    known = tuple(choices)
    if name not in known:
        fix = did_you_mean(name, known).strip()
        raise InvalidValueError(where, setting, f"must be one of {', '.join(known)}", repr(name), fix)
    return PRESETS[name]


def options_of(flow: Preset) -> tuple[Setting, ...]:
    """The options of a preset that a user sets: all but the event shape and those that follow from the data."""
    declared = settings_of(unwrap(flow)[0])
    return tuple(setting for setting in declared if setting.name != FIRST and not setting.option.from_data)


def from_data_of(flow: Preset) -> tuple[str, ...]:
    """Names of the options that follow from the data, without the event shape."""
    declared = settings_of(unwrap(flow)[0])
    return tuple(setting.name for setting in declared if setting.name != FIRST and setting.option.from_data)


def objective_of(flow: Preset) -> str:
    """Name of the loss that trains what a preset makes, found by the return annotation of the preset."""
    made = get_type_hints(unwrap(flow)[0]).get("return")
    return made.objective if inspect.isclass(made) and issubclass(made, Density) else "likelihood"


def takes_preset(setting: Setting) -> bool:
    """Whether the value of an option is itself a preset."""
    return get_origin(setting.type) is Callable


def choices_for(setting: Setting) -> tuple[str, ...]:
    """Names of the presets that an option may take: those that make the type that the option declares."""
    return tuple(name for name, preset in PRESETS.items() if _may_be(setting, preset))


def _may_be(setting: Setting, flow: Preset) -> bool:
    function = unwrap(flow)[0]
    made, wanted = get_type_hints(function).get("return"), get_args(setting.type)[-1]
    return isinstance(made, type) and issubclass(made, wanted)


def values_of(flow: Preset) -> dict[str, Any]:
    """Every option of a preset with its value; `REQUIRED` where it has none yet."""
    given = unwrap(flow)[1]
    return {setting.name: given.get(setting.name, setting.default) for setting in options_of(flow)}


def check_preset(flow: Preset) -> None:
    """Raises unless this is a declared preset whose options, set by partials, exist and are allowed, in components too.

    A function that is not declared could be trained, but its run could never be read again.
    """
    function, given = unwrap(flow)
    if PRESETS.get(function.__name__) is not function:
        rule, fix = "must be a declared preset, to be stored", "Write @jflows.flows.presets.preset above the function."
        raise InvalidTypeError("Recipe", "flow", rule, f"the function {function.__name__}", fix)
    known = {setting.name: setting for setting in options_of(flow)}
    where = function.__name__
    for name, value in given.items():
        if name not in known:
            rule = f"must be an option of {where}: {', '.join(known)}"
            raise InvalidValueError(where, name, rule, repr(value), did_you_mean(name, known).strip())
        if takes_preset(known[name]):
            with inside(name):
                check_preset(value)
            if not _may_be(known[name], value):
                fix = f"Choose one of {', '.join(choices_for(known[name]))}."
                raise InvalidValueError(where, name, "must be a preset of flows", name_of(value), fix)
    plain = {name: value for name, value in given.items() if not takes_preset(known[name])}
    check_call(where, function, plain)


def with_option(flow: Preset, name: str, value: Any) -> Preset:
    """The same preset with one more option set; the name "component.num_layers" sets an option of a component."""
    function, given = unwrap(flow)
    head, _, rest = name.partition(".")
    settings = {setting.name: setting for setting in options_of(flow)}
    if rest:
        with inside(head):
            value = with_option(given.get(head, settings[head].default), rest, value)
    elif takes_preset(settings[head]):
        value = _component(function.__name__, settings[head], value, given.get(head, settings[head].default))
    else:
        value = as_tuple(value)
        settings[head].check(function.__name__, value)
    return functools.partial(function, **{**given, head: value})


def built(flow: Preset, event_shape: tuple[int, ...], **given: Any) -> Density:
    """What a preset makes of this shape; an error about an option of a component names it by its full name.

    Raises:
      InvalidValueError, InvalidTypeError: if options do not fit the shape, or each other.
    """
    try:
        return flow(event_shape, **given)
    except (InvalidValueError, InvalidTypeError) as error:
        settings = {setting.name: setting for setting in options_of(flow) if error.where != name_of(flow)}
        for name, value in values_of(flow).items():
            if name in settings and takes_preset(settings[name]) and name_of(value) == error.where:
                raise error.inside(name) from error
        raise


@contextlib.contextmanager
def inside(option: str) -> Iterator[None]:
    """Errors about the options of a component name them by their full name: `component.num_layers`."""
    try:
        yield
    except JflowsError as error:
        raise error.inside(option) from error


def preset_to_json(flow: Preset) -> dict[str, Any]:
    """The name of a preset and the values of all its options, as plain values for JSON."""
    values = {name: _stored(value) for name, value in values_of(flow).items() if value is not REQUIRED}
    components = {setting.name for setting in options_of(flow) if takes_preset(setting)}
    plain = {name: preset_to_json(value) if name in components else value for name, value in values.items()}
    return {"preset": name_of(flow), **plain}


def preset_from_json(where: str, content: Any) -> Preset:
    """The inverse of `preset_to_json`.

    Raises:
      InvalidValueError, InvalidTypeError: if the preset or an option is unknown, or a value breaks its rule.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("preset"), str):
        raise InvalidTypeError(where, "flow", 'must be an object with the key "preset"', kind_of(content))
    if content["preset"] not in PRESETS:
        own = "Import the module that declares your own; on the command line, --import MODULE."
        rule, fix = f"must be one of {', '.join(PRESETS)}", did_you_mean(content["preset"], PRESETS) + own
        raise InvalidValueError(where, "preset", rule, repr(content["preset"]), fix)
    function = PRESETS[content["preset"]]
    components = {setting.name for setting in options_of(function) if takes_preset(setting)}
    given = {name: _restored(value) for name, value in content.items() if name != "preset" and name not in components}
    for name in components & set(content):
        with inside(name):
            given[name] = preset_from_json(where, content[name])
    made = functools.partial(function, **given)
    check_preset(made)
    return made


def _stored(value: Any) -> Any:
    """A value as JSON holds it: an object, such as an inner map, by its structure."""
    return to_spec(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _restored(value: Any) -> Any:
    return from_spec(dict(value)) if isinstance(value, Mapping) else as_tuple(value)


def as_tuple(value: Any) -> Any:
    """The value with all lists turned into tuples, at any depth."""
    return tuple(as_tuple(entry) for entry in value) if isinstance(value, list | tuple) else value


def _component(where: str, setting: Setting, value: Any, current: Any) -> Preset:
    """A preset from what was given for one: itself, its name, or a dictionary of options."""
    if isinstance(value, str):
        if current is not REQUIRED and name_of(current) == value:
            return current
        return preset_named(where, setting.name, value, choices_for(setting))
    if isinstance(value, Mapping):
        changed = _component(where, setting, value["preset"], current) if "preset" in value else current
        for option, entry in value.items():
            if option != "preset":
                _check_known(where, setting.name, changed, option)
                with inside(setting.name):
                    changed = with_option(changed, option, entry)
        return changed
    with inside(setting.name):
        check_preset(value)
    return value


def _check_known(where: str, name: str, flow: Preset, option: str) -> None:
    known = [setting.name for setting in options_of(flow)]
    if option.partition(".")[0] not in known:
        rule = f"must be an option of {name_of(flow)}: {', '.join(known)}"
        raise InvalidValueError(where, f"{name}.{option}", rule, None, did_you_mean(option, known).strip())

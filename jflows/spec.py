"""A flow's structure as JSON and back, without pickle: `to_spec`, `from_spec`, and `register` for your own classes.

A module is a frozen dataclass whose fields are int, float, str, bool, None, modules, or tuples of these. Its spec is

    {"class": "Coupling", "fields": {"conditioner": {"class": "ConvNet", ...}, "event_ndims": 3}}

and the whole is wrapped in `{"format": 1, "flow": ...}`. Arrays never appear here: they are variables.
"""

import dataclasses
from typing import Any, TypeVar

import jflows.bijectors as bijectors
import jflows.distributions as distributions
import jflows.nn as networks
from jflows.errors import InvalidTypeError, RunError

FORMAT = 1
_LINEN_FIELDS = ("parent", "name")
_REGISTRY: dict[str, type] = {}

ClassT = TypeVar("ClassT", bound=type)


def register(cls: ClassT) -> ClassT:
    """Lets a class of your own take part in specs and checkpoints; usable as a decorator.

    Args:
      cls: a dataclass, such as any Linen module; registered under its class name.
    Raises:
      InvalidTypeError: if it is not a dataclass, or the name is taken by another class.
    """
    if not (isinstance(cls, type) and hasattr(cls, "__dataclass_fields__")):
        raise InvalidTypeError("register", "cls", "must be a dataclass or a Linen module class", repr(cls))
    known = _REGISTRY.get(cls.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        got = f"{cls.__module__}.{cls.__qualname__}"
        rule = f"must have a free name; {cls.__name__} is {known.__module__}.{known.__qualname__}"
        raise InvalidTypeError("register", "cls", rule, got, "Rename the class.")
    _REGISTRY[cls.__name__] = cls
    return cls


for _package in (bijectors, networks, distributions):
    for _name in _package.__all__:
        if dataclasses.is_dataclass(getattr(_package, _name)):
            register(getattr(_package, _name))


def to_spec(module: Any) -> dict:
    """The structure of a flow or module as JSON-serialisable data.

    Raises:
      InvalidTypeError: if a field holds anything but plain values, modules, or tuples of these, or if a class is not
        registered.
    """
    return {"format": FORMAT, "flow": _encode(module, type(module).__name__)}


def from_spec(spec: dict) -> Any:
    """Rebuilds what `to_spec` described.

    Raises:
      RunError: if the format is unknown or the spec is malformed, or a class is not registered.
    """
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        got = f"format {spec.get('format')!r}" if isinstance(spec, dict) else type(spec).__name__
        raise RunError("from_spec", "spec", f"must be of format {FORMAT}", got, "Use the jflows version that wrote it.")
    if "flow" not in spec:
        raise RunError("from_spec", "spec", "must have an entry 'flow'", f"entries {sorted(spec)}")
    return _decode(spec["flow"])


def _encode(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
    name = type(value).__name__
    if not dataclasses.is_dataclass(value):
        rule = "must hold int, float, str, bool, None, modules, or tuples of these"
        raise InvalidTypeError("to_spec", path, rule, name, "Keep arrays in variables.")
    if _REGISTRY.get(name) is not type(value):
        fix = f"Call jflows.register({name}) where the class is defined."
        raise InvalidTypeError("to_spec", path, "must be of a registered class", name, fix)
    fields = [field.name for field in dataclasses.fields(value) if field.init and field.name not in _LINEN_FIELDS]
    return {"class": name, "fields": {field: _encode(getattr(value, field), f"{path}.{field}") for field in fields}}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    name, fields = value.get("class"), value.get("fields")
    if not isinstance(name, str) or name not in _REGISTRY:
        fix = f"Import the code that defines it and call jflows.register({name}) before loading."
        raise RunError("from_spec", "class", "must be registered", repr(name), fix)
    fix = "Use the jflows version that wrote it."
    if not isinstance(fields, dict):
        raise RunError("from_spec", name, "must have a dictionary of fields", repr(fields), fix)
    known = {field.name: field for field in dataclasses.fields(_REGISTRY[name]) if field.name not in _LINEN_FIELDS}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise RunError("from_spec", name, f"must have fields among {sorted(known)}", f"{unknown}", fix)
    missing = sorted(key for key, field in known.items() if key not in fields and _is_required(field))
    if missing:
        raise RunError("from_spec", name, f"must have the fields {missing}", f"{sorted(fields)}", fix)
    return _REGISTRY[name](**{field: _decode(item) for field, item in fields.items()})


def _is_required(field: dataclasses.Field) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING

"""A flow's structure as JSON and back, without pickle: `to_spec`, `from_spec`, and `register` for your own classes.

A module is a frozen dataclass whose fields are int, float, str, bool, None, modules, or tuples of these. Its spec is

    {"class": "Coupling", "fields": {"conditioner": {"class": "ConvNet", ...}, "event_ndims": 3}}

and the whole is wrapped in `{"format": 1, "flow": ...}`. Arrays never appear here: they are variables.
"""

import dataclasses
import inspect
from typing import Any, TypeVar

import jflows.bijectors as bijectors
import jflows.distributions as distributions
import jflows.nn as networks
from jflows.errors import InvalidTypeError, JflowsError, RunError, did_you_mean
from jflows.options import LINEN_FIELDS, Checked

FORMAT = 1
MAX_DEPTH = 100  # of lists and dictionaries in each other; Python itself gives up at ten times that
REWRITE = "Use the jflows version that wrote it."
_REGISTRY: dict[str, type] = {}

ClassT = TypeVar("ClassT", bound=type)


def register(cls: ClassT) -> ClassT:
    """Makes a class of your own usable in specs and checkpoints; also a decorator.

    Args:
      cls: a dataclass, such as any Linen module; registered under its class name.
    Raises:
      InvalidTypeError: if it is not a concrete dataclass, or the name is taken by another class.
    """
    if inspect.isabstract(cls):
        raise InvalidTypeError("register", "cls", "must be concrete", cls.__name__, "Register its subclasses.")
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
        _member: Any = getattr(_package, _name)
        if isinstance(_member, type) and dataclasses.is_dataclass(_member) and not inspect.isabstract(_member):
            register(_member)


def to_spec(module: Any) -> dict:
    """The structure of a flow or module as JSON-serialisable data.

    Raises:
      InvalidTypeError: if a field holds anything but plain values, modules, or tuples of these, if they are nested
        more than `MAX_DEPTH` deep, or, with the code "unregistered", if a class is not registered.
    """
    return {"format": FORMAT, "flow": _encode(module, type(module).__name__)}


def from_spec(spec: dict) -> Any:
    """Rebuilds the flow or module that `to_spec` described.

    Raises:
      RunError: if the format is unknown, the spec is malformed, a class is not registered, or a module refuses its
        fields; the error names where in the spec.
    """
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        got = f"format {_kind(spec.get('format'))}" if isinstance(spec, dict) else type(spec).__name__
        raise RunError("from_spec", "spec", f"must be of format {FORMAT}", got, REWRITE)
    if "flow" not in spec:
        raise RunError("from_spec", "spec", "must have an entry 'flow'", f"entries {_sorted(spec)}")
    if not isinstance(spec["flow"], dict):
        raise RunError("from_spec", "flow", "must be a dictionary with a class and fields", _kind(spec["flow"]))
    return _decode(spec["flow"], "flow", MAX_DEPTH)


def _encode(value: Any, path: str, depth: int = MAX_DEPTH) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth <= 0:
        rule = f"must not be nested more than {MAX_DEPTH} deep"
        raise InvalidTypeError(
            "to_spec", path, rule, type(value).__name__, "Write a bijector of your own for the parts."
        )
    if isinstance(value, tuple | list):
        return [_encode(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
    name = type(value).__name__
    if not dataclasses.is_dataclass(value):
        rule = "must hold int, float, str, bool, None, modules, or tuples of these"
        raise InvalidTypeError("to_spec", path, rule, name, "Keep arrays in variables.")
    if _REGISTRY.get(name) is not type(value):
        fix = f"Call jflows.register({name}) where the class is defined."
        raise InvalidTypeError("to_spec", path, "must be of a registered class", name, fix, code="unregistered")
    fields = {}
    for field in _fields(type(value)):
        fields[field] = _encode(getattr(value, field), f"{path}.{field}", depth - 1)
    return {"class": name, "fields": fields}


def _decode(value: Any, path: str, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth <= 0:
        raise RunError("from_spec", path, f"must not be nested more than {MAX_DEPTH} deep", _kind(value), REWRITE)
    if isinstance(value, list):
        return tuple(_decode(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value))
    if not isinstance(value, dict):
        rule = "must hold numbers, strings, booleans, null, lists and dictionaries"
        raise RunError("from_spec", path, rule, _kind(value), REWRITE)
    cls, fields = _class_and_fields(value, path)
    made = {field: _decode(item, f"{path}.{field}", depth - 1) for field, item in fields.items()}
    return _made(cls, made, path)


def _class_and_fields(value: dict, path: str) -> tuple[type, dict[str, Any]]:
    name, fields = value.get("class"), value.get("fields")
    if not isinstance(name, str) or name not in _REGISTRY:
        named = isinstance(name, str)
        hint = did_you_mean(name, _REGISTRY) if named else ""
        call = f"call jflows.register({name})" if named else "call jflows.register on the class"
        fix = f"{hint}Import the code that defines it and {call} before loading; on the command line, --import MODULE."
        raise RunError("from_spec", f"{path}.class", "must be registered", _kind(name), fix)
    if set(value) != {"class", "fields"} or not isinstance(fields, dict):
        rule = "must have the entries class and fields, a dictionary"
        got = _sorted(value) if isinstance(fields, dict) else f"fields {_kind(fields)}"
        raise RunError("from_spec", path, rule, got, REWRITE)
    known = _fields(_REGISTRY[name])
    if set(fields) - set(known):
        got = f"{_sorted(set(fields) - set(known))}"
        raise RunError("from_spec", f"{path}.fields", f"must have {name}'s fields, {sorted(known)}", got, REWRITE)
    missing = sorted(key for key, field in known.items() if key not in fields and _is_required(field))
    if missing:
        got = f"{sorted(fields)}"
        raise RunError("from_spec", f"{path}.fields", f"must have the fields {missing} of {name}", got, REWRITE)
    return _REGISTRY[name], fields


def _made(cls: type, fields: dict[str, Any], path: str) -> Any:
    # A class of the user's that is not `Checked` may raise anything for values that no spec of its own would hold.
    refusals = JflowsError if issubclass(cls, Checked) else Exception
    try:
        return cls(**fields)
    except refusals as error:
        rule = f"must hold fields that {cls.__name__} takes"
        raise RunError("from_spec", path, rule, str(error).rstrip("."), REWRITE) from error


def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init and field.name not in LINEN_FIELDS}


def _sorted(names: Any) -> list[str]:
    return sorted(map(str, names))


def _kind(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else type(value).__name__


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING

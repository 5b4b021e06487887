"""A map of the user's own as a subject of the suite, by its dotted name."""

from typing import Any

from jflows.bench.suite import Subject
from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, InvalidValueError, did_you_mean, kind_of
from jflows.runs import configs
from jflows.testing import CheckError, check_bijector
from jflows.typing import Shape

FIX = "Mend it, or time it all the same with {unchecked}."


def own_subject(name: str, shape: Shape, unchecked: bool = False) -> Subject:
    """The subject of a bijector in an imported module, which must keep the contract of bijectors.

    Args:
      name: such as "mine.Asinh": a class, which is called without arguments, or a bijector.
      shape: that of x, with one batch axis first.
      unchecked: whether to time it without running `check_bijector` first.
    Raises:
      InvalidValueError: if there is no such name, or the shape has no batch axis.
      DataError: if there is no such module.
      InvalidTypeError: if it is no bijector.
      CheckError: if it fails `check_bijector`.
    """
    if len(shape) < 2:
        raise InvalidValueError("bench", "shape", "must have a batch axis and the event, as in 1024,64", repr(shape))
    bijector, event_shape = _found(name), tuple(shape[1:])
    if not isinstance(bijector, Bijector):
        raise InvalidTypeError("bench", "bijector", "must name a bijector", f"{name}, which is {kind_of(bijector)}")
    if not unchecked:
        try:
            check_bijector(bijector, event_shape)
        except CheckError as error:
            raise CheckError(error.where, error.settings, error.rule, error.got, FIX, code=error.code) from error
    return Subject(name, lambda event_shape: bijector, event_shape, shape[0])


def _found(name: str) -> Any:
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        raise InvalidValueError("bench", "bijector", "must be MODULE.NAME", repr(name), "Import the module first.")
    module = configs.module_called(module_name)
    value = vars(module).get(attribute)
    if value is None:
        fix = did_you_mean(attribute, [each for each in vars(module) if not each.startswith("_")])
        raise InvalidValueError("bench", "bijector", f"must be a name in {module_name}", repr(attribute), fix.strip())
    return value() if isinstance(value, type) else value

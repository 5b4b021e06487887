"""Every error of jflows: five types and the one sentence they all share.

A message names the place, the argument, the rule, the value received and the fix:

    AffineCoupling: `context` must have 5 features (context_dim=5); got shape (32, 3). Set context_dim=3.

All types derive from `JflowsError`, which is how the command line tells a mistake of the user (one line, exit code 2)
from a defect (a traceback). Read next: `jflows/bijectors/base.py`, where most shapes are checked.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class JflowsError(Exception):
    """Base of all errors raised on purpose by jflows; its text is one line that ends with the fix."""

    def __init__(self, where: str, argument: str, rule: str, got: object = None, fix: str = ""):
        self.where, self.argument, self.rule, self.got, self.fix = where, argument, rule, got, fix
        received = "" if got is None else f"; got {got}"
        super().__init__(f"{where}: `{argument}` {rule}{received}." + (f" {fix}" if fix else ""))

    def __reduce__(self):
        return type(self), (self.where, self.argument, self.rule, self.got, self.fix)


class InvalidValueError(JflowsError, ValueError):
    """A value or a shape breaks a rule."""


class InvalidTypeError(JflowsError, TypeError):
    """An argument is of the wrong type."""


class DataError(JflowsError, ValueError):
    """Data or an archive is missing, damaged, of the wrong shape or out of range."""


class RunError(JflowsError, RuntimeError):
    """A run directory is missing, in use or damaged, or a training run cannot go on."""


class MissingPackageError(JflowsError, ImportError):
    """An optional package is absent, or does not import."""


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint such as "Did you mean glow_mnist? ", or the empty string; `prefix` is shown before each name."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.55)
    return f"Did you mean {' or '.join(prefix + name for name in close)}? " if close else ""


def check_choice(where: str, argument: str, value: object, choices: Sequence[object]) -> None:
    """Raises `InvalidValueError` unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InvalidValueError(where, argument, f"must be one of {listed}", repr(value))


def check_positive(where: str, argument: str, value: float) -> None:
    """Raises `InvalidValueError` unless `value` > 0."""
    if not value > 0:
        raise InvalidValueError(where, argument, "must be positive", repr(value))


def check_key(where: str, key: Any) -> None:
    """Raises `InvalidTypeError` unless `key` is a typed key, or an array of them."""
    import jax  # here, so that `import jflows` is fast

    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        got = type(key).__name__ if dtype is None else f"{dtype} of shape {key.shape}"
        raise InvalidTypeError(where, "key", "must be a typed key", got, "Use jax.random.key(seed).")


def check_event_shape(where: str, argument: str, shape: tuple[int, ...], event_shape: tuple[int, ...], fix: str = ""):
    """Raises `InvalidValueError` unless `shape` ends with `event_shape`."""
    if len(event_shape) > len(shape) or tuple(shape[len(shape) - len(event_shape) :]) != tuple(event_shape):
        raise InvalidValueError(where, argument, f"must have event shape {tuple(event_shape)}", f"shape {shape}", fix)


def kind_of(value: object) -> str:
    """What to say was received instead of an instance: "MLP", or "the class MLP; write MLP(...)"."""
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}(...)"
    return type(value).__name__

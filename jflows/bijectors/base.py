"""`Bijector`: the contract that every invertible map of jflows keeps.

This docstring of the class is the specification; `jflows.testing.check_bijector` is the same specification as code.
Read next: `jflows/bijectors/actnorm.py`, the shortest complete bijector.
"""

import abc
import contextvars
import dataclasses
from collections.abc import Iterator

import jax.numpy as jnp
from flax import linen as nn
from jax.experimental import checkify

from jflows.bijectors.initialised import as_initialised
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.typing import Array, Key, Shape

# Set by `jflows.testing.find_non_finite` alone: a check in the program, even one that nobody reads, is an effect, and
# JAX calls programs with effects by a slower path (70 microseconds more).
FINITE_CHECKS = contextvars.ContextVar("finite_checks", default=False)


class Bijector(nn.Module, abc.ABC):
    """An invertible, differentiable map between latent z and data x, with the log-det of its Jacobian.

        x = f(z)            forward_and_log_det(z) = (x, log|det dx/dz|)
        z = f^-1(x)         inverse_and_log_det(x) = (z, log|det dz/dx|)       [nats per event]

    An *event* is what gets one log-det: the trailing `x_event_ndims` axes of x, `z_event_ndims` of z. All leading axes
    are batch axes, treated independently. `log_det` has exactly the batch shape and is float32 or wider.

    A subclass is concrete or abstract, never both: it declares `x_event_ndims` and `z_event_ndims`, writes the two
    hooks `_forward_and_log_det` and `_inverse_and_log_det`, and is never subclassed itself (wrap it instead). Hooks
    may assume the rank was checked. `context` arrives with the batch axes of the event in front, or as None; what only
    a context needs is named "context...", by which one that is left out is noticed. Lazy parameters are created in one
    private `nn.compact` helper that both hooks call. Fields are int, float, str, bool, None, modules, or tuples of
    these, so that a bijector is hashable and can be stored as JSON.

    Variables are a Linen pytree: `init` is run through the direction that will see data,

        variables = bijector.init(key, x, method="inverse_and_log_det")
        z, log_det = bijector.apply(variables, x, method="inverse_and_log_det")

    Not checked: that the hooks are each other's inverse and that the log-det is right. `check_bijector` checks both.
    """

    @property
    @abc.abstractmethod
    def x_event_ndims(self) -> int:
        """How many trailing axes of x form one event."""

    @property
    @abc.abstractmethod
    def z_event_ndims(self) -> int:
        """How many trailing axes of z form one event."""

    @abc.abstractmethod
    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        """Hook: z -> x and log|det dx/dz|."""

    @abc.abstractmethod
    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        """Hook: x -> z and log|det dz/dx|."""

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """Shape of an x event, given that of z. Raises if the map cannot take such an event."""
        return tuple(z_event_shape)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """Shape of a z event, given that of x. Raises if the map cannot take such an event."""
        return tuple(x_event_shape)

    @property
    def allows_invertible_backprop(self) -> bool:
        """False for maps that cannot be replayed from their output: mutable state or a numerical inverse, in any part.

        A map made of others follows its parts; a map that is such itself overrides this by `False`.
        """
        return all(getattr(part, "allows_invertible_backprop", True) for part in _parts(self))

    @property
    def uses_invertible_backprop(self) -> bool:
        """True if some part rebuilds its activations from its output in the backward pass (`Repeat` can)."""
        return any(getattr(part, "uses_invertible_backprop", False) for part in _parts(self))

    @property
    def needs_key(self) -> bool:
        """True if the log-det is estimated with noise from the Linen stream "noise", in any part."""
        return any(getattr(part, "needs_key", False) for part in _parts(self))

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Maps latent z to data x.

        Args:
          z: [*batch, *z_event].
          context: [*batch, ...] or None.
        Returns:
          x: [*batch, *x_event], and log|det dx/dz|: [*batch], in nats.
        Raises:
          InvalidValueError: if z has fewer axes than an event, or an event of the wrong shape; if z or the context has
            another size than at `init`, or the context is left out or added since.
        """
        batch_shape, x_event_shape = self._shapes("z", z, self.z_event_ndims)
        with as_initialised(self, "z", z, context, len(batch_shape)):
            x, log_det = self._forward_and_log_det(z, context)
        return self._checked("_forward_and_log_det", x, log_det, batch_shape, x_event_shape)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Maps data x to latent z.

        Args:
          x: [*batch, *x_event].
          context: [*batch, ...] or None.
        Returns:
          z: [*batch, *z_event], and log|det dz/dx|: [*batch], in nats.
        Raises:
          InvalidValueError: as `forward_and_log_det`, with x for z.
        """
        batch_shape, z_event_shape = self._shapes("x", x, self.x_event_ndims)
        with as_initialised(self, "x", x, context, len(batch_shape)):
            z, log_det = self._inverse_and_log_det(x, context)
        return self._checked("_inverse_and_log_det", z, log_det, batch_shape, z_event_shape)

    def forward(self, z: Array, context: Array | None = None) -> Array:
        """`forward_and_log_det` without the log-det; under jit the latter costs nothing."""
        return self.forward_and_log_det(z, context)[0]

    def inverse(self, x: Array, context: Array | None = None) -> Array:
        """`inverse_and_log_det` without the log-det; under jit the latter costs nothing."""
        return self.inverse_and_log_det(x, context)[0]

    def _shapes(self, argument: str, value: Array, event_ndims: int) -> tuple[Shape, Shape]:
        """Batch shape of the value, and event shape of its image."""
        where = type(self).__name__
        if not hasattr(value, "ndim"):
            raise InvalidTypeError(where, argument, "must be an array", type(value).__name__, "Wrap it in jnp.asarray.")
        if value.ndim < event_ndims:
            rule = f"must have at least {event_ndims} axes (its event_ndims)"
            raise InvalidValueError(where, argument, rule, f"shape {value.shape}", "Add the missing event axes.")
        batch_shape = value.shape[: value.ndim - event_ndims]
        event_shape = value.shape[len(batch_shape) :]
        return batch_shape, (self.z_event_shape if argument == "x" else self.x_event_shape)(event_shape)

    def _noise_key(self) -> Key:
        """A key from the stream "noise"; for the hooks of maps that say `needs_key`."""
        if not self.has_rng("noise") and not self.is_initializing():  # `init` falls back to the key of the parameters
            rule, fix = "must hold the stream 'noise', as the log-det is estimated", "Pass rngs={'noise': key}."
            raise InvalidValueError(type(self).__name__, "rngs", rule, None, fix)
        return self.make_rng("noise")

    def _checked(
        self, hook: str, value: Array, log_det: Array, batch_shape: Shape, event_shape: Shape
    ) -> tuple[Array, Array]:
        """Holds a hook to the contract: this is where a log-det that is not per example is caught."""
        if jnp.shape(value) != (*batch_shape, *event_shape):
            rule = f"must return shape {(*batch_shape, *event_shape)}"
            raise InvalidValueError(type(self).__name__, hook, rule, f"shape {jnp.shape(value)}")
        shape, dtype = jnp.shape(log_det), jnp.result_type(log_det)
        if shape != batch_shape or not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits < 32:
            rule = f"must return a log_det of batch shape {batch_shape}, float32 or wider"
            got = f"shape {shape}, {dtype}"
            raise InvalidValueError(type(self).__name__, hook, rule, got, "Sum it with jflows.ops.sum_event.")
        if FINITE_CHECKS.get():
            finite = jnp.all(jnp.isfinite(value)) & jnp.all(jnp.isfinite(log_det))
            checkify.check(finite, f"{'/'.join((*self.path, type(self).__name__))}.{hook[1:]}")
        report_largest(self, "max_abs", value)
        return value, log_det


def report_largest(module: nn.Module, name: str, values: Array) -> None:
    """Records max|values| in "intermediates"; computed only if a caller makes that collection mutable.

    `Flow.activations` reads them: "max_abs" of every output, "inverse_residual" of every numerical inverse.
    """
    largest = jnp.max(jnp.abs(values), initial=0.0)
    module.sow("intermediates", name, largest, lambda _, new: new, init_fn=lambda: jnp.zeros(()))


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in the fields of a module."""
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, nn.Module) and field.name not in ("parent", "name"):
                yield item

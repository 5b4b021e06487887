"""`Bijector`: the contract that every invertible map of jflows keeps.

The docstring of the class is the specification; `jflows.testing.check_bijector` is the same specification as code.
Read next: `jflows/bijectors/actnorm.py`, the shortest complete bijector.
"""

import abc
import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.experimental import checkify

from jflows.bijectors.initialised import MISFITS, check_context, refuse_misfit_of
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.modules import Module, held_modules, is_outermost, stated, variables_known
from jflows.ops.domain import REALS, Domain
from jflows.typing import Array, Key, Shape

# Set by `jflows.testing.find_non_finite` alone: a check in the program, even one that nobody reads, is an effect, and
# JAX calls programs with effects by a slower path (70 microseconds more).
FINITE_CHECKS = contextvars.ContextVar("finite_checks", default=False)

METHODS = ("forward_and_log_det", "inverse_and_log_det")
"""The two directions of bijectors and inner maps, each with its log-det."""


class Part(NamedTuple):
    """A bijector that another one is made of.

    Attributes:
      name: name of the part's variables, below those of the whole.
      bijector: the part.
      x_event_shape: shape of the x event that the part sees.
      copies: number of copies of the part, with stacked variables.
      swapped: whether the `inverse` of the whole uses the `forward` of the part.
    """

    name: str
    bijector: "Bijector"
    x_event_shape: Shape
    copies: int = 1
    swapped: bool = False


class Bijector(Module, abc.ABC):
    """An invertible, differentiable map between latent z and data x, with the log-det of its Jacobian.

        x = f(z)            forward_and_log_det(z) = (x, log|det dx/dz|)
        z = f^-1(x)         inverse_and_log_det(x) = (z, log|det dz/dx|)       [nats per event]

    An *event* is an array with one log-det: the trailing `x_event_ndims` axes of x, or `z_event_ndims` axes of z. All
    leading axes are batch axes, treated independently. `log_det` has exactly the batch shape and is float32 or wider.

    A subclass is concrete or abstract, never both: it declares `x_event_ndims` and `z_event_ndims`, writes the two
    hooks `_forward_and_log_det` and `_inverse_and_log_det`, and is never subclassed itself (wrap it instead). Hooks
    may assume the rank was checked. `context` arrives with the batch axes of the event in front, or as None. Lazy
    parameters are created in one private `nn.compact` helper that both hooks call: which variables there are, and of
    which shapes, may depend on the event, its context and the fields, but not on the direction or the batch. Fields are
    int, float, str, bool, None, modules, or tuples of these, so that a bijector is hashable and can be stored as JSON;
    they are checked by their annotations (`jflows.options`), then by `_check`.

    Variables are a Linen pytree: `init` is run through the direction that will see data. Calling a bijector is
    `inverse_and_log_det`, so that is what `init` and `apply` run unless they are told a `method`:

        variables = bijector.init(key, x)
        z, log_det = bijector.apply(variables, x)
        x, log_det = bijector.apply(variables, z, method="forward_and_log_det")

    A bijector made of others holds them in fields, where `parts` finds them. If values pass through the parts one after
    the other, it also writes `parts_with_shapes`, `layer_names` and `layer_values`.

    A map that is not defined everywhere states `x_domain` or `z_domain`, and its hooks are then called with values
    inside only. Outside there is no image and no density: `inverse_and_log_det` and `forward_and_log_det` give a
    log_det of -inf and some finite value, so that the density is 0 with gradient 0; `inverse` and `forward` give NaN.
    Results that rounding has put on an end of the domain are moved to the nearest number inside.

    A bijector does not check that its hooks are inverse to each other, or that its log-det is right; `check_bijector`
    checks both.
    """

    @property
    @abc.abstractmethod
    def x_event_ndims(self) -> int:
        """How many trailing axes of x form one event."""

    @property
    @abc.abstractmethod
    def z_event_ndims(self) -> int:
        """How many trailing axes of z form one event."""

    @property
    def x_domain(self) -> Domain:
        """Where each element of x must lie for the hooks of this map; those of its parts state theirs."""
        return REALS

    @property
    def z_domain(self) -> Domain:
        """Where each element of z must lie for the hooks of this map; those of its parts state theirs."""
        return REALS

    @property
    def is_restricted(self) -> bool:
        """Whether this map, or a part of it, is not defined for all real numbers."""
        return self.x_domain != REALS or self.z_domain != REALS or self._has_restricted_part

    @property
    def _has_restricted_part(self) -> bool:
        return any(stated(module, "is_restricted", False) for _, module in held_modules(self))

    @abc.abstractmethod
    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        """Hook: z -> x and log|det dx/dz|."""

    @abc.abstractmethod
    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        """Hook: x -> z and log|det dz/dx|."""

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """Shape of an x event, given the shape of the z event; raises if the map cannot take this event."""
        return tuple(z_event_shape)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """Shape of a z event, given the shape of the x event; raises if the map cannot take this event."""
        return tuple(x_event_shape)

    def parts(self) -> Iterator[tuple[str, "Bijector"]]:
        """The bijectors that this one is made of, in the order of its fields, by the names of their variables."""
        for name, module in held_modules(self):
            if isinstance(module, Bijector):
                yield name, module

    def steps(self) -> tuple["Bijector", ...]:
        """The maps that are applied one after the other in `forward`: the layers of a `Chain`; of others, the map."""
        return (self,)

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        """The parts with the shapes of their x events, in the order of `inverse`, given the x event of the whole.

        By default there are none, as the shapes inside are unknown; a subclass with parts overrides this.
        """
        yield from ()

    def latent_shapes(self) -> tuple[Shape, ...]:
        """The event shapes of the levels whose latents make up z, flattened one after the other, finest first.

        Empty for a map whose z is not made of levels, as by default; `MultiScale` factors out one latent a level.
        """
        return ()

    @property
    def allows_invertible_backprop(self) -> bool:
        """Whether the map can be replayed from its output: no part has mutable state or a numerical inverse.

        A bijector made of others asks its parts; a map that cannot be replayed overrides this by `False`. Networks and
        inner maps may have an attribute of this name too.
        """
        return all(stated(module, "allows_invertible_backprop", True) for _, module in held_modules(self))

    @property
    def uses_invertible_backprop(self) -> bool:
        """Whether some part rebuilds its activations from its output in the backward pass, as `Repeat` can."""
        return any(part.uses_invertible_backprop for _, part in self.parts())

    @property
    def needs_key(self) -> bool:
        """Whether the log-det of any part is estimated with noise, from the Linen stream "noise"."""
        return any(stated(module, "needs_key", False) for _, module in held_modules(self))

    def __call__(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Calls `inverse_and_log_det`."""
        return self.inverse_and_log_det(x, context)

    def forward_and_log_det(self, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Maps latent z to data x.

        Args:
          z: [*batch, *z_event].
          context: [*batch, ...] or None.
        Returns:
          x: [*batch, *x_event], and log|det dx/dz|: [*batch], in nats; -inf outside the domain of z.
        Raises:
          InvalidValueError: if z has fewer axes than an event, or an event of the wrong shape; if z or the context has
            another size than at `init`; if `init` had a context and this call has none, or the other way round.
        """
        batch_shape, x_event_shape = self._shapes("z", z, self.z_event_ndims)
        z, context = _as_jax(z), _as_jax(context)
        z, inside = self._held_to_domain(z, self.z_domain, len(batch_shape))
        with _as_initialised(self, "z", z, context, x_event_shape, len(batch_shape)):
            x, log_det = self._forward_and_log_det(z, context)
        x, log_det = _moved_inside(x, self.x_domain), _zero_outside(log_det, inside)
        return self._checked("_forward_and_log_det", x, log_det, batch_shape, x_event_shape)

    def inverse_and_log_det(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Maps data x to latent z.

        Args:
          x: [*batch, *x_event].
          context: [*batch, ...] or None.
        Returns:
          z: [*batch, *z_event], and log|det dz/dx|: [*batch], in nats; -inf outside the domain of x.
        Raises:
          InvalidValueError: for the reasons given at `forward_and_log_det`, with x for z.
        """
        batch_shape, z_event_shape = self._shapes("x", x, self.x_event_ndims)
        x, context = _as_jax(x), _as_jax(context)
        x, inside = self._held_to_domain(x, self.x_domain, len(batch_shape))
        with _as_initialised(self, "x", x, context, x.shape[len(batch_shape) :], len(batch_shape)):
            z, log_det = self._inverse_and_log_det(x, context)
        z, log_det = _moved_inside(z, self.z_domain), _zero_outside(log_det, inside)
        return self._checked("_inverse_and_log_det", z, log_det, batch_shape, z_event_shape)

    def forward(self, z: Array, context: Array | None = None) -> Array:
        """Maps z to x, without the log-det, which costs nothing under jit if it is not used; NaN outside the domain."""
        x, log_det = self.forward_and_log_det(z, context)
        return self._nan_outside(x, log_det, z, self.z_domain)

    def inverse(self, x: Array, context: Array | None = None) -> Array:
        """Maps x to z, without the log-det, which costs nothing under jit if it is not used; NaN outside the domain."""
        z, log_det = self.inverse_and_log_det(x, context)
        return self._nan_outside(z, log_det, x, self.x_domain)

    def layer_names(self) -> list[str]:
        """The names of the layers inside, in the order of `forward`; by default the bijector is one layer."""
        return [type(self).__name__]

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        """The values after each layer of `layer_names`, in the order in which `direction` computes them.

        Numbers that a layer does not change are included: each entry has as many numbers per event as the whole.

        Args:
          values: z for "forward", x for "inverse".
          context: [*batch, ...] or None, as in `forward_and_log_det`.
          direction: "forward" or "inverse".
        """
        return [self.forward(values, context) if direction == "forward" else self.inverse(values, context)]

    def _shapes(self, argument: str, value: Array, event_ndims: int) -> tuple[Shape, Shape]:
        """Batch shape of the value, and event shape of its image."""
        where = type(self).__name__
        if not hasattr(value, "ndim"):
            raise InvalidTypeError(where, argument, "must be an array", type(value).__name__, "Wrap it in jnp.asarray.")
        if value.ndim < event_ndims:
            rule = f"must have at least {event_ndims} axes (its event_ndims)"
            fix = "Add the missing event axes."
            raise InvalidValueError(where, argument, rule, f"shape {value.shape}", fix, code="rank")
        batch_shape = value.shape[: value.ndim - event_ndims]
        event_shape = value.shape[len(batch_shape) :]
        return batch_shape, (self.z_event_shape if argument == "x" else self.x_event_shape)(event_shape)

    def _held_to_domain(self, values: Array, domain: Domain, batch_ndims: int) -> tuple[Array, Array | None]:
        """The values with a harmless number for each one outside, and which events lie inside: [*batch].

        A NaN counts as inside, so that it stays visible. Without a domain, everything is inside: None.
        """
        if domain == REALS:
            return values, None
        inside = domain.contains(values) | jnp.isnan(values)
        report_outside(self, ~inside, batch_ndims)
        values = jnp.where(inside, values, jnp.asarray(domain.centre, values.dtype))
        return values, jnp.all(inside, axis=tuple(range(batch_ndims, values.ndim)))

    def _nan_outside(self, result: Array, log_det: Array, values: Array, domain: Domain) -> Array:
        """The result with NaN where a value has no image: for each element, or for events if a part refuses them."""
        if self._has_restricted_part or (domain != REALS and jnp.shape(result) != jnp.shape(values)):
            return nan_where_zero(result, log_det)
        return result if domain == REALS else jnp.where(domain.contains(values), result, jnp.nan)

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


@contextlib.contextmanager
def _as_initialised(
    bijector: Bijector, argument: str, value: Array, context: Array | None, x_event_shape: Shape, batch_ndims: int
) -> Iterator[None]:
    """Runs a hook; what does not fit the variables is told in terms of the arguments."""
    if context is not None or is_outermost(bijector):
        check_context(bijector, argument, value, context, x_event_shape, batch_ndims)
    try:
        with variables_known():
            yield
    except MISFITS as error:
        refuse_misfit_of(error, bijector, argument, value, context, x_event_shape)


def _as_jax(value: Any) -> Any:
    """NumPy's arrays as JAX's: without x64 a layer would ask for float64 parameters, and JAX would warn."""
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def _moved_inside(values: Array, domain: Domain) -> Array:
    return values if domain == REALS else domain.moved_inside(values)


def _zero_outside(log_det: Array, inside: Array | None) -> Array:
    return log_det if inside is None else jnp.where(inside, log_det, -jnp.inf)


def nan_where_zero(values: Array, log_det: Array) -> Array:
    """Values [*batch, *event] with NaN in the events whose log_det [*batch] is -inf, which have no image."""
    outside = jnp.isneginf(log_det).reshape(*log_det.shape, *(1,) * (values.ndim - log_det.ndim))
    return jnp.where(outside, jnp.nan, values)


OUTSIDE = "outside"


def report_outside(module: nn.Module, outside: Array, batch_ndims: int) -> None:
    """Records which elements of an event lie outside a domain in any event, in "intermediates", as `report_largest`."""
    found = jnp.any(outside, axis=tuple(range(batch_ndims)))
    module.sow("intermediates", OUTSIDE, found, lambda _, new: new, init_fn=lambda: jnp.zeros((), bool))


def report_largest(module: nn.Module, name: str, values: Array) -> None:
    """Records max|values| in "intermediates"; computed only if a caller makes that collection mutable.

    `Flow.activations` reads them: "max_abs" of every output, "inverse_residual" of every numerical inverse.
    """
    largest = jnp.max(jnp.abs(values), initial=0.0)
    module.sow("intermediates", name, largest, lambda _, new: new, init_fn=lambda: jnp.zeros(()))


class SameShape(Bijector):
    """A bijector whose x and z have the same shape, of `event_ndims` axes.

    A subclass declares `event_ndims`: as the field `event_ndims: Ndims = 1` if the user chooses it, or as
    `event_ndims: ClassVar[int] = 1` if it is fixed. If it cannot take every event, it overrides `z_event_shape`.
    """

    @property
    @abc.abstractmethod
    def event_ndims(self) -> int:
        """How many trailing axes form one event: 1 for vectors, 3 for images."""

    @property
    def x_event_ndims(self) -> int:
        return self.event_ndims

    @property
    def z_event_ndims(self) -> int:
        return self.event_ndims

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """The same shape, see `z_event_shape`."""
        return self.z_event_shape(z_event_shape)

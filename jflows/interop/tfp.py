"""A bijector of jflows, with its variables, as a bijector of TensorFlow Probability (on JAX).

`jflows.interop.distrax` leads back: `from_distrax` and `from_distrax_bijector` take objects of TFP too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, InvalidValueError, MissingPackageError, kind_of
from jflows.options import Count, checked
from jflows.typing import Array, Variables

try:
    from tensorflow_probability.substrates import jax as tfp
    from tensorflow_probability.substrates.jax.internal import parameter_properties
except (ImportError, AttributeError) as error:  # a release of TFP that does not know this JAX fails with either
    got = f"{type(error).__name__}: {error}"
    fix = "Run `pip install --force-reinstall --no-deps tfp-nightly`: another release of TFP may lie over it."
    raise MissingPackageError("jflows.interop.tfp", "tfp-nightly", "must be importable", got, fix) from error


class TFPBijector(tfp.bijectors.Bijector):
    """What `as_tfp_bijector` returns; `member` says which of several sets of variables each batch entry has."""

    def __init__(
        self,
        bijector: Bijector,
        variables: Variables,
        context: Array | None = None,
        member: Array | None = None,
        context_ndims: int = 1,
        validate_args: bool = False,
        name: str = "jflows",
    ):
        self._map, self._variables, self._held_context, self._member = bijector, variables, context, member
        self._context_ndims = context_ndims
        super().__init__(
            forward_min_event_ndims=bijector.z_event_ndims,
            inverse_min_event_ndims=bijector.x_event_ndims,
            validate_args=validate_args,
            parameters=dict(
                bijector=bijector,
                variables=variables,
                context=context,
                member=member,
                context_ndims=context_ndims,
                validate_args=validate_args,
                name=name,
            ),
            name=name,
        )

    @property
    def context(self) -> Array | None:
        """The context, [*batch, *event]."""
        return self._held_context

    @property
    def member(self) -> Array | None:
        """Positions among the sets of variables, [*batch]."""
        return self._member

    @classmethod
    def _parameter_properties(cls, dtype: Any = None) -> dict[str, Any]:
        # Axes that count as more of an event, beyond those of z, are axes of one context too.
        of_context: Any = lambda self, x_event_ndims: self._context_ndims + x_event_ndims - self._map.z_event_ndims
        return {
            "context": parameter_properties.ParameterProperties(event_ndims=of_context),
            "member": parameter_properties.ParameterProperties(event_ndims=0),
        }

    def _forward(self, x: Array) -> Array:
        return self._run("forward_and_log_det", x, self._map.z_event_ndims)[0]

    def _inverse(self, y: Array) -> Array:
        return self._run("inverse_and_log_det", y, self._map.x_event_ndims)[0]

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return self._run("forward_and_log_det", x, self._map.z_event_ndims)[1]

    def _inverse_log_det_jacobian(self, y: Array) -> Array:
        return self._run("inverse_and_log_det", y, self._map.x_event_ndims)[1]

    def _forward_event_shape(self, input_shape: Any) -> Any:
        return _moved(input_shape, self._map.z_event_ndims, self._map.x_event_shape)

    def _inverse_event_shape(self, output_shape: Any) -> Any:
        return _moved(output_shape, self._map.x_event_ndims, self._map.z_event_shape)

    def _forward_event_shape_tensor(self, input_shape: Any) -> Any:
        return np.asarray(self._forward_event_shape(input_shape), np.int32)

    def _inverse_event_shape_tensor(self, output_shape: Any) -> Any:
        return np.asarray(self._inverse_event_shape(output_shape), np.int32)

    def _run(self, method: str, values: Array, event_ndims: int) -> tuple[Array, Array]:
        """The map on values, contexts and members, whose batch axes broadcast to each other."""
        context, member = self._held_context, self._member
        context_axes = () if context is None else jnp.shape(context)[jnp.ndim(context) - self._context_ndims :]
        leading = () if context is None else jnp.shape(context)[: jnp.ndim(context) - self._context_ndims]
        event = values.shape[values.ndim - event_ndims :]
        batch = jnp.broadcast_shapes(
            values.shape[: values.ndim - event_ndims], leading, () if member is None else jnp.shape(member)
        )
        values = jnp.broadcast_to(values, (*batch, *event))
        context = None if context is None else jnp.broadcast_to(context, (*batch, *context_axes))
        if member is None:
            found: Any = self._map.apply(self._variables, values, context, method=method)
            return found
        return _by_member(self._map, self._variables, member, values, context, method, batch)


def _by_member(
    bijector: Bijector,
    variables: Variables,
    member: Array,
    values: Array,
    context: Array | None,
    method: str,
    batch: Any,
) -> tuple[Array, Array]:
    """The map of each member on the rows of the batch that are its own."""
    last = batch[len(batch) - jnp.ndim(member) :]
    which = jnp.broadcast_to(member, last).reshape(-1)
    rows = lambda tree: (
        None if tree is None else tree.reshape(*batch[: len(batch) - len(last)], which.size, *tree.shape[len(batch) :])
    )
    axis = len(batch) - len(last)
    chosen = jax.tree.map(lambda leaf: leaf[which], variables)
    run: Callable[..., Any] = lambda one, values, context: bijector.apply(one, values, context, method=method)
    axes = (0, axis, None if context is None else axis)
    found = jax.vmap(run, axes, axis)(chosen, rows(values), rows(context))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[axis + 1 :]), found)


def _moved(shape: Any, event_ndims: int, of: Callable[[tuple[int, ...]], tuple[int, ...]]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in shape)
    cut = len(shape) - event_ndims
    return (*shape[:cut], *of(shape[cut:]))


@checked
def as_tfp_bijector(
    bijector: Bijector,
    variables: Variables,
    context: Any = None,
    *,
    context_ndims: Count = 1,
    num_members: Count | None = None,
) -> TFPBijector:
    """Turns a bijector into one of TFP with the same directions: `forward` still maps latent to data.

    Its batch shape is that of the context, and the number of members if `variables` holds several sets. Slices such as
    `bijector[0]` choose among them.

    Args:
      bijector: any bijector of jflows with an exact log-det.
      variables: the collections of `bijector`; with `num_members`, every array has that many in front, as those of
        an ensemble.
      context: [*batch, ...], already embedded, or None; it and the values broadcast to each other.
      context_ndims: how many trailing axes form one context: 1 for vectors, 3 for images.
      num_members: how many sets of variables there are, or None for one without an axis in front.
    Raises:
      InvalidTypeError: if `bijector` is not a `Bijector`.
      InvalidValueError: if the log-det is estimated, or an array of `variables` has not `num_members` in front.
    Example:
      >>> import jflows
      >>> from jflows.interop.tfp import as_tfp_bijector
      >>> as_tfp_bijector(jflows.bijectors.Exp(), {}).forward_log_det_jacobian(jnp.ones(3), event_ndims=1)
      Array(3., dtype=float32)
    """
    where = "as_tfp_bijector"
    if not isinstance(bijector, Bijector):
        raise InvalidTypeError(where, "bijector", "must be a jflows bijector", kind_of(bijector))
    if bijector.needs_key:
        raise InvalidValueError(where, "bijector", "must have an exact log-det", "an estimated one")
    if num_members is not None:
        shapes = {jnp.shape(leaf) for leaf in jax.tree.leaves(variables)}
        if wrong := [shape for shape in shapes if shape[:1] != (num_members,)]:
            rule = f"must hold arrays with {{num_members={num_members}}} in front"
            raise InvalidValueError(where, "variables", rule, f"shape {wrong[0]}", "Stack them along a new first axis.")
    context = None if context is None else jnp.asarray(context)
    member = None if num_members is None else jnp.arange(num_members)
    return TFPBijector(bijector, variables, context, member, context_ndims)

"""Bridges to distrax, in both directions.

`from_distrax` makes a distrax (or TFP) distribution the base of a flow, and `from_distrax_bijector` makes a bijector of
theirs one of ours. `as_distrax` and `as_distrax_bijector` turn flows, bases and bijectors of jflows, with their
variables, into distrax objects. These are pytrees, and so can be arguments of `jax.jit`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jflows.bijectors import Bijector
from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError, MissingPackageError, check_key, kind_of
from jflows.flows import Flow
from jflows.options import Count, checked
from jflows.spec import register
from jflows.typing import Array, Key, Shape, Variables

try:
    import distrax
except (ImportError, AttributeError) as error:  # TensorFlow Probability, under distrax, fails with either
    got = f"{type(error).__name__}: {error}"
    fix = "Run `pip install --force-reinstall --no-deps tfp-nightly`: another release of TFP may lie over it."
    raise MissingPackageError("jflows.interop.distrax", "distrax", "must be importable", got, fix) from error


class Held:
    """An object of distrax behind an identity hash, so that it can be a field of a module, and known to jit."""

    def __init__(self, value: Any):
        self.value = value


@register
class DistraxBase(Base):
    """A distrax distribution as the base of a flow; made by `from_distrax`.

    The arrays of the distribution are constants: they are not trained, and neither a spec nor a checkpoint can hold
    them, so that `to_spec` refuses a flow with this base.

    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    distribution: Held

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws the mean + temperature * the deviation of a draw: -> [*shape, *event_shape]; at 1 no mean is needed."""
        draw = self.distribution.value.sample(seed=key, sample_shape=shape)
        if isinstance(temperature, int | float) and temperature == 1:
            return draw
        mean = self.mean()
        return mean + temperature * (draw - mean)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        log_prob = self.distribution.value.log_prob(z)
        return log_prob.astype(jnp.promote_types(log_prob.dtype, jnp.float32))

    def mean(self, context: Array | None = None) -> Array:
        return self._statistic("mean") if self._has("mean") else super().mean()

    def mode(self, context: Array | None = None) -> Array:
        return self._statistic("mode") if self._has("mode") else super().mode()

    def _statistic(self, name: str) -> Array:
        return getattr(self.distribution.value, name)()

    def _has(self, name: str) -> bool:
        try:
            jax.eval_shape(lambda: self._statistic(name))
        except (NotImplementedError, AttributeError):
            return False
        return True


def from_distrax(distribution: Any) -> DistraxBase:
    """Makes a distrax or TFP distribution the base of a flow.

    Args:
      distribution: a distribution without batch axes; `distrax.Independent` turns batch axes into event axes.
    Raises:
      InvalidTypeError: if it is not a distribution.
      InvalidValueError: if it has batch axes.
    """
    try:
        distribution = distrax.as_distribution(distribution)
    except TypeError as error:
        got = type(distribution).__name__
        raise InvalidTypeError("from_distrax", "distribution", "must be a distribution", got) from error
    if distribution.batch_shape:
        rule, got = "must have no batch axes", f"batch_shape {distribution.batch_shape}"
        fix = f"Use distrax.Independent(distribution, {len(distribution.batch_shape)})."
        raise InvalidValueError("from_distrax", "distribution", rule, got, fix)
    return DistraxBase(distribution.event_shape, Held(distribution))


@register
class FromDistrax(Bijector):
    """A distrax or TFP bijector as one of jflows; made by `from_distrax_bijector`.

    Its arrays are constants: they are not trained, and neither a spec nor a checkpoint can hold them.

    Shapes:
      z: [*batch, *event_in] <-> x: [*batch, *event_out], log_det: [*batch].
    """

    bijector: Held

    @property
    def x_event_ndims(self) -> int:
        return self.bijector.value.event_ndims_out

    @property
    def z_event_ndims(self) -> int:
        return self.bijector.value.event_ndims_in

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        return jax.eval_shape(
            self.bijector.value.forward, jax.ShapeDtypeStruct(z_event_shape, jnp.result_type(float))
        ).shape

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        return jax.eval_shape(
            self.bijector.value.inverse, jax.ShapeDtypeStruct(x_event_shape, jnp.result_type(float))
        ).shape

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_det = self.bijector.value.forward_and_log_det(z)
        return x, self._with_batch(log_det, x, self.x_event_ndims)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_det = self.bijector.value.inverse_and_log_det(x)
        return z, self._with_batch(log_det, z, self.z_event_ndims)

    def _with_batch(self, log_det: Array, values: Array, event_ndims: int) -> Array:
        """A log-det that is the same for all examples, as TFP may leave it, broadcast to them."""
        return jnp.broadcast_to(log_det, values.shape[: values.ndim - event_ndims])


def from_distrax_bijector(bijector: Any) -> FromDistrax:
    """Makes a distrax or TFP bijector one of jflows, for chains with ours; `forward` still maps latent to data.

    Outside its domain, such a bijector gives what distrax or TFP give, as it does not state its domain.

    Args:
      bijector: a bijector, or a function that `distrax.as_bijector` understands.
    Raises:
      InvalidTypeError: if it is neither.
    """
    try:
        held = distrax.as_bijector(bijector)
    except (TypeError, AttributeError) as error:
        raise InvalidTypeError("from_distrax_bijector", "bijector", "must be a bijector", kind_of(bijector)) from error
    return FromDistrax(Held(held))


class DistraxDensity(distrax.Distribution):
    """A density of jflows, with its variables, as a distrax distribution; made by `as_distrax`.

    Shapes:
      batch_shape: the batch axes of the context, () without one. Values broadcast to it.
    """

    def __init__(self, event_shape: Shape, variables: Variables, context: Array | None, context_ndims: int):
        self._event_shape, self._variables, self._context = event_shape, dict(variables), context
        self._batch_shape = () if context is None else context.shape[: context.ndim - context_ndims]

    @property
    def event_shape(self) -> Shape:
        return self._event_shape

    @property
    def batch_shape(self) -> Shape:
        return self._batch_shape

    def _shape_of(self, value: Array) -> Shape:
        """The batch axes of a value and of the context, broadcast."""
        return jnp.broadcast_shapes(value.shape[: value.ndim - len(self.event_shape)], self.batch_shape)


class _OfFlow(DistraxDensity):
    """A flow."""

    def __init__(self, flow: Flow, variables: Variables, context: Array | None, key: Key | None):
        super().__init__(flow.event_shape, variables, context, len(flow.context_shape or ()))
        self._flow, self._key = flow, key

    def _sample_n(self, key: Any, n: int) -> Array:
        return self._flow.sample(self._variables, _typed(key), (n,), self._context)

    def log_prob(self, value: Array) -> Array:
        value = jnp.asarray(value)
        value = jnp.broadcast_to(value, (*self._shape_of(value), *self.event_shape))
        return self._flow.log_prob(self._variables, value, self._context, self._key)


class _OfBase(DistraxDensity):
    """A base, whose mean and mode are known."""

    def __init__(self, base: Base, variables: Variables, context: Array | None):
        super().__init__(base.event_shape, variables, context, 1)
        self._base = base

    def _sample_n(self, key: Any, n: int) -> Array:
        shape = (n, *self.batch_shape)
        return self._apply(_typed(key), shape, self._wide_context(shape), method="sample")

    def log_prob(self, value: Array) -> Array:
        value = jnp.asarray(value)
        shape = self._shape_of(value)
        value = jnp.broadcast_to(value, (*shape, *self.event_shape))
        return self._apply(value, self._wide_context(shape), method="log_prob")

    def mean(self) -> Array:
        return self._statistic("mean")

    def mode(self) -> Array:
        return self._statistic("mode")

    def _statistic(self, name: str) -> Array:
        return jnp.broadcast_to(self._apply(self._context, method=name), (*self.batch_shape, *self.event_shape))

    def _apply(self, *args: Any, method: str) -> Any:
        return self._base.apply(self._variables, *args, method=method)

    def _wide_context(self, shape: Shape) -> Array | None:
        context = self._context
        return None if context is None else jnp.broadcast_to(context, (*shape, context.shape[-1]))


def _typed(key: Any) -> Key:
    return key if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def as_distrax(model: Flow | Base, variables: Variables, context: Any = None, key: Key | None = None) -> DistraxDensity:
    """Turns a flow or a base into a distrax distribution, with log_prob, sample, and a base's mean and mode.

    Args:
      model: a base, or a `Flow` that does not dequantize; with dequantization, samples would be integers while the
        density is that of continuous values.
      variables: the collections of `model`.
      context: the context of `model`: [*batch, *context_shape] for a flow, [*batch, context_dim] for a base.
      key: typed key for the noise of a flow with an estimated log-det, the same in every call; None for others.
    Raises:
      InvalidTypeError: if `model` is neither a flow nor a base.
      InvalidValueError: if the flow dequantizes, or needs a key and has none.
    Example:
      >>> import jax, jflows
      >>> from jflows.interop.distrax import as_distrax
      >>> base = jflows.distributions.StandardNormal((2,))
      >>> as_distrax(base, {}).sample(seed=0, sample_shape=(3,)).shape
      (3, 2)
    """
    if not isinstance(model, Flow | Base):
        raise InvalidTypeError("as_distrax", "model", "must be a Flow or a Base", type(model).__name__)
    context = None if context is None else jnp.asarray(context)
    if isinstance(model, Base):
        return _OfBase(model, variables, context)
    if model.dequantize is not None:
        fix = "Build the flow with dequantize=None, over dequantized data."
        raise InvalidValueError("as_distrax", "model", "must not dequantize", type(model.dequantize).__name__, fix)
    _check_noise_key("as_distrax", key, model.estimates_log_det)
    return _OfFlow(model, variables, context, key)


def _check_noise_key(where: str, key: Key | None, needs_key: bool) -> None:
    if key is not None:
        check_key(where, key)
    elif needs_key:
        fix = "Pass key=jax.random.key(seed)."
        raise InvalidValueError(where, "key", "must be given, as the log-det is estimated", None, fix)


class DistraxBijector(distrax.Bijector):
    """A bijector of jflows, with its variables, as a distrax bijector; made by `as_distrax_bijector`."""

    def __init__(
        self, bijector: Bijector, variables: Variables, context: Array | None, context_ndims: int, key: Key | None
    ):
        super().__init__(bijector.z_event_ndims, bijector.x_event_ndims)
        self._bijector, self._variables, self._context = bijector, dict(variables), context
        self._context_ndims, self._key = context_ndims, key

    def forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        self._check_forward_input_shape(x)
        return self._apply("forward_and_log_det", x, self.event_ndims_in)

    def inverse_and_log_det(self, y: Array) -> tuple[Array, Array]:
        self._check_inverse_input_shape(y)
        return self._apply("inverse_and_log_det", y, self.event_ndims_out)

    def _apply(self, method: str, value: Array, event_ndims: int) -> Any:
        context = self._context
        if context is not None:
            batch_ndims = value.ndim - event_ndims
            leading = context.ndim - self._context_ndims
            shape = jnp.broadcast_shapes(value.shape[:batch_ndims], context.shape[:leading])
            value = jnp.broadcast_to(value, (*shape, *value.shape[batch_ndims:]))
            context = jnp.broadcast_to(context, (*shape, *context.shape[leading:]))
        rngs = {} if self._key is None else {"noise": self._key}
        return self._bijector.apply(self._variables, value, context, method=method, rngs=rngs)


@checked
def as_distrax_bijector(
    bijector: Bijector,
    variables: Variables,
    context: Any = None,
    *,
    context_ndims: Count = 1,
    key: Key | None = None,
) -> DistraxBijector:
    """Turns a bijector into a distrax bijector with the same directions: `forward` still maps latent to data.

    Args:
      bijector: any bijector of jflows.
      variables: the collections of `bijector`; those of a flow's bijector are
        `{name: tree["bijector"] for name, tree in variables.items()}`.
      context: [*batch, context_dim], already embedded, or None; it and the values broadcast to each other.
      context_ndims: how many trailing axes form one context: 1 for vectors, 3 for images.
      key: typed key for the noise of a bijector with an estimated log-det, the same in every call; None for others.
    Raises:
      InvalidTypeError: if `bijector` is not a `Bijector`.
      InvalidValueError: if the bijector needs a key and has none.
    """
    if not isinstance(bijector, Bijector):
        got = type(bijector).__name__
        raise InvalidTypeError("as_distrax_bijector", "bijector", "must be a jflows bijector", got)
    _check_noise_key("as_distrax_bijector", key, bijector.needs_key)
    context = None if context is None else jnp.asarray(context)
    return DistraxBijector(bijector, variables, context, context_ndims, key)

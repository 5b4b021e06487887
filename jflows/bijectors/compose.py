"""Bijectors made of bijectors: `Chain`, `Inverse` and `Conditioned`. A scanned stack is `Repeat`, in `repeat.py`."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import Bijector
from jflows.bijectors.inner import InnerMap
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError, kind_of
from jflows.typing import Array, Shape


class Chain(Bijector):
    """Applies bijectors one after the other; they are listed in the order of `forward`, from latent to data.

        x = f_n(... f_2(f_1(z)))
        log_det = sum_k log_det_k                            [nats per event]

    Args:
      layers: at least one bijector; each x_event_ndims equals the next one's z_event_ndims.
    Shapes:
      z: [*batch, *z_event of the first], x: [*batch, *x_event of the last]; log_det: [*batch].
    Raises:
      InvalidTypeError: if `layers` is not a tuple or list of bijectors.
      InvalidValueError: if neighbours do not fit, or one instance is listed twice, which would share its parameters.
    """

    layers: tuple[Bijector, ...]

    def __post_init__(self):
        object.__setattr__(self, "layers", check_layers("Chain", "layers", self.layers))
        for position, (left, right) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if left.x_event_ndims != right.z_event_ndims:
                got = (
                    f"{type(left).__name__} (position {position}) with x_event_ndims={left.x_event_ndims} before "
                    f"{type(right).__name__} (position {position + 1}) with z_event_ndims={right.z_event_ndims}"
                )
                raise InvalidValueError("Chain", "layers", "must agree on event_ndims", got, "Set event_ndims alike.")
        super().__post_init__()

    @property
    def x_event_ndims(self) -> int:
        return self.layers[-1].x_event_ndims

    @property
    def z_event_ndims(self) -> int:
        return self.layers[0].z_event_ndims

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """Walks the shape through the layers; an error names the layer that refuses it."""
        for position, layer in enumerate(self.layers):
            z_event_shape = self._layer_shape(position, layer.x_event_shape, z_event_shape)
        return z_event_shape

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """Walks the shape back through the layers; an error names the layer that refuses it."""
        for position in reversed(range(len(self.layers))):
            x_event_shape = self._layer_shape(position, self.layers[position].z_event_shape, x_event_shape)
        return x_event_shape

    def _layer_shape(self, position: int, layer_shape, shape: Shape) -> Shape:
        try:
            return layer_shape(shape)
        except JflowsError as error:
            raise error.at(f"Chain, position {position} of {len(self.layers)}: {error.where}") from None

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = jnp.zeros((), jnp.float32)
        for layer in self.layers:
            z, layer_log_det = layer.forward_and_log_det(z, context)
            log_det = log_det + layer_log_det
        return z, log_det

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = jnp.zeros((), jnp.float32)
        for layer in reversed(self.layers):
            x, layer_log_det = layer.inverse_and_log_det(x, context)
            log_det = log_det + layer_log_det
        return x, log_det


class Inverse(Bijector):
    """Swaps the two directions of a bijector: `forward` of the result is `inverse` of `bijector`.

    `Inverse(maf)` samples in one pass and scores by D of them: that is IAF.

    Shapes:
      x and z are those of `bijector`, swapped; log_det: [*batch], in nats.
    """

    bijector: Bijector

    def __post_init__(self):
        check_layers("Inverse", "bijector", (self.bijector,))
        super().__post_init__()

    @property
    def x_event_ndims(self) -> int:
        return self.bijector.z_event_ndims

    @property
    def z_event_ndims(self) -> int:
        return self.bijector.x_event_ndims

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """The bijector's z_event_shape."""
        return self.bijector.z_event_shape(z_event_shape)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The bijector's x_event_shape."""
        return self.bijector.x_event_shape(x_event_shape)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self.bijector.inverse_and_log_det(z, context)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self.bijector.forward_and_log_det(x, context)


class Conditioned(Bijector):
    """Gives a bijector its context through a network, such as an MLP on a raw covariate.

        x = f(z; embed(context))

    `Flow.embed` does this once for the whole flow; this is for one part of it.

    Args:
      bijector: any bijector that takes a context.
      embed: a network with `__call__(context)`.
    Shapes:
      x and z are those of `bijector`; context: [*batch, ...], as `embed` takes it; log_det: [*batch].
    Raises:
      InvalidValueError: at trace time, without a context.
    """

    bijector: Bijector
    embed: nn.Module

    def __post_init__(self):
        check_layers("Conditioned", "bijector", (self.bijector,))
        super().__post_init__()

    @property
    def x_event_ndims(self) -> int:
        return self.bijector.x_event_ndims

    @property
    def z_event_ndims(self) -> int:
        return self.bijector.z_event_ndims

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """The bijector's x_event_shape."""
        return self.bijector.x_event_shape(z_event_shape)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The bijector's z_event_shape."""
        return self.bijector.z_event_shape(x_event_shape)

    def _embedded(self, context: Array | None) -> Any:
        if context is None:
            fix = "Pass context, or build the flow with a context_shape."
            raise InvalidValueError("Conditioned", "context", "must be given", "None", fix)
        return self.embed(context)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self.bijector.forward_and_log_det(z, self._embedded(context))

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self.bijector.inverse_and_log_det(x, self._embedded(context))


def check_layers(where: str, argument: str, layers) -> tuple[Bijector, ...]:
    """Returns `layers` as a tuple after checking that they are distinct bijectors.

    Linen shares the parameters of an instance that is listed twice, without a word; hence the check by identity.
    """
    if not isinstance(layers, (tuple, list)) or not layers or not all(isinstance(b, Bijector) for b in layers):
        kinds = ", ".join(map(kind_of, layers)) if isinstance(layers, (tuple, list)) else kind_of(layers)
        raise InvalidTypeError(where, argument, "must be a non-empty tuple of bijectors", kinds or "none")
    owners: dict[int, int] = {}
    for position, layer in enumerate(layers):
        for part in _modules_in(layer):
            earlier = owners.setdefault(id(part), position)
            if earlier != position:
                got = f"{type(part).__name__} at positions {earlier} and {position}"
                fix = "Create one instance per position, or use Repeat."
                raise InvalidValueError(where, argument, "must not list one instance twice", got, fix)
    return tuple(layers)


def _modules_in(value) -> Iterator[nn.Module]:
    """All modules in a bijector, itself and conditioners included, but for inner maps without parameters of their own.

    Such an inner map is a description, and may be shared.
    """
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _modules_in(item)
    elif isinstance(value, nn.Module):
        if not isinstance(value, InnerMap) or value.owns_params:
            yield value
        for field in dataclasses.fields(value):
            if field.name not in ("parent", "name"):
                yield from _modules_in(getattr(value, field.name))

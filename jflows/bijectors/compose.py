"""Bijectors made of bijectors: `Chain`, `Inverse` and `Conditioned`. A scanned stack is `Repeat`, in `repeat.py`."""

from collections.abc import Iterator
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import Bijector, Part
from jflows.bijectors.inner import InnerMap
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError, kind_of
from jflows.modules import Network, check_takes, held_modules
from jflows.options import Option
from jflows.typing import Array, Shape

Layers = Annotated[tuple[Bijector, ...], Option(noun="a tuple of bijectors", fewest=1)]
"""The type of a field that holds bijectors."""


class Chain(Bijector):
    """Applies bijectors one after the other; they are listed in the order of `forward`, from latent to data.

        x = f_n(... f_2(f_1(z)))
        log_det = sum_k log_det_k                            [nats per event]

    Args:
      layers: one or more bijectors; each x_event_ndims must equal the next one's z_event_ndims.
    Shapes:
      z: [*batch, *z_event of the first], x: [*batch, *x_event of the last]; log_det: [*batch].
    Raises:
      InvalidTypeError: if `layers` is not a tuple or list of bijectors.
      InvalidValueError: if neighbours do not fit, or one instance is listed twice, which would share its parameters.
    """

    layers: Layers

    def _check(self) -> None:
        check_distinct("Chain", "layers", self.layers)
        for position, (left, right) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if left.x_event_ndims != right.z_event_ndims:
                got = (
                    f"{type(left).__name__} (position {position}) with x_event_ndims={left.x_event_ndims} before "
                    f"{type(right).__name__} (position {position + 1}) with z_event_ndims={right.z_event_ndims}"
                )
                raise InvalidValueError("Chain", "layers", "must agree on event_ndims", got, "Set one event_ndims.")

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

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        for position in reversed(range(len(self.layers))):
            layer = self.layers[position]
            yield Part(f"layers_{position}", layer, x_event_shape)
            x_event_shape = layer.z_event_shape(x_event_shape)

    def latent_shapes(self) -> tuple[Shape, ...]:
        """The levels of the layer that meets the latent first."""
        return self.layers[0].latent_shapes()

    def steps(self) -> tuple[Bijector, ...]:
        """The layers."""
        return self.layers

    def layer_names(self) -> list[str]:
        return [name for layer in self.layers for name in layer.layer_names()]

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        found = []
        for layer in self.layers if direction == "forward" else reversed(self.layers):
            found += layer.layer_values(values, context, direction)
            values = found[-1]
        return found


class Inverse(Bijector):
    """Swaps the two directions of a bijector: `forward` of the result is `inverse` of `bijector`.

    `Inverse(maf)` is IAF, which samples in one pass and scores by an inversion.

    Shapes:
      x and z are those of `bijector`, swapped; log_det: [*batch], in nats.
    """

    bijector: Bijector

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

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("bijector", self.bijector, self.bijector.x_event_shape(x_event_shape), swapped=True)

    def steps(self) -> tuple[Bijector, ...]:
        """The layers."""
        return self.layers

    def layer_names(self) -> list[str]:
        return self.bijector.layer_names()[::-1]

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        other = "inverse" if direction == "forward" else "forward"
        return self.bijector.layer_values(values, context, other)


class Conditioned(Bijector):
    """Gives a bijector its context through a network, such as an MLP on a raw covariate.

        x = f(z; embed(context))

    `Flow.embed` does this once for the whole flow; `Conditioned` does it for one bijector in it.

    Args:
      bijector: any bijector that takes a context.
      embed: a network with `__call__(context)`.
    Shapes:
      x and z are those of `bijector`; context: [*batch, ...], as `embed` takes it; log_det: [*batch].
    Raises:
      InvalidTypeError: if `embed` is not a network with that `__call__`.
      InvalidValueError: at trace time, without a context.
    """

    bijector: Bijector
    embed: Network

    def _check(self) -> None:
        if isinstance(self.embed, Bijector):
            fix = "List it in a Chain, or write a network."
            raise InvalidTypeError("Conditioned", "embed", "must be a network", kind_of(self.embed), fix)
        check_takes("Conditioned", "embed", self.embed, "context")

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

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("bijector", self.bijector, x_event_shape)

    def steps(self) -> tuple[Bijector, ...]:
        """The layers."""
        return self.layers

    def layer_names(self) -> list[str]:
        return self.bijector.layer_names()

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        return self.bijector.layer_values(values, self._embedded(context), direction)


def check_distinct(where: str, argument: str | tuple[str, ...], layers: tuple[Bijector, ...]) -> None:
    """Raises `InvalidValueError` if one module is used by two of the bijectors.

    Linen shares the parameters of an instance that is listed twice, without a word; hence the check by identity.
    """
    owners: dict[int, int] = {}
    for position, layer in enumerate(layers):
        for part in _modules_in(layer):
            earlier = owners.setdefault(id(part), position)
            if earlier != position:
                got = f"{type(part).__name__} at positions {earlier} and {position}"
                fix = "Create one instance per position, or use Repeat."
                raise InvalidValueError(where, argument, "must not list one instance twice", got, fix)


def _modules_in(module: nn.Module) -> Iterator[nn.Module]:
    """A bijector and all modules in it, conditioners included, but for inner maps without parameters of their own.

    Such an inner map is a description, and may be shared.
    """
    if not isinstance(module, InnerMap) or module.owns_params:
        yield module
    for _, part in held_modules(module):
        yield from _modules_in(part)

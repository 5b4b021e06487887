"""Bijectors that treat the parts of an event differently: `Masked`, `Stack`, `Split`; and copies of one: `Vmap`."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors.base import Bijector, Part, SameShape
from jflows.bijectors.compose import Layers, check_distinct
from jflows.errors import InvalidValueError
from jflows.ops.masks import MASK_KINDS, cut, join, make_mask, take
from jflows.options import Count, Counts, Option, Seed
from jflows.typing import Array, Shape


class Masked(SameShape):
    """Applies a bijector to the elements of a vector where a mask is False; the others stay as they are.

        z = x where the mask is True;   z_rest = f^-1(x_rest)
        log_det = log_det of the bijector                    [nats per event]

    Args:
      bijector: a bijector of vectors, which sees the changed elements as a vector of their own.
      mask: which elements stay as they are, see `jflows.ops.make_mask`.
      flip: whether to swap the two parts.
      seed: seed of the mask "random".
    Shapes:
      x: [*batch, dim] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if the mask cannot divide the event, or the bijector is not one of vectors.
    """

    bijector: Bijector
    mask: Annotated[str, Option(choices=MASK_KINDS)] = "half"
    flip: bool = False
    seed: Seed = 0

    event_ndims: ClassVar[int] = 1

    def _check(self) -> None:
        _check_vectors("Masked", "bijector", (self.bijector,))

    def _mask(self, event_shape: Shape) -> np.ndarray:
        return make_mask(self.mask, event_shape, self.flip, self.seed)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape, if the mask divides it and the bijector takes its part."""
        _check_same("Masked", self.bijector, (int(np.sum(~self._mask(x_event_shape))),))
        return tuple(x_event_shape)

    def _run(self, method: Callable, values: Array, context: Array | None) -> tuple[Array, Array]:
        mask = self._mask(values.shape[-1:])
        kept, rest = cut(values, mask)
        rest, log_det = method(rest, context)
        return join(kept, rest, mask), log_det

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run(self.bijector.forward_and_log_det, z, context)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run(self.bijector.inverse_and_log_det, x, context)

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("bijector", self.bijector, (int(np.sum(~self._mask(x_event_shape))),))

    def layer_names(self) -> list[str]:
        return self.bijector.layer_names()

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        mask = self._mask(values.shape[-1:])
        kept, rest = cut(values, mask)
        inside = self.bijector.layer_values(rest, context, direction)
        return [join(kept, value.reshape(rest.shape), mask) for value in inside]


class Stack(Bijector):
    """Deals the columns of a vector to bijectors, each of which maps its own columns.

        x = (f_1(z_1), ..., f_n(z_n)), in the order of the columns
        log_det = sum_k log_det_k                            [nats per event]

    It suits tables whose columns have different domains: `Stack((Exp(), Sigmoid(), Identity()), sizes=(2, 1, 5))` maps
    the first two columns by `Exp`, and `Stack((Exp(), Identity()), (2, 3), columns=(0, 4, 1, 2, 3))` the first and the
    last.
    A part may have fewer latent dimensions than columns, as `StickBreaking` has; z then takes the places of its first
    columns, and the gaps are closed.

    Args:
      bijectors: bijectors of vectors, one for each part.
      sizes: number of columns of x of each part, in order.
      columns: which columns the parts get, in order: every number from 0 to sum(sizes) - 1 once; empty deals them out
        as they come.
    Shapes:
      x: [*batch, sum(sizes)] <-> z: [*batch, sum of the parts' latent dimensions]; log_det: [*batch].
    Raises:
      InvalidValueError: if there is not one size for each bijector, if `columns` is not a permutation, or if a bijector
        cannot take its part.
    """

    bijectors: Layers
    sizes: Counts
    columns: tuple[int, ...] = ()

    x_event_ndims: ClassVar[int] = 1
    z_event_ndims: ClassVar[int] = 1

    def _check(self) -> None:
        check_distinct("Stack", "bijectors", self.bijectors)
        _check_vectors("Stack", "bijectors", self.bijectors)
        if len(self.sizes) != len(self.bijectors):
            rule = f"must hold one size for each of {len(self.bijectors)} bijectors"
            raise InvalidValueError("Stack", "sizes", rule, repr(self.sizes))
        if self.columns and sorted(self.columns) != list(range(sum(self.sizes))):
            rule = f"must hold every number from 0 to {sum(self.sizes) - 1} once, or be empty"
            raise InvalidValueError("Stack", "columns", rule, repr(self.columns))

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(sum of the parts' latent dimensions,); x must have as many columns as all sizes together."""
        if x_event_shape[-1] != sum(self.sizes):
            rule = f"must have {sum(self.sizes)} features (the sum of sizes)"
            raise InvalidValueError("Stack", "x", rule, f"shape {tuple(x_event_shape)}", "Correct sizes.")
        return (sum(self._latent_sizes()),)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(sum(sizes),); z must have as many entries as the parts have latent dimensions."""
        latent = sum(self._latent_sizes())
        if z_event_shape[-1] != latent:
            rule = f"must have {latent} entries (the latent dimensions of the parts)"
            raise InvalidValueError("Stack", "z", rule, f"shape {tuple(z_event_shape)}", "Correct sizes.")
        return (sum(self.sizes),)

    def _latent_sizes(self) -> tuple[int, ...]:
        found = []
        for bijector, size in zip(self.bijectors, self.sizes, strict=True):
            (latent,) = bijector.z_event_shape((size,))
            if latent > size:
                got = f"{type(bijector).__name__}: {size} columns -> {latent}"
                raise InvalidValueError("Stack", "bijectors", "must not have more latent dimensions than columns", got)
            found.append(latent)
        return tuple(found)

    def latent_columns(self) -> tuple[tuple[int, ...], ...]:
        """Which entries of z belong to each part, in its order."""
        return tuple(tuple(part.tolist()) for part in self._indices(self._latent_sizes()))

    def _places(self, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """The columns of each part, of which only the first so many are left."""
        columns = np.asarray(self.columns or range(sum(self.sizes)))
        parts = np.split(columns, np.cumsum(self.sizes)[:-1])
        return [part[:size] for part, size in zip(parts, sizes, strict=True)]

    def _indices(self, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """Where each part is in a vector whose parts have these sizes, all gaps closed."""
        rank = np.argsort(np.argsort(np.concatenate(self._places(sizes))))
        return np.split(rank, np.cumsum(sizes)[:-1])

    def _dealt(self, values: Array, sizes: tuple[int, ...]) -> list[Array]:
        return [take(values, index) for index in self._indices(sizes)]

    def _joined(self, parts: list[Array]) -> Array:
        places = self._places(tuple(part.shape[-1] for part in parts))
        return take(jnp.concatenate(parts, axis=-1), np.argsort(np.concatenate(places)))

    def _run(self, method: str, parts: list[Array], context: Array | None) -> tuple[Array, Array]:
        mapped = [getattr(b, method)(part, context) for b, part in zip(self.bijectors, parts, strict=True)]
        log_dets = jnp.stack([log_det for _, log_det in mapped])
        return self._joined([part for part, _ in mapped]), jnp.sum(log_dets, axis=0)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run("forward_and_log_det", self._dealt(z, self._latent_sizes()), context)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run("inverse_and_log_det", self._dealt(x, self.sizes), context)

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        for index, (bijector, size) in enumerate(zip(self.bijectors, self.sizes, strict=True)):
            yield Part(f"bijectors_{index}", bijector, (size,))

    def layer_names(self) -> list[str]:
        return [name for bijector in self.bijectors for name in bijector.layer_names()]

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        parts = self._dealt(values, self._latent_sizes() if direction == "forward" else self.sizes)
        found, order = [], range(len(parts))
        for index in order if direction == "forward" else reversed(order):
            for value in self.bijectors[index].layer_values(parts[index], context, direction):
                parts[index] = value.reshape(*parts[index].shape[:-1], -1)
                found.append(self._joined(parts))
        return found


class Split(SameShape):
    """Factors out half of the channels, standardised by a prior given the other half, which alone is mapped further.

        (h, y) = halves of the channels of prior^-1(x)
        z = (f^-1(h), y)
        log_det = sum of both log_dets                       [nats per event]

    This is one level of a multi-scale flow that keeps the shape of its events; nest it for more levels. If levels
    squeeze images, use `MultiScale`.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.

    Args:
      bijector: a bijector of the kept half, the first n - n // 2 channels.
      prior: a bijector of whole events, such as a `Coupling`, that keeps the first half and standardises the other.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if the two disagree on event_ndims, or the last axis has size 1.
    """

    bijector: Bijector
    prior: Bijector

    def _check(self) -> None:
        check_distinct("Split", ("bijector", "prior"), (self.bijector, self.prior))
        ndims = {b_ndims for b in (self.bijector, self.prior) for b_ndims in (b.x_event_ndims, b.z_event_ndims)}
        if len(ndims) > 1:
            got = f"{self.bijector.x_event_ndims} and {self.prior.x_event_ndims}"
            raise InvalidValueError(
                "Split", ("bijector", "prior"), "must agree on event_ndims", got, "Set one event_ndims."
            )

    @property
    def event_ndims(self) -> int:
        return self.prior.x_event_ndims

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape, if prior and bijector take theirs."""
        _check_same("Split", self.prior, x_event_shape)
        _check_same("Split", self.bijector, (*x_event_shape[:-1], _num_kept(x_event_shape[-1])))
        return tuple(x_event_shape)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        standardised, prior_log_det = self.prior.inverse_and_log_det(x, context)
        num_kept = _num_kept(x.shape[-1])
        kept, log_det = self.bijector.inverse_and_log_det(standardised[..., :num_kept], context)
        return jnp.concatenate([kept, standardised[..., num_kept:]], axis=-1), prior_log_det + log_det

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        num_kept = _num_kept(z.shape[-1])
        kept, log_det = self.bijector.forward_and_log_det(z[..., :num_kept], context)
        standardised = jnp.concatenate([kept, z[..., num_kept:]], axis=-1)
        x, prior_log_det = self.prior.forward_and_log_det(standardised, context)
        return x, log_det + prior_log_det

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("prior", self.prior, x_event_shape)
        yield Part("bijector", self.bijector, (*x_event_shape[:-1], _num_kept(x_event_shape[-1])))

    def layer_names(self) -> list[str]:
        return self.bijector.layer_names() + self.prior.layer_names()

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        of_prior: list[Array] = []
        if direction == "inverse":
            of_prior = self.prior.layer_values(values, context, direction)
            values = of_prior[-1]
        kept, rest = jnp.split(values, [_num_kept(values.shape[-1])], axis=-1)
        inside = self.bijector.layer_values(kept, context, direction)
        found = [jnp.concatenate([value.reshape(kept.shape), rest], axis=-1) for value in inside]
        if direction == "inverse":
            return of_prior + found
        return found + self.prior.layer_values(found[-1], context, direction)


class Vmap(Bijector):
    """Independent copies of one bijector along a new leading event axis, each with its own parameters.

        x[k] = f_k(z[k])
        log_det = sum_k log_det_k                            [nats per event]

    Variables are stacked, so compile time does not depend on the number of copies.

    Args:
      bijector: any bijector.
      size: number of copies.
    Shapes:
      x: [*batch, size, *x_event of the bijector] <-> z: [*batch, size, *z_event of the bijector]; log_det: [*batch];
      context: [*batch, ...] or None, the same for all copies.
    Raises:
      InvalidValueError: if size < 1, or the event axis has another size.
    """

    bijector: Bijector
    size: Count

    @property
    def x_event_ndims(self) -> int:
        return self.bijector.x_event_ndims + 1

    @property
    def z_event_ndims(self) -> int:
        return self.bijector.z_event_ndims + 1

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(size, *z event of the bijector)."""
        return (self._size(x_event_shape), *self.bijector.z_event_shape(tuple(x_event_shape[1:])))

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(size, *x event of the bijector)."""
        return (self._size(z_event_shape), *self.bijector.x_event_shape(tuple(z_event_shape[1:])))

    def _size(self, event_shape: Shape) -> int:
        if event_shape[0] != self.size:
            rule = f"must have {self.size} along the first event axis"
            raise InvalidValueError("Vmap", "x", rule, f"event shape {tuple(event_shape)}", "Correct size.")
        return self.size

    def _mapped(self, run: Callable[[Bijector, Array, Array | None], Any], ndims_in: int, out_axes: Any) -> Callable:
        axes: Any = {"in_axes": (-1 - ndims_in, None), "out_axes": out_axes}
        return nn.vmap(run, **axes, variable_axes={True: 0}, split_rngs={True: True}, axis_size=self.size)

    def _run(self, method: str, values: Array, context: Array | None, ndims: tuple[int, int]) -> tuple[Array, Array]:
        ndims_in, ndims_out = ndims
        run = lambda bijector, values, context: getattr(bijector, method)(values, context)
        values, log_dets = self._mapped(run, ndims_in, (-1 - ndims_out, -1))(self.bijector, values, context)
        return values, jnp.sum(log_dets, axis=-1)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        ndims = (self.bijector.z_event_ndims, self.bijector.x_event_ndims)
        return self._run("forward_and_log_det", z, context, ndims)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        ndims = (self.bijector.x_event_ndims, self.bijector.z_event_ndims)
        return self._run("inverse_and_log_det", x, context, ndims)

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("bijector", self.bijector, tuple(x_event_shape[1:]), copies=self.size)

    def layer_names(self) -> list[str]:
        return self.bijector.layer_names()

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        run = lambda bijector, values, context: bijector.layer_values(values, context, direction)
        ndims_in = self.bijector.z_event_ndims if direction == "forward" else self.bijector.x_event_ndims
        inside = self._mapped(run, ndims_in, 0)(self.bijector, values, context)
        batch_ndims = values.ndim - 1 - ndims_in
        return [jnp.moveaxis(value, 0, batch_ndims) for value in inside]


def _num_kept(channels: int) -> int:
    """The kept half is the larger one, as in `Coupling`."""
    return channels - channels // 2


def _check_vectors(where: str, argument: str, bijectors: tuple[Bijector, ...]) -> None:
    for bijector in bijectors:
        if (bijector.x_event_ndims, bijector.z_event_ndims) != (1, 1):
            got = f"{type(bijector).__name__} with x_event_ndims={bijector.x_event_ndims}"
            raise InvalidValueError(where, argument, "must map vectors (event_ndims=1)", got)


def _check_same(where: str, bijector: Bijector, shape: Shape) -> None:
    if bijector.z_event_shape(tuple(shape)) != tuple(shape):
        got = f"{type(bijector).__name__}: {tuple(shape)} -> {bijector.z_event_shape(tuple(shape))}"
        raise InvalidValueError(where, "bijector", "must keep the event shape", got)

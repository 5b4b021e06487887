"""Permutations of the channels, and of the pixels in a row: linear maps that only move numbers."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.bijectors.linear import VolumePreservingMap
from jflows.errors import InvalidValueError
from jflows.modules import check_channels
from jflows.ops.numerics import zero_log_det
from jflows.options import Ndims
from jflows.typing import Array, Shape


class Reverse(VolumePreservingMap):
    """Reverses the order of the channels; log_det = 0.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.5; the "reverse" option of Glow.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is reversed.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    """

    event_ndims: Ndims = 1

    def _weights(self, channels: int, dtype: Any) -> None:
        return None

    def _multiply(self, weights: Any, x: Array) -> Array:
        return _reversed(x)

    def _divide(self, weights: Any, z: Array) -> Array:
        return _reversed(z)


def _reversed(x: Array) -> Array:
    """x[..., ::-1], by halves as `Coupling` cuts them.

    A cut of the result is then one half reversed, and what `Coupling` joined is reversed before it is joined: the
    compiler sees that only in this form, and otherwise fuses the whole layer into a loop that does not vectorise.
    """
    kept, changed = jnp.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)
    return jnp.concatenate([changed[..., ::-1], kept[..., ::-1]], axis=-1)


class SwapHalves(VolumePreservingMap):
    """Swaps the two halves of the channels; log_det = 0.

        x = [a, b]  <->  z = [b, a],   with n - n // 2 channels in a and n // 2 in b

    The cut is that of `Coupling`, which changes b. For an even number n of channels, the map undoes itself, and two
    couplings with a swap between them change every channel. For an odd n, `forward` turns the channels the other way
    than `inverse`, and it takes a third coupling: the last channel of a stays on the kept side of the second. A single
    channel stays where it is.

    Args:
      event_ndims: 1 for vectors, 3 for images; the halves are those of the last axis.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    """

    event_ndims: Ndims = 1

    def _weights(self, channels: int, dtype: Any) -> int:
        return channels // 2

    def _multiply(self, weights: Any, x: Array) -> Array:
        return jnp.roll(x, weights, axis=-1)

    def _divide(self, weights: Any, z: Array) -> Array:
        return jnp.roll(z, -weights, axis=-1)


class EvensFirst(VolumePreservingMap):
    """Puts channels 0, 2, 4, ... before channels 1, 3, 5, ...; log_det = 0.

        x = [x_0, x_1, x_2, ...]  <->  z = [x_0, x_2, ..., x_1, x_3, ...]

    A coupling of halves behind it is one of odd and even elements, as in NICE, and costs no gather in each layer.

    Source: Dinh et al. 2014, arXiv:1410.8516, section 5.1.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis, of any size, is permuted.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    """

    event_ndims: Ndims = 1

    def _weights(self, channels: int, dtype: Any) -> np.ndarray:
        return np.concatenate([np.arange(0, channels, 2), np.arange(1, channels, 2)])

    def _multiply(self, weights: Any, x: Array) -> Array:
        return jnp.concatenate([x[..., ::2], x[..., 1::2]], axis=-1)

    def _divide(self, weights: Any, z: Array) -> Array:
        return z[..., np.argsort(weights)]


class Mirror(SameShape):
    """Flips images left to right; log_det = 0.

    It undoes itself. Of images whose width is even, it moves the pixels of one colour of a checkerboard to those of the
    other and keeps neighbours together: equal checkerboard couplings with mirrors between them change all pixels.

    Shapes:
      x: [*batch, height, width, channels] <-> z: the same; log_det: [*batch].
    """

    event_ndims: ClassVar[int] = 3

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return z[..., ::-1, :], zero_log_det(z, 3)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return x[..., ::-1, :], zero_log_det(x, 3)


class Permute(VolumePreservingMap):
    """Puts the channels into a given order; log_det = 0.

        z_c = x_order[c]

    Args:
      order: every number from 0 to channels - 1 once, as a tuple.
      event_ndims: 1 for vectors, 3 for images; the last axis is permuted.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidTypeError: if order is not a tuple of ints.
      InvalidValueError: if order is not a permutation, or x has another number of channels.
    """

    order: tuple[int, ...]
    event_ndims: Ndims = 1

    def _check(self) -> None:
        check_permutation("Permute", "order", self.order)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape; the last axis must be as long as `order`."""
        if x_event_shape[-1] != len(self.order):
            rule = f"must have {len(self.order)} channels, one for each entry of `order`"
            raise InvalidValueError("Permute", "x", rule, f"shape {tuple(x_event_shape)}")
        return tuple(x_event_shape)

    def _weights(self, channels: int, dtype: Any) -> np.ndarray:
        return np.asarray(self.order)

    def _multiply(self, weights: Any, x: Array) -> Array:
        return x[..., weights]

    def _divide(self, weights: Any, z: Array) -> Array:
        return z[..., np.argsort(weights)]


class RandomPermutation(VolumePreservingMap):
    """A permutation of the channels, drawn once in `init` and kept in `constants`; log_det = 0.

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.2 (the "shuffle" option).

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is permuted.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `constants`: permutation int32 [channels].
    """

    event_ndims: Ndims = 1

    @nn.compact
    def _weights(self, channels: int, dtype: Any) -> Array:
        def draw() -> Array:
            return jax.random.permutation(self.make_rng("params"), channels).astype(jnp.int32)

        return check_channels(self, channels, self.variable("constants", "permutation", draw).value)

    def _multiply(self, weights: Any, x: Array) -> Array:
        return x[..., weights]

    def _divide(self, weights: Any, z: Array) -> Array:
        return z[..., jnp.argsort(weights)]


def check_permutation(where: str, argument: str, order: tuple[int, ...]) -> None:
    """Raises `InvalidValueError` unless `order` holds every number from 0 to its length - 1 once."""
    if not order or sorted(order) != list(range(len(order))):
        rule = f"must hold every number from 0 to {max(len(order), 1) - 1} once"
        raise InvalidValueError(where, argument, rule, repr(order))

"""Bijectors that change the shape of events; all have log_det = 0, and all but `Haar` only move numbers."""

import math
from typing import Annotated, ClassVar

import numpy as np

from jflows.bijectors.base import Bijector
from jflows.bijectors.permutation import check_permutation
from jflows.errors import InvalidValueError, check_event_shape
from jflows.ops import reshape
from jflows.ops.numerics import zero_log_det
from jflows.options import EventShape, Option
from jflows.typing import Array, Shape


class Squeeze(Bijector):
    """Trades space for channels on the way from x to z; log_det = 0.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6; channel orders of the published code of Glow and RealNVP,
    given in `jflows.ops.squeeze`.

    Args:
      factor: side of the block of pixels that becomes one pixel, at least 2.
      order: "glow" keeps the pixels of a channel together; "realnvp" (factor 2 only) keeps the channels of a pixel
        together, first the two pixels on one diagonal of the block, then the two on the other.
    Shapes:
      x: [*batch, height, width, channels] <-> z: [*batch, height / factor, width / factor, channels * factor**2].
    Raises:
      InvalidValueError: if height or width is not a multiple of `factor`, or for an order that does not exist.
    """

    factor: Annotated[int, Option(low=2)] = 2
    order: Annotated[str, Option(choices=reshape.SQUEEZE_ORDERS)] = "glow"

    x_event_ndims: ClassVar[int] = 3
    z_event_ndims: ClassVar[int] = 3

    def _check(self) -> None:
        if self.order == "realnvp" and self.factor != 2:
            fix = 'Use order="glow".'
            raise InvalidValueError("Squeeze", "factor", 'must be 2 with order="realnvp"', repr(self.factor), fix)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height / factor, width / factor, channels * factor**2)."""
        return _squeezed("Squeeze", x_event_shape, self.factor)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height * factor, width * factor, channels / factor**2)."""
        return _unsqueezed("Squeeze", z_event_shape, self.factor)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.unsqueeze(z, self.factor, self.order), zero_log_det(z, 3)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.squeeze(x, self.factor, self.order), zero_log_det(x, 3)


class Haar(Bijector):
    """The orthonormal Haar wavelet of 2x2 blocks: a squeeze whose first channels are the blocks' averages; log_det = 0.

        z = [averages, horizontal, vertical, diagonal differences], each of all channels, each half of a signed sum

    Cutting the channels in half, as `MultiScale` does, then separates coarse from fine.

    Source: Ardizzone et al. 2019, arXiv:1907.02392, section 3.2.

    Shapes:
      x: [*batch, height, width, channels] <-> z: [*batch, height / 2, width / 2, 4 * channels].
    Raises:
      InvalidValueError: if height or width is odd.
    Numerics: float32 round trip about 1e-7 of the largest pixel of a block.
    """

    x_event_ndims: ClassVar[int] = 3
    z_event_ndims: ClassVar[int] = 3

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height / 2, width / 2, 4 * channels)."""
        return _squeezed("Haar", x_event_shape, 2)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (2 * height, 2 * width, channels / 4)."""
        return _unsqueezed("Haar", z_event_shape, 2)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.inverse_haar(z), zero_log_det(z, 3)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.haar(x), zero_log_det(x, 3)


class Reshape(Bijector):
    """Gives events another shape, elements in row-major order; log_det = 0.

    `Reshape((28, 28, 1), (784,))` turns images into vectors.

    Args:
      x_shape: event shape of x.
      z_shape: event shape of z, of the same size.
    Shapes:
      x: [*batch, *x_shape] <-> z: [*batch, *z_shape]; log_det: [*batch].
    Raises:
      InvalidTypeError: if a shape is not a tuple of ints.
      InvalidValueError: if a shape has an entry that is not positive, the sizes differ, or an event has another shape.
    """

    x_shape: EventShape
    z_shape: EventShape

    def _check(self) -> None:
        size = math.prod(self.x_shape)
        if math.prod(self.z_shape) != size:
            rule = f"must have as many elements as x_shape {self.x_shape}, {size}"
            raise InvalidValueError("Reshape", "z_shape", rule, f"{self.z_shape} with {math.prod(self.z_shape)}")

    @property
    def x_event_ndims(self) -> int:
        return len(self.x_shape)

    @property
    def z_event_ndims(self) -> int:
        return len(self.z_shape)

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """`z_shape`, for an event of shape `x_shape` only."""
        check_event_shape("Reshape", "x", tuple(x_event_shape), self.x_shape)
        return self.z_shape

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """`x_shape`, for an event of shape `z_shape` only."""
        check_event_shape("Reshape", "z", tuple(z_event_shape), self.z_shape)
        return self.x_shape

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = zero_log_det(z, len(self.z_shape))
        return z.reshape(*log_det.shape, *self.x_shape), log_det

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = zero_log_det(x, len(self.x_shape))
        return x.reshape(*log_det.shape, *self.z_shape), log_det


class Transpose(Bijector):
    """Reorders the axes of events; log_det = 0.

    Axis k of z is axis axes[k] of x, as in `numpy.transpose`. `Transpose((1, 2, 0))` takes images with the channels
    first to latents with the channels last.

    Args:
      axes: every number from 0 to event_ndims - 1 once, as a tuple.
    Shapes:
      x: [*batch, *event] <-> z: [*batch, *transposed event]; log_det: [*batch].
    Raises:
      InvalidTypeError: if axes is not a tuple of ints.
      InvalidValueError: if axes is not a permutation.
    """

    axes: tuple[int, ...]

    def _check(self) -> None:
        check_permutation("Transpose", "axes", self.axes)

    @property
    def x_event_ndims(self) -> int:
        return len(self.axes)

    z_event_ndims = x_event_ndims

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The shape with its axes reordered."""
        return tuple(x_event_shape[axis] for axis in self.axes)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """The shape with its axes back in their order."""
        return tuple(z_event_shape[axis] for axis in np.argsort(self.axes))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return _transposed(z, tuple(np.argsort(self.axes))), zero_log_det(z, len(self.axes))

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return _transposed(x, self.axes), zero_log_det(x, len(self.axes))


def _transposed(values: Array, axes: Shape) -> Array:
    num_batch = values.ndim - len(axes)
    return values.transpose(*range(num_batch), *(num_batch + axis for axis in axes))


def _squeezed(where: str, x_event_shape: Shape, factor: int) -> Shape:
    height, width, channels = x_event_shape
    if height % factor or width % factor:
        rule = f"must have a height and width that are multiples of {factor}"
        fix = "Pad or crop the images, or use fewer levels."
        raise InvalidValueError(where, "x", rule, f"event shape {tuple(x_event_shape)}", fix)
    return (height // factor, width // factor, channels * factor**2)


def _unsqueezed(where: str, z_event_shape: Shape, factor: int) -> Shape:
    height, width, channels = z_event_shape
    if channels % factor**2:
        rule = f"must have a multiple of {factor**2} channels"
        raise InvalidValueError(where, "z", rule, f"event shape {tuple(z_event_shape)}")
    return (height * factor, width * factor, channels // factor**2)

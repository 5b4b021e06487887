"""Bijectors that only move numbers."""

from jflows.bijectors.base import Bijector
from jflows.errors import InvalidValueError
from jflows.ops import reshape
from jflows.ops.numerics import zero_log_det
from jflows.typing import Array, Shape


class Squeeze(Bijector):
    """Trades space for channels on the way from x to z; log_det = 0.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6; channel order of Glow's published code.

    Args:
      factor: side of the block of pixels that becomes one, at least 2.
    Shapes:
      x: [*batch, height, width, channels] <-> z: [*batch, height / factor, width / factor, channels * factor**2].
    Raises:
      InvalidValueError: if height or width is not a multiple of `factor`.
    """

    factor: int = 2

    x_event_ndims = z_event_ndims = 3  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        if self.factor < 2:
            raise InvalidValueError("Squeeze", "factor", "must be at least 2", repr(self.factor))
        super().__post_init__()

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height / factor, width / factor, channels * factor**2)."""
        height, width, channels = x_event_shape
        if height % self.factor or width % self.factor:
            rule = f"must have a height and width that are multiples of {self.factor}"
            fix = "Pad or crop the images, or use fewer levels."
            raise InvalidValueError("Squeeze", "x", rule, f"event shape {tuple(x_event_shape)}", fix)
        return (height // self.factor, width // self.factor, channels * self.factor**2)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height * factor, width * factor, channels / factor**2)."""
        height, width, channels = z_event_shape
        if channels % self.factor**2:
            rule = f"must have a multiple of {self.factor**2} channels"
            raise InvalidValueError("Squeeze", "z", rule, f"event shape {tuple(z_event_shape)}")
        return (height * self.factor, width * self.factor, channels // self.factor**2)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.unsqueeze(z, self.factor), zero_log_det(z, 3)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return reshape.squeeze(x, self.factor), zero_log_det(x, 3)

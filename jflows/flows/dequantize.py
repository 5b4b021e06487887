"""From integers to the continuous values that a density needs, and back."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.errors import InvalidTypeError, InvalidValueError, check_key
from jflows.typing import Array, Key, Shape

BIN_CENTRE = 0.5


class UniformDequantize(nn.Module):
    """Adds noise u ~ U[0, 1) to integer images, and pads them with zeros before that if asked.

        v = pad(x) + u,    log P(x) >= E_u log p(v)           [nats per event; equality for p constant on each bin]

    Padding pixels get the same noise, so the bound holds for the unpadded image, and dimensions are counted before
    padding. Without a key, integers are put at the centres of their bins: a smooth score, but not a bound. Float
    input is taken to be dequantized already.

    Source: Theis et al. 2016, arXiv:1511.01844, section 3.1.

    Args:
      num_bits: integers are 0..2^num_bits - 1; v lies in [0, 2^num_bits).
      padding: pixels added on each of the four sides.
    Shapes:
      x: [*batch, height, width, channels] -> v: [*batch, height + 2 padding, width + 2 padding, channels].
    Raises:
      InvalidValueError: if num_bits is not 1 to 16 or padding is negative.
    """

    num_bits: int = 8
    padding: int = 0

    def __post_init__(self):
        if not 1 <= self.num_bits <= 16:
            raise InvalidValueError("UniformDequantize", "num_bits", "must be 1 to 16", repr(self.num_bits))
        if self.padding < 0:
            raise InvalidValueError("UniformDequantize", "padding", "must be at least 0", repr(self.padding))
        super().__post_init__()

    def padded_shape(self, event_shape: Shape) -> Shape:
        """Event shape of v, given that of x."""
        height, width, channels = event_shape
        return (height + 2 * self.padding, width + 2 * self.padding, channels)

    def dequantize(self, x: Array, key: Key | None) -> Array:
        """x -> v. `key` is one key for the whole batch, or one key per example: [*batch]."""
        integers = jnp.issubdtype(x.dtype, jnp.integer)
        if not integers and not jnp.issubdtype(x.dtype, jnp.floating):
            raise InvalidTypeError("UniformDequantize", "x", "must hold integers or floats", f"{x.dtype}")
        fill = 0 if integers else BIN_CENTRE
        width = [(0, 0)] * (x.ndim - 3) + [(self.padding, self.padding)] * 2 + [(0, 0)]
        x = jnp.pad(x, width, constant_values=fill)
        if not integers:
            return x
        v = x.astype(jnp.result_type(float))
        return v + (BIN_CENTRE if key is None else _uniform(key, v.shape, v.dtype))

    def crop(self, v: Array) -> Array:
        """Removes the padding: [*batch, padded height, padded width, channels] -> [*batch, height, width, channels]."""
        p = self.padding
        return v[..., p : v.shape[-3] - p, p : v.shape[-2] - p, :]

    def quantize(self, v: Array) -> Array:
        """Cropped v -> integers 0..2^num_bits - 1, uint8 up to 8 bits and uint16 above; values outside are clipped."""
        levels = jnp.clip(jnp.floor(v), 0, 2**self.num_bits - 1)
        return levels.astype(jnp.uint8 if self.num_bits <= 8 else jnp.uint16)


def _uniform(key: Key, shape: Shape, dtype) -> Array:
    check_key("UniformDequantize", key)
    if key.ndim == 0:
        return jax.random.uniform(key, shape, dtype)
    if key.shape != shape[: len(shape) - 3]:
        rule = f"must be one key, or one per example of shape {shape[: len(shape) - 3]}"
        raise InvalidValueError("UniformDequantize", "key", rule, f"shape {key.shape}")
    event_shape = shape[key.ndim :]
    noise = jax.vmap(lambda k: jax.random.uniform(k, event_shape, dtype))(key.reshape(-1))
    return noise.reshape(shape)

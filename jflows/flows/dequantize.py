"""From integers to the continuous values that a density needs, and back, with uniform or learned noise."""

import abc
import functools
from collections.abc import Callable
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.stats import norm

from jflows.bijectors import Bijector
from jflows.data.kinds import IMAGES, Kind
from jflows.errors import InvalidTypeError, InvalidValueError, check_key
from jflows.modules import Module, check_takes
from jflows.ops.domain import Domain
from jflows.ops.numerics import sum_event
from jflows.options import NumBits, Option
from jflows.typing import Array, Key, Shape

BIN_CENTRE = 0.5


class Dequantize(Module, abc.ABC):
    """Turns integers into the continuous values that a density needs: the first part of a flow of integers.

    `ImageDequantize` is for images, all of whose values are integers, and `DequantizeColumns` for columns of a table.
    """

    kind: ClassVar[Kind]
    """The kind of data that it is for; scores are in bits per dimension for images only."""

    @property
    def bits(self) -> int | None:
        """Integers are 0..2^bits - 1; None if they have no such bounds."""
        return None

    @abc.abstractmethod
    def padded_shape(self, event_shape: Shape) -> Shape:
        """Event shape of v, given that of x; raises `InvalidValueError` for data of another kind."""

    @abc.abstractmethod
    def dequantize(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """x -> v and -log q(u | x) [*batch]. `key` is one key for the whole batch, or one per example: [*batch]."""

    @abc.abstractmethod
    def crop(self, v: Array) -> Array:
        """Removes the padding, if there is any."""

    @abc.abstractmethod
    def quantize(self, v: Array) -> Array:
        """Cropped v -> data, rounded down to integers."""

    @abc.abstractmethod
    def describe(self) -> str:
        """The class and its settings, for a summary."""


class ImageDequantize(Dequantize):
    """Adds noise u in [0, 1) to integer images, which are padded with zeros first if `padding` is positive.

        v = pad(x) + u,  u ~ q(u | x);   log P(x) >= E_q [log p(v) - log q(u | x)]      [nats per event]

    Padding pixels get noise too, so the bound holds for the unpadded image, and dimensions are counted before padding.
    Without a key, integers are put at the centres of their bins, which gives a smooth score but not a bound. Floats
    count as dequantized already. A subclass writes `_noise`.

    Args:
      num_bits: integers are 0..2^num_bits - 1; v lies in [0, 2^num_bits).
      padding: pixels added on each of the four sides.
    Shapes:
      x: [*batch, height, width, channels] -> v: [*batch, height + 2 padding, width + 2 padding, channels].
    Raises:
      InvalidValueError: if num_bits is not 1 to 16 or padding is negative.
    """

    num_bits: NumBits = 8
    padding: Annotated[int, Option(low=0)] = 0

    kind: ClassVar[Kind] = IMAGES

    @property
    def bits(self) -> int:
        """`num_bits`."""
        return self.num_bits

    def describe(self) -> str:
        """The class, the bits and the padding."""
        padded = f" (padding {self.padding})" if self.padding else ""
        return f"{type(self).__name__}, {self.num_bits} bits{padded}"

    @abc.abstractmethod
    def _noise(self, x: Array, key: Key) -> tuple[Array, Array]:
        """Padded integers as floats -> u of the same shape, and log q(u | x) [*batch] in nats."""

    def padded_shape(self, event_shape: Shape) -> Shape:
        """Event shape of v, given that of x; raises `InvalidValueError` unless that is one of images."""
        if len(event_shape) != 3:
            rule = "must be (height, width, channels), as only images are dequantized"
            raise InvalidValueError(type(self).__name__, "event_shape", rule, repr(tuple(event_shape)))
        height, width, channels = event_shape
        return (height + 2 * self.padding, width + 2 * self.padding, channels)

    def dequantize(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """x -> v and -log q(u | x) [*batch]. `key` is one key for the whole batch, or one per example: [*batch].

        Of integers that are not all in 0..2^num_bits - 1, all become 0 and the second result -inf, as their probability
        is 0.
        """
        integers = jnp.issubdtype(x.dtype, jnp.integer)
        if not integers and not jnp.issubdtype(x.dtype, jnp.floating):
            raise InvalidTypeError(type(self).__name__, "x", "must hold integers or floats", f"{x.dtype}")
        if not integers:
            return self._pad(x, BIN_CENTRE), jnp.zeros(())
        x = x.astype(jnp.result_type(float))
        valid = jnp.all(Domain(0, 2**self.num_bits - 1, closed=True).contains(x), axis=(-3, -2, -1))
        log_valid = jnp.where(valid, 0.0, -jnp.inf)
        v = self._pad(jnp.where(valid[..., None, None, None], x, 0), 0)
        if key is None:
            return v + BIN_CENTRE, log_valid
        check_keys(type(self).__name__, key, v.shape[:-3])
        u, log_q = self._noise(v, key)
        # In float32, 255 + u rounds to 256 once in 130,000 draws: v must stay below the next whole number.
        return jnp.minimum(v + u, jnp.nextafter(v + 1, v)), log_valid - log_q

    def _pad(self, x: Array, fill: float) -> Array:
        width = [(0, 0)] * (x.ndim - 3) + [(self.padding, self.padding)] * 2 + [(0, 0)]
        return jnp.pad(x, width, constant_values=fill)

    def crop(self, v: Array) -> Array:
        """Removes the padding: [*batch, padded height, padded width, channels] -> [*batch, height, width, channels]."""
        p = self.padding
        return v[..., p : v.shape[-3] - p, p : v.shape[-2] - p, :]

    def quantize(self, v: Array) -> Array:
        """Cropped v -> integers 0..2^num_bits - 1, uint8 up to 8 bits and uint16 above; values outside are clipped."""
        levels = jnp.clip(jnp.floor(v), 0, 2**self.num_bits - 1)
        return levels.astype(jnp.uint8 if self.num_bits <= 8 else jnp.uint16)


class UniformDequantize(ImageDequantize):
    """Uniform noise: q(u | x) = 1. The bound is tight for p constant on each bin.

    Source: Theis et al. 2016, arXiv:1511.01844, section 3.1.

    Args:
      num_bits: integers are 0..2^num_bits - 1.
      padding: pixels of zeros added on each of the four sides.
    """

    def _noise(self, x: Array, key: Key) -> tuple[Array, Array]:
        return draw(jax.random.uniform, key, x), jnp.zeros(())


class VariationalDequantize(ImageDequantize):
    """Noise from a flow that is conditioned on the image, which can tighten the bound that uniform noise gives.

        u = f(e; x),  e ~ N(0, I);   log q(u | x) = log N(e) - log|det du/de|

    This flow is trained together with the density, by the bound itself. `bijector` maps normal noise to u, so it must
    end with a map such as `Sigmoid(event_ndims=3)`, whose values lie in (0, 1).

    Source: Ho et al. 2019, arXiv:1902.00275, section 3.1, eqs. 7-9.

    Args:
      bijector: maps e to u, images of the padded shape; its context is the image, centred: [*batch, height, width,
        channels], or what `embed` makes of that.
      num_bits: integers are 0..2^num_bits - 1.
      padding: pixels of zeros added on each of the four sides.
      embed: a network of the centred image, which computes once the features that all layers of `bijector` read; None
        hands on the image as it is.
    Raises:
      InvalidTypeError: if `embed` is not called as embed(image).
      InvalidValueError: if the bijector is not one of images.
    """

    bijector: Bijector | None = None  # required; after fields with defaults it cannot be so by position
    embed: nn.Module | None = None

    def _check(self) -> None:
        if self.bijector is None or (self.bijector.z_event_ndims, self.bijector.x_event_ndims) != (3, 3):
            got = "None" if self.bijector is None else f"x_event_ndims={self.bijector.x_event_ndims}"
            fix = "Give one such as Chain((Coupling(...), Sigmoid(event_ndims=3)))."
            raise InvalidValueError("VariationalDequantize", "bijector", "must map images to images", got, fix)
        if self.embed is not None:
            check_takes("VariationalDequantize", "embed", self.embed, "image")

    def _noise(self, x: Array, key: Key) -> tuple[Array, Array]:
        assert self.bijector is not None
        e = draw(jax.random.normal, key, x)
        image = x / 2**self.num_bits - 0.5
        context = image if self.embed is None else jnp.asarray(self.embed(image))
        u, log_det = self.bijector.forward_and_log_det(e, context)
        return u, sum_event(norm.logpdf(e), 3) - log_det


def check_keys(where: str, key: Key, batch_shape: Shape) -> None:
    """Raises unless there is one key, or one for each example."""
    check_key(where, key)
    if key.ndim and key.shape != batch_shape:
        rule = f"must be one key, or one per example of shape {batch_shape}"
        raise InvalidValueError(where, "key", rule, f"shape {key.shape}")


def draw(sampler: Callable, key: Key, like: Array) -> Array:
    """Noise of the shape of `like`, from one key or from one per example."""
    if key.ndim == 0:
        return sampler(key, like.shape, like.dtype)
    noise = jax.vmap(lambda k: sampler(k, like.shape[key.ndim :], like.dtype))(key.reshape(-1))
    return noise.reshape(like.shape)


def example_keys(key: Key, index: Array) -> Key:
    """One key per example, from its number alone: [batch] -> [batch]."""
    return jax.vmap(functools.partial(jax.random.fold_in, key))(index)

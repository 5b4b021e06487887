"""`MultiScale`: levels of squeezed images, each of which factors out some of the channels, with learned priors."""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import jax.numpy as jnp

from jflows.bijectors.base import Bijector, Part
from jflows.bijectors.compose import Layers, check_distinct
from jflows.errors import InvalidValueError, check_event_shape
from jflows.options import EventShape, NotNegative, Option
from jflows.typing import Array, Shape


class MultiScale(Bijector):
    """Maps an image to one flat latent vector by factoring out some of the channels after every level.

        h_0 = x
        u_l = level_l^-1(h_l-1),      (h_l, y_l) = halves of the channels of u_l          for l < L
        z_l = prior_l^-1(y_l | h_l),  z_L = prior_L^-1(u_L)
        z = (z_1, ..., z_L), flattened and joined
        log_det = sum of all log_dets                        [nats per event]

    `priors[l]`, for l < L, is a bijector of u_l that keeps its first half and standardises its second half given the
    first, such as a `Coupling`; the last prior maps u_L. So the learned conditional priors of Glow are bijectors, the
    base of the whole flow is N(0, I), and no latent is ever dropped.

    With `num_out`, so many channels are factored out instead of half of them, as the early outputs of WaveGlow, and
    stay as they are: there are no priors then.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6, eqs. 14-16; priors: Kingma and Dhariwal 2018, published
    code; `num_out`: Prenger et al. 2018, arXiv:1811.00002, section 2.3.

    Args:
      image_shape: (height, width, channels) of x.
      levels: bijectors on images, finest first.
      priors: bijectors on images, one for each level; () with `num_out`.
      num_out: channels, the last ones, that each level but the last factors out; 0 stands for half of them.
    Shapes:
      x: [*batch, height, width, channels] <-> z: [*batch, height * width * channels]; log_det: [*batch].
    Raises:
      InvalidValueError: if the numbers of levels and priors differ, if there are priors with `num_out`, or if a level
        cannot take its image, or would leave no channel.
    """

    image_shape: EventShape
    levels: Layers
    priors: Annotated[tuple[Bijector, ...], Option(noun="a tuple of bijectors")] = ()
    num_out: NotNegative = 0

    x_event_ndims: ClassVar[int] = 3
    z_event_ndims: ClassVar[int] = 1

    def _check(self) -> None:
        if len(self.image_shape) != 3:
            rule = "must be (height, width, channels)"
            raise InvalidValueError("MultiScale", "image_shape", rule, repr(self.image_shape))
        check_distinct("MultiScale", ("levels", "priors"), (*self.levels, *self.priors))
        for argument, bijectors in (("levels", self.levels), ("priors", self.priors)):
            for bijector in bijectors:
                if (bijector.x_event_ndims, bijector.z_event_ndims) != (3, 3):
                    got = f"{type(bijector).__name__} with x_event_ndims={bijector.x_event_ndims}"
                    raise InvalidValueError("MultiScale", argument, "must map images (event_ndims=3)", got)
        if self.num_out and self.priors:
            rule, fix = "must be () with num_out, which factors channels out as they are", "Leave one of them out."
            raise InvalidValueError("MultiScale", "priors", rule, f"{len(self.priors)} priors", fix)
        if not self.num_out and len(self.levels) != len(self.priors):
            got = f"{len(self.levels)} levels and {len(self.priors)} priors"
            raise InvalidValueError("MultiScale", "priors", "must have one entry per level", got)

    def latent_shapes(self) -> tuple[Shape, ...]:
        """Event shape of every level's latent, finest first."""
        shape, shapes = self.image_shape, []
        for level in self.levels[:-1]:
            height, width, channels = level.z_event_shape(shape)
            shapes.append((height, width, channels - self._num_kept(channels)))
            shape = (height, width, self._num_kept(channels))
        return (*shapes, self.levels[-1].z_event_shape(shape))

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """(height, width, channels) -> (height * width * channels,)."""
        check_event_shape("MultiScale", "x", tuple(x_event_shape), self.image_shape)
        return (sum(math.prod(shape) for shape in self.latent_shapes()),)

    def x_event_shape(self, z_event_shape: Shape) -> Shape:
        """(height * width * channels,) -> (height, width, channels)."""
        check_event_shape("MultiScale", "z", tuple(z_event_shape), (math.prod(self.image_shape),))
        return self.image_shape

    def split_latent(self, z: Array) -> tuple[Array, ...]:
        """Cuts a flat latent into the levels' images: [*batch, D] -> [*batch, h_l, w_l, c_l] for every level."""
        shapes = self.latent_shapes()
        ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))[:-1]
        pieces = jnp.split(z, ends, axis=-1)
        return tuple(p.reshape(*z.shape[:-1], *shape) for p, shape in zip(pieces, shapes, strict=True))

    def join_latent(self, latents: tuple[Array, ...]) -> Array:
        """The inverse of `split_latent`."""
        return jnp.concatenate([z.reshape(*z.shape[:-3], -1) for z in latents], axis=-1)

    def raw_latents(self, x: Array, context: Array | None = None) -> tuple[Array, ...]:
        """The factored-out values y_1, ..., y_L-1, u_L before the priors standardise them, as images."""
        latents = []
        for level in self.levels[:-1]:
            u = level.inverse(x, context)
            x = u[..., : self._num_kept(u.shape[-1])]
            latents.append(u[..., self._num_kept(u.shape[-1]) :])
        return (*latents, self.levels[-1].inverse(x, context))

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        latents, log_det = [], jnp.zeros((), jnp.float32)
        for index, level in enumerate(self.levels):
            u, level_log_det = level.inverse_and_log_det(x, context)
            log_det, standardised = log_det + level_log_det, u
            if self.priors:
                standardised, prior_log_det = self.priors[index].inverse_and_log_det(u, context)
                log_det = log_det + prior_log_det
            if index < len(self.levels) - 1:
                num_kept = self._num_kept(u.shape[-1])
                x = u[..., :num_kept]  # equal to standardised[..., :num_kept], without waiting for the prior
                standardised = standardised[..., num_kept:]
            latents.append(standardised)
        return self.join_latent(tuple(latents)), log_det

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        latents = self.split_latent(z)
        standardised, log_det = latents[-1], jnp.zeros((), jnp.float32)
        for index in reversed(range(len(self.levels))):
            if index < len(self.levels) - 1:
                standardised = jnp.concatenate([standardised, latents[index]], axis=-1)
            u = standardised
            if self.priors:
                u, prior_log_det = self.priors[index].forward_and_log_det(standardised, context)
                log_det = log_det + prior_log_det
            standardised, level_log_det = self.levels[index].forward_and_log_det(u, context)
            log_det = log_det + level_log_det
        return standardised, log_det

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        for index, level in enumerate(self.levels):
            yield Part(f"levels_{index}", level, x_event_shape)
            height, width, channels = level.z_event_shape(x_event_shape)
            if self.priors:
                yield Part(f"priors_{index}", self.priors[index], (height, width, channels))
            if index < len(self.levels) - 1:
                x_event_shape = (height, width, self._num_kept(channels))

    def _num_kept(self, channels: int) -> int:
        """All but `num_out`, or half: the kept half is then the larger one, as in `Coupling`."""
        if self.num_out >= channels:
            rule = f"must leave a channel to the next level, of {channels}"
            raise InvalidValueError(
                "MultiScale", "num_out", rule, repr(self.num_out), "Lower it, or have fewer levels."
            )
        return channels - (self.num_out or channels // 2)

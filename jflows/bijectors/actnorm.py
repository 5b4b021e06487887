"""A scale and a shift per channel, set from the first batch and then learned (`ActNorm`) or fixed (`Standardize`)."""

import abc
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import Tracer

from jflows.bijectors.base import Bijector, SameShape
from jflows.modules import check_channels
from jflows.ops import affine
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.options import Ndims, Option
from jflows.typing import Array


class _Whitening(SameShape):
    """Per-channel affine map, initialised from data; a subclass says where the statistics are kept."""

    event_ndims: Ndims = 1

    @abc.abstractmethod
    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        """The variable of this name, created by `init`."""

    @abc.abstractmethod
    def _first(self, values: Array, forward: bool) -> tuple[Array, Array]:
        """Shift and log-scale from the first batch; `forward` if that is z."""

    @nn.compact
    def _stored_or(self, first: Callable[[], tuple[Array, Array]]) -> tuple[Array, Array]:
        """Shift and log-scale as stored, and first of all those of `first`."""
        first = functools.cache(first)
        return self._stored("shift", lambda: first()[0]), self._stored("log_scale", lambda: first()[1])

    def _shift_and_log_scale(self, values: Array, forward: bool) -> tuple[Array, Array]:
        zeros = functools.partial(_zeros, values)  # shapes only, for Linen's check
        first = functools.partial(self._first, values, forward) if self.is_initializing() else zeros
        shift, log_scale = self._stored_or(first)
        return check_channels(self, values.shape[-1], shift), log_scale

    def _log_det(self, values: Array, log_scale: Array) -> Array:
        positions = math.prod(values.shape[-self.event_ndims : -1])
        return constant_log_det(values, self.event_ndims, positions * sum_event(log_scale, 1))

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(z, forward=True)
        return affine.scaled(z, -log_scale) - shift, -self._log_det(z, log_scale)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(x, forward=False)
        return affine.scaled(x + shift, log_scale), self._log_det(x, log_scale)


def _zeros(values: Array) -> tuple[Array, Array]:
    zeros = jnp.zeros(values.shape[-1:], values.dtype)
    return zeros, zeros


class ActNorm(_Whitening):
    """Per-channel affine map, initialised from data so that its output has mean 0 and deviation 1, then learned.

        z = (x + shift) * exp(log_scale)
        log_det = positions * sum_c log_scale_c              [nats per event; positions = event size / channels]

    `init` whitens the output of the direction it runs: `method="inverse_and_log_det"` whitens z (the usual case),
    `method="forward_and_log_det"` whitens x. The statistics are taken once, in `init`; `apply` only reads them, so a
    restored checkpoint is never initialised again. A channel that is constant in that batch is centred and keeps scale
    1, as its true scale is unknown: `Flow.init` warns of it (`warn_of_constant_channels`).

    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.1.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `params`: shift [channels], log_scale [channels].
    Numerics: float32 round trip about 1e-6.
    """

    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        return self.param(name, lambda _: init())

    def _first(self, values: Array, forward: bool) -> tuple[Array, Array]:
        shift, log_scale = affine.whitening(values)
        # x = z exp(-log_scale) - shift: forward whitens x instead of z.
        return (affine.scaled(-shift, log_scale), -log_scale) if forward else (shift, log_scale)


def warn_of_constant_channels(where: str, bijector: Bijector, params: Mapping) -> None:
    """Warns once if an `ActNorm`, in any part of a bijector, has met constant channels in `init`.

    It reads what `init` has returned, so that a compiled `init` stays free of calls to the host, which no compilation
    cache can hold. Shapes and traced values give no warning.

    Args:
      where: name of the function that warns, such as "Flow.init".
      bijector: any bijector.
      params: its "params" right after `init`, one set or several that are stacked.
    """
    found = [f"{count} of {path}" for path, count in _constant_channels(bijector, params, ())]
    if found:
        rule = f"channels are constant in the batch and keep scale 1: {', '.join(found)}"
        warnings.warn(f"{where}: {rule}. Initialise on more varied data, or leave them out.", stacklevel=3)


def _constant_channels(bijector: Bijector, params: Mapping, path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Paths of `ActNorm`s and how many of their channels were constant; of stacked ones, the most in one step."""
    log_scale = params.get("log_scale") if isinstance(bijector, ActNorm) else None
    if isinstance(log_scale, np.ndarray | jax.Array) and not isinstance(log_scale, Tracer):
        count = int(np.max(np.sum(np.asarray(log_scale) == 0, axis=-1)))
        if count:
            yield "/".join((*path, "ActNorm")), count
    for name, part in bijector.parts():
        yield from _constant_channels(part, params.get(name, {}), (*path, name))


class Standardize(_Whitening):
    """`ActNorm` whose statistics stay those of the data that `init` saw: they are `constants`, never trained.

        z = (x - mean) / std = (x + shift) * exp(log_scale)

    This is the usual first map for tables. Its log-det counts, so densities are those of the unscaled data. Statistics
    of all data are better than those of one batch: a module that knows them calls `use` in its `init`. If `init` runs
    in the direction of sampling, there are no data, and the map is the identity.

    Args:
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
      skip: channels that stay as they are, such as angles, whose period must not change.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]. `constants`: shift [channels], log_scale [channels].
    Numerics: columns of any scale are whitened; one that is constant is centred and keeps scale 1.
    """

    skip: Annotated[tuple[int, ...], Option(low=0)] = ()

    def _stored(self, name: str, init: Callable[[], Array]) -> Array:
        return self.variable("constants", name, init).value

    def _first(self, values: Array, forward: bool) -> tuple[Array, Array]:
        return _zeros(values) if forward else self._without_skipped(*affine.whitening(values))

    def _without_skipped(self, shift: Array, log_scale: Array) -> tuple[Array, Array]:
        skipped = np.isin(np.arange(shift.shape[-1]), self.skip)
        return jnp.where(skipped, 0, shift), jnp.where(skipped, 0, log_scale)

    def use(self, mean: Array | np.ndarray, deviation: Array | np.ndarray, dtype) -> None:
        """Sets the statistics instead of taking those of the first batch; called in `init` before any data pass.

        Args:
          mean: mean of each channel.
          deviation: standard deviation of each channel; where it is 0 up to rounding, the scale stays 1.
          dtype: dtype of the stored constants, which is that of the data.
        Shapes:
          mean, deviation: [channels].
        Raises:
          InvalidValueError: if the two differ in shape, or are not finite, or a deviation is negative.
        """
        affine.check_statistics("Standardize.use", mean, deviation)
        self._stored_or(lambda: self._without_skipped(*affine.whitening_by(mean, deviation, dtype)))

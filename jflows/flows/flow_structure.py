"""The parts of a `Flow`: `FlowModule` computes with them, `FlowStructure` says what follows before there are variables.

Read next: `jflows/flows/flow.py`, which documents the parts, and computes with them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors import Bijector, MultiScale
from jflows.bijectors.base import nan_where_zero
from jflows.data.domains import Domains
from jflows.data.kinds import OF_FLOATS, TABLE
from jflows.data.reading import Reading, Statistics
from jflows.data.statistics import Axes
from jflows.distributions import Base
from jflows.errors import InvalidValueError
from jflows.flows.columns import of_rows, standardizer, to_reals, whitener
from jflows.flows.density import Density
from jflows.flows.dequantize import Dequantize
from jflows.nn import ClassEmbed, StandardizeContext
from jflows.ops.domain import REALS
from jflows.ops.numerics import sum_event
from jflows.options import Checked, Option
from jflows.typing import Array, Key, Shape


class FlowModule(nn.Module):
    """The parts of a flow; their names fix the variable paths `bijector`, `base`, `dequantize`, `preprocess`, `embed`.

    Methods take the embedded context, which `embedded` returns. Where x has no density, as it lies outside of the
    domain of a bijector or is infinite, `encode` gives a log-det of -inf and a finite number in the place of z: with
    NaN, the gradient of a whole batch would be NaN.
    """

    bijector: Bijector
    base: Base
    dequantize: Dequantize | None
    preprocess: Bijector | None
    embed: nn.Module | None

    def embedded(self, context: Array | None, context_ndims: int, batch_shape: Shape) -> Array | None:
        """The context embedded once, with the batch axes of the event in front."""
        if context is None:
            return None
        context = jnp.asarray(context)  # a label may come as a plain int
        leading = context.ndim - context_ndims
        if self.embed is not None:
            context = jnp.asarray(self.embed(context))
        return jnp.broadcast_to(context, (*batch_shape, *context.shape[leading:]))

    def standardise(self, statistics: Statistics | None, axes: Axes | None, dtype: Any) -> None:
        """Gives the statistics of all training rows to the parts that standardise; in `init`, before the first pass."""
        whiten = whitener(self.preprocess)
        if whiten is not None and axes is not None:
            whiten.use(*axes, dtype)
        if statistics is None:
            return
        s, first = statistics, standardizer(self.preprocess)
        if first is not None and s.mean is not None and s.deviation is not None:
            first.use(s.mean, s.deviation, dtype)
        if (
            isinstance(self.embed, StandardizeContext)
            and s.context_mean is not None
            and s.context_deviation is not None
        ):
            self.embed.use(s.context_mean, s.context_deviation, dtype)

    def to_model_space(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """Dequantized and preprocessed data, with the log-det of that and -log q of the noise."""
        v, log_det = self._held_to_reals(x) if self.dequantize is None else self.dequantize.dequantize(x, key)
        if self.preprocess is None:
            return v, log_det
        v, preprocess_log_det = self.preprocess.inverse_and_log_det(v)
        v, overflow = self._held_to_reals(v)  # beyond the largest float, the density has long been 0
        return v, log_det + preprocess_log_det + overflow

    def encode(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, Array]:
        """x -> z and log|det dz/dx|, -inf where x has no density."""
        x, log_det = self.to_model_space(x, key)
        z, bijector_log_det = self.bijector.inverse_and_log_det(x, context)
        return z, log_det + bijector_log_det

    def decode(self, z: Array, context: Array | None, key: Key | None = None) -> tuple[Array, Array]:
        """z -> x and log|det dx/dz|; NaN where a bijector is not defined."""
        x, log_det = self.bijector.forward_and_log_det(z, context)
        if self.preprocess is not None:
            x, preprocess_log_det = self.preprocess.forward_and_log_det(x)
            log_det = log_det + preprocess_log_det
        if self.is_restricted:
            x, log_det = nan_where_zero(x, log_det), jnp.where(jnp.isneginf(log_det), jnp.nan, log_det)
        return x if self.dequantize is None else self.dequantize.crop(x), log_det

    def log_prob(self, x: Array, context: Array | None, key: Key | None) -> Array:
        """log density in nats; where it is -inf as x has no density, its gradient is 0."""
        z, log_det = self.encode(x, context, key)
        return jnp.where(jnp.isneginf(log_det), -jnp.inf, self.base.log_prob(z, context) + log_det)

    def log_prob_at_precision(
        self, x: Array, context: Array | None, key: Key | None, precision: float | Array
    ) -> tuple[Array, Array]:
        """The log density with a base of `precision` times its own precision, and the latents.

        It is that of samples at temperature precision^(-1/2), for a base on all real numbers that has a mean.
        """
        z, log_det = self.encode(x, context, key)
        mean, num = self.base.mean(context), math.prod(self.base.event_shape)
        log_base = self.base.log_prob(mean + (z - mean) * jnp.sqrt(precision), context) + num / 2 * jnp.log(precision)
        return jnp.where(jnp.isneginf(log_det), -jnp.inf, log_base + log_det), z

    def sample(self, key: Key, shape: Shape, context: Array | None, temperature: float | Array) -> tuple[Array, Array]:
        """Samples and their log density."""
        z = self.sample_base(key, shape, context, temperature)
        x, log_det = self.decode(z, context)
        return x, self.base.log_prob(z, context) - log_det

    @property
    def is_restricted(self) -> bool:
        """Whether a bijector is not defined for all real numbers, or the base is 0 for some of them."""
        parts = (self.bijector, *(() if self.preprocess is None else (self.preprocess,)))
        return self.base.domain != REALS or any(part.is_restricted for part in parts)

    def raw_latents(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, ...]:
        """The values that a `MultiScale` factors out, level by level; NaN where x has no density."""
        assert isinstance(self.bijector, MultiScale)
        v, log_det = self.to_model_space(x, key)
        return tuple(nan_where_zero(y, log_det) for y in self.bijector.raw_latents(v, context))

    def _held_to_reals(self, x: Array) -> tuple[Array, Array]:
        """Events with 0 in the place of infinite numbers, and -inf for each that holds one, else 0."""
        infinite = jnp.isinf(x)
        event_ndims = self.bijector.x_event_ndims  # that of `preprocess` on both of its sides
        return jnp.where(infinite, 0, x), sum_event(jnp.where(infinite, -jnp.inf, jnp.zeros_like(x)), event_ndims)

    def sample_base(self, key: Key, shape: Shape, context: Array | None, temperature: float | Array) -> Array:
        """Latents, from one key or from one key each."""
        if key.ndim == 0:
            return self.base.sample(key, shape, context, temperature)
        base, variables = self.base.unbind()  # Linen modules do not let their variables into `vmap`

        def draw(key: Key, context: Array | None) -> Array:
            z: Any = base.apply(variables, key, (), context, temperature, method="sample")
            return z

        for _ in shape:
            draw = jax.vmap(draw)
        return draw(key, context)


@dataclasses.dataclass(frozen=True, repr=False)
class FlowStructure(Checked, Density):
    """The fields of `Flow`, their checks, and the answers to all that `Density` asks of a structure."""

    bijector: Bijector
    base: Base
    event_shape: Shape
    dequantize: Dequantize | None = None
    preprocess: Bijector | None = None
    embed: nn.Module | None = None
    context_shape: Shape | None = None
    domains: Domains | None = None
    data_kind: Annotated[str, Option(choices=tuple(OF_FLOATS))] = TABLE.name

    objective: ClassVar[str] = "likelihood"
    encodes: ClassVar[bool] = True
    takes_keys: ClassVar[bool] = True

    def _check(self) -> None:
        shape = self.event_shape if self.dequantize is None else self.dequantize.padded_shape(self.event_shape)
        for argument, bijector in (("bijector", self.bijector), ("preprocess", self.preprocess)):
            if bijector is not None and bijector.x_event_ndims != len(shape):
                rule = f"must have x_event_ndims={len(shape)}, the axes of event_shape {self.event_shape}"
                got = f"{type(bijector).__name__} with x_event_ndims={bijector.x_event_ndims}"
                raise InvalidValueError("Flow", argument, rule, got, f"Set event_ndims={len(shape)}.")
        shape = shape if self.preprocess is None else self.preprocess.z_event_shape(shape)
        latent_shape = self.bijector.z_event_shape(shape)
        if self.data_kind != TABLE.name and self.dequantize is not None:
            rule, fix = "must be left out with `dequantize`, which says what kind of data it is for", "Leave one out."
            raise InvalidValueError("Flow", "data_kind", rule, repr(self.data_kind), fix)
        if self.domains is not None:
            self.domains.check_positions("Flow", math.prod(self.event_shape))
        if latent_shape != tuple(self.base.event_shape):
            rule = f"must have event_shape {latent_shape}, the bijector's latent shape for {self.event_shape}"
            raise InvalidValueError("Flow", "base", rule, f"{self.base.event_shape}")

    def __repr__(self) -> str:
        """One line: the parts from data to latent; `flow.summary()` is the whole table."""
        parts = (self.dequantize, self.preprocess, self.bijector, self.base)
        names = " -> ".join(type(part).__name__ for part in parts if part is not None)
        context = "" if self.context_shape is None else f" | context {self.context_shape}"
        return f"Flow({self.event_shape}{context}: {names})"

    @property
    def needs_key(self) -> bool:
        """Whether losses and `bits_per_dim` must be given a key, see `Density.needs_key`."""
        return self.dequantize is not None or self.bijector.needs_key or self.base.needs_key

    @property
    def estimates_log_det(self) -> bool:
        """Whether the log-det is estimated with noise, for which `log_prob` must be given a key."""
        return self.bijector.needs_key

    def centres(self, x: Array) -> Array:
        """Integers as floats at the centres of their bins, and floats as they are, so that no key adds noise to x."""
        return x if self.dequantize is None else self.dequantize.crop(self.dequantize.dequantize(x, None)[0])

    @property
    def uses_invertible_backprop(self) -> bool:
        """Whether a `Repeat` in the bijector has backprop="invertible"."""
        return self.bijector.uses_invertible_backprop

    @property
    def is_restricted(self) -> bool:
        """Whether the density is 0 for some finite x: a bijector is not defined there, or the base is 0.

        False for images, whose integers are checked where data are made.
        """
        return self.reading.num_bits is None and self.module.is_restricted

    @property
    def standardizes(self) -> bool:
        """Whether data pass through `Standardize` or `Whiten` first, or contexts through `StandardizeContext`."""
        first = self.whitens or standardizer(self.preprocess) is not None
        return first or isinstance(self.embed, StandardizeContext)

    @property
    def whitens(self) -> bool:
        """Whether data pass through a `Whiten` first, see `Density.whitens`."""
        return whitener(self.preprocess) is not None

    @property
    def before_standardizing(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """What rows are mapped to before `Standardize` sees them, see `Density.before_standardizing`."""
        return of_rows(self.to_reals)

    @property
    def to_reals(self) -> Callable[[Array], Array] | None:
        """`before_standardizing` as a function of arrays, which may be traced."""
        return to_reals(self.preprocess, self.dequantize)

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """How many entries of the latent each level of the bijector has, see `Density.level_sizes`."""
        return tuple(math.prod(shape) for shape in self.bijector.latent_shapes())

    @property
    def reading(self) -> Reading:
        """How data are handed over: as images if the flow dequantizes them, else as rows; see `Reading`."""
        noise = self.dequantize
        kind, bits = (OF_FLOATS[self.data_kind], None) if noise is None else (noise.kind, noise.bits)
        num_classes = self.embed.num_classes if isinstance(self.embed, ClassEmbed) else None
        context = "none" if self.context_shape is None else "vectors" if num_classes is None else "labels"
        return Reading(kind, self.event_shape, bits, context, self.context_shape, num_classes, self.domains)

    @property
    def reports(self) -> tuple[str, ...]:
        """Names of the reports that a run writes: a learning curve, and pictures of images, of pairs, of the plane."""
        if len(self.event_shape) == 3:
            return ("learning_curve", "samples", "interpolation", "reconstruction")
        plane = ("page",) if self.event_shape == self.latent_shape == (2,) else ()
        pairs = ("pairs",) if len(self.event_shape) == 1 and self.reading.kind.has_columns else ()
        return ("learning_curve", *pairs, *plane)

    @property
    def latent_shape(self) -> Shape:
        """Event shape of z."""
        return tuple(self.base.event_shape)

    @property
    def context_ndims(self) -> int:
        """Number of event axes of the context: 0 for class labels, 1 for vectors."""
        return len(self.context_shape or ())

    def context_batch(self, context: Array) -> Shape:
        """The leading axes of a context."""
        return jnp.shape(context)[: jnp.ndim(context) - self.context_ndims]

    @property
    def module(self) -> FlowModule:
        """The Linen module that holds all parts."""
        return FlowModule(self.bijector, self.base, self.dequantize, self.preprocess, self.embed)

"""`FlowStructure`: the parts of a `Flow`, and what follows from them before there are any variables.

Read next: `jflows/flows/flow.py`, which documents the parts, and computes with them.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors import Bijector
from jflows.data.domains import Domains
from jflows.data.kinds import OF_FLOATS, TABLE
from jflows.data.reading import Reading
from jflows.distributions import Base
from jflows.errors import InvalidValueError
from jflows.flows.columns import of_rows, standardizer, to_reals, whitener
from jflows.flows.density import Density
from jflows.flows.dequantize import Dequantize
from jflows.flows.module import FlowModule
from jflows.nn import ClassEmbed, StandardizeContext
from jflows.options import Checked, Option
from jflows.typing import Array, Shape


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

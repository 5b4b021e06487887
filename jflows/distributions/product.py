"""`Product`: different bases for different columns of a vector; `UniformAngle`: the uniform density on a circle."""

import functools
import math
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from jflows.distributions.base import Base
from jflows.errors import InvalidValueError
from jflows.ops.domain import Domain
from jflows.ops.masks import take
from jflows.ops.numerics import sum_event
from jflows.options import Option
from jflows.typing import Array, Key, Shape


class UniformAngle(Base):
    """The uniform density on a circle, of angles of period 2 pi.

        log p(z) = -D log(2 pi) for every z                  [nats per event; D dimensions]

    An angle has many names, z + 2 pi k, so no z is outside; samples lie in [-pi, pi). A circle has no mean: at a
    temperature T below 1, samples are spread over the arc [-T pi, T pi), for the sake of a single rule for all bases.

    Args:
      event_shape: shape of z.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    """

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws temperature * U(-pi, pi): -> [*shape, *event_shape]."""
        return temperature * jax.random.uniform(key, (*shape, *self.event_shape), minval=-math.pi, maxval=math.pi)

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        constant = jnp.asarray(-math.log(2 * math.pi), jnp.result_type(z))
        return sum_event(jnp.where(jnp.isnan(z), z, constant), len(self.event_shape))

    @property
    def has_pit(self) -> bool:
        return True

    def pit(self, z: Array, context: Array | None = None) -> Array:
        return jnp.mod(z / (2 * math.pi) + 0.5, 1.0)

    def mean(self, context: Array | None = None) -> Array:
        return jnp.zeros(self.event_shape)


class Product(Base):
    """Independent bases of groups of columns, which are the last axis of an event.

        log p(z) = sum_k log p_k(z of group k)               [nats per event]

    Args:
      event_shape: shape of z, whose last axis has dim columns.
      bases: one base for each group, of events with the columns of the group alone.
      columns: the columns of each group; each column is in one group.
    Shapes:
      z: [*batch, *event_shape], log_prob: [*batch].
    Raises:
      InvalidValueError: if the groups do not share out all columns, or a base is of another size than its group.
    """

    bases: Annotated[tuple[Base, ...], Option(noun="a tuple of bases", fewest=1)]
    columns: Annotated[tuple[tuple[int, ...], ...], Option(fewest=1)]

    def _check(self) -> None:
        *leading, dim = self.event_shape or (0,)
        if sorted(sum(self.columns, ())) != list(range(dim)):
            rule = f"must share out the {dim} columns of event_shape {self.event_shape}, each once"
            raise InvalidValueError("Product", "columns", rule, repr(self.columns))
        sizes, wanted = [base.event_shape for base in self.bases], [(*leading, len(own)) for own in self.columns]
        if sizes != wanted:
            raise InvalidValueError("Product", "bases", f"must have the event shapes {wanted}", repr(sizes))
        if len({base.domain for base in self.bases}) > 1:
            got = ", ".join(f"{type(base).__name__} on {base.domain}" for base in self.bases)
            raise InvalidValueError("Product", "bases", "must be positive on one domain", got, "Map them to all reals.")

    @property
    def domain(self) -> Domain:
        return self.bases[0].domain

    @property
    def needs_key(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(base.needs_key for base in self.bases)

    @property
    def is_reparameterized(self) -> bool:
        return all(base.is_reparameterized for base in self.bases)

    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws from each base with a key of its own: -> [*shape, *event_shape]."""
        keys = jax.random.split(key, len(self.bases))
        return self._joined([b.sample(k, shape, context, temperature) for b, k in zip(self.bases, keys, strict=True)])

    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """The log density of z in nats: [*batch]."""
        parts = [take(z, np.asarray(own)) for own in self.columns]
        terms = [base.log_prob(part, context) for base, part in zip(self.bases, parts, strict=True)]
        return functools.reduce(jnp.add, terms)

    @property
    def has_pit(self) -> bool:
        return all(base.has_pit for base in self.bases)

    def pit(self, z: Array, context: Array | None = None) -> Array:
        parts = [take(z, np.asarray(own)) for own in self.columns]
        return self._joined([base.pit(part, context) for base, part in zip(self.bases, parts, strict=True)])

    def mean(self, context: Array | None = None) -> Array:
        return self._of_each(lambda base: base.mean(context))

    def mode(self, context: Array | None = None) -> Array:
        return self._of_each(lambda base: base.mode(context))

    def _of_each(self, function: Callable[[Base], Array]) -> Array:
        return self._joined([function(base) for base in self.bases])

    def _joined(self, parts: list[Array]) -> Array:
        return take(jnp.concatenate(parts, axis=-1), np.argsort(np.concatenate(self.columns)))

"""From the domains of columns to the parts of a flow: noise for whole numbers, and a map of each column to the reals.

Read next: `jflows/data/domains.py`, which declares domains; `jflows/flows/presets/shared.py`, which makes flows.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.bijectors import Bijector, Chain, Circle, Exp, Identity, Interval, Stack, Standardize, StickBreaking, Whiten
from jflows.data.domains import Domains
from jflows.data.kinds import TABLE, Kind
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows.dequantize import BIN_CENTRE, Dequantize, check_keys, draw
from jflows.options import Option
from jflows.typing import Array, Key, Shape

LEAST_NOISE = 2.0**-24  # float32 draws 0 once in 2^23 times, of whose logarithm a count of 0 would make an outlier
CHUNK_ROWS = 2**16  # that go through the map at a time, before statistics are taken


class DequantizeColumns(Dequantize):
    """Adds uniform noise u in (0, 1) to those columns of a table that hold whole numbers.

        v = x + u,   log P(x) >= E_u [log p(v)]              [nats per event; P for the whole columns, p for the others]

    Numbers that are not whole count as dequantized already. Without a key, whole ones are put at the centres of their
    bins, which gives a smooth score but not a bound.

    Source: Theis et al. 2016, arXiv:1511.01844, section 3.1.

    Args:
      columns: which columns, by position.
    Shapes:
      x: [*batch, dim] -> v: the same.
    Numerics: v lies strictly between two whole numbers, rounding included, so that no bound of a domain is met.
    """

    columns: Annotated[tuple[int, ...], Option(low=0, fewest=1)]

    kind: ClassVar[Kind] = TABLE

    def padded_shape(self, event_shape: Shape) -> Shape:
        """The same shape; raises `InvalidValueError` unless it is that of vectors with these columns."""
        if len(event_shape) != 1 or event_shape[0] <= max(self.columns):
            rule = f"must be (dim,) with more than {max(self.columns)} columns"
            raise InvalidValueError("DequantizeColumns", "event_shape", rule, repr(tuple(event_shape)))
        return tuple(event_shape)

    def describe(self) -> str:
        """The class and its columns."""
        return f"DequantizeColumns {', '.join(map(str, self.columns))}"

    def dequantize(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """x -> v and zeros. `key` is one key for the whole batch, or one per example: [*batch]."""
        if not jnp.issubdtype(x.dtype, jnp.number):
            raise InvalidTypeError("DequantizeColumns", "x", "must hold numbers", f"{x.dtype}")
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
        whole = np.isin(np.arange(x.shape[-1]), self.columns) & (x == jnp.floor(x))
        if key is None:
            return jnp.where(whole, x + BIN_CENTRE, x), jnp.zeros(())
        check_keys("DequantizeColumns", key, x.shape[:-1])
        fixed = lax.stop_gradient(x)  # `nextafter` has no derivative; that of v by x is 1
        low, high = jnp.nextafter(fixed, jnp.full_like(x, jnp.inf)), jnp.nextafter(fixed + 1, fixed)
        u = jnp.maximum(draw(jax.random.uniform, key, x), LEAST_NOISE)
        v = jnp.clip(fixed + u, low, high) + (x - fixed)
        return jnp.where(whole, v, x), jnp.zeros(())

    def crop(self, v: Array) -> Array:
        """v itself, as nothing is padded."""
        return v

    def quantize(self, v: Array) -> Array:
        """v with the columns of whole numbers rounded down."""
        return jnp.where(np.isin(np.arange(v.shape[-1]), self.columns), jnp.floor(v), v)


class Layout(NamedTuple):
    """The parts of a flow of a table, by the domains of its columns.

    Attributes:
      event_shape: shape of a row.
      latent_shape: shape of what the columns are mapped to.
      circles: which entries of it are angles in [-pi, pi); all others are real numbers.
      domains: what the parts were made from; None without any.
      dequantize: noise for whole numbers; None without any.
      to_domains: map of real numbers and angles to the columns; None if all columns are real numbers.
    """

    event_shape: Shape
    latent_shape: Shape
    circles: tuple[int, ...] = ()
    domains: Domains | None = None
    dequantize: DequantizeColumns | None = None
    to_domains: Stack | None = None

    def preprocess(self, standardize: bool) -> Bijector | None:
        """The first map of a flow: columns to real numbers, and these to mean 0 and deviation 1 if asked."""
        if self.to_domains is None:
            return Standardize() if standardize else None
        if not standardize or len(self.circles) == self.latent_shape[0]:
            return self.to_domains
        return Chain((Standardize(skip=self.circles), self.to_domains))


def layout(where: str, event_shape: Shape, domains: Domains | None) -> Layout:
    """The parts of a flow for rows of this shape.

    Args:
      where: name of the preset, for errors.
      event_shape: (dim,).
      domains: with positions of columns; None for real numbers only.
    Raises:
      InvalidValueError: if a position is out of range, or columns are named.
    """
    if not domains:
        return Layout(tuple(event_shape), tuple(event_shape))
    domains.check_positions(where, event_shape[0])
    parts = _parts(domains, event_shape[0])
    whole: Any = domains.integer
    dequantize = DequantizeColumns(tuple(sorted(whole))) if domains.integer else None
    if len(parts) == 1 and isinstance(parts[0][0], Identity):
        return Layout(tuple(event_shape), tuple(event_shape), (), domains, dequantize)
    bijectors, columns = zip(*parts, strict=True)
    stack = Stack(bijectors, tuple(map(len, columns)), sum(columns, ()))
    of_parts = zip(bijectors, stack.latent_columns(), strict=True)
    circles = tuple(sorted(column for part, own in of_parts if isinstance(part, Circle) for column in own))
    return Layout(tuple(event_shape), stack.z_event_shape(event_shape), circles, domains, dequantize, stack)


def _parts(domains: Any, dim: int) -> list[tuple[Bijector, tuple[int, ...]]]:
    """Maps and their columns; columns of one interval, or of one circle, share a map."""
    found: list[tuple[Bijector, tuple]] = []
    if domains.positive:
        found.append((Exp(), tuple(domains.positive)))
    alike: dict[tuple, list] = {}
    for column, low, high in domains.interval:
        alike.setdefault((Interval, low, high + (column in domains.integer)), []).append(column)
    for column, low, high in domains.circle:
        alike.setdefault((Circle, low, high), []).append(column)
    found += [(make(low=low, high=high), tuple(columns)) for (make, low, high), columns in alike.items()]
    found += [(StickBreaking(), tuple(entry)) for entry in domains.simplex]
    rest = tuple(sorted(set(range(dim)) - {column for _, columns in found for column in columns}))
    return found + ([(Identity(), rest)] if rest else [])


def to_reals(preprocess: Bijector | None, dequantize: Dequantize | None) -> Callable[[Array], Array] | None:
    """What rows are mapped to before `Standardize` or `Whiten` sees them; None if they are seen as they are."""
    whitens = whitener(preprocess) is not None
    starts = whitens or standardizer(preprocess) is not None
    fixed = preprocess.steps()[1:] if preprocess is not None and starts else ()
    dequantize = dequantize if whitens or isinstance(dequantize, DequantizeColumns) else None
    if not fixed and dequantize is None:
        return None
    whole = Chain(tuple(layer.clone(parent=None, name=None) for layer in fixed)) if fixed else None

    def mapped(x: Array) -> Array:
        v = x if dequantize is None else dequantize.dequantize(x, None)[0]
        out: Any = (v, None) if whole is None else whole.apply({}, v)
        return out[0]

    return mapped


def of_rows(mapped: Callable[[Array], Array] | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """A map of arrays as one of all rows of a table, on the host, in parts that bound the memory."""
    if mapped is None:
        return None
    compiled = jax.jit(mapped)

    def run(x: np.ndarray) -> np.ndarray:
        starts = range(0, len(x), CHUNK_ROWS)
        with jax.ensure_compile_time_eval():  # rows are known, even where `init` is only traced
            parts = [np.asarray(compiled(jnp.asarray(x[start : start + CHUNK_ROWS]))) for start in starts]
        return np.concatenate(parts)

    return run


def difference(a: Array, b: Array, domains: Domains | None) -> Array:
    """a - b for rows of a table; of columns on a circle, the way from b to a that is the shorter one.

    Shapes:
      a, b: [*batch, dim] -> the same.
    """
    found = a - b
    circles: Any = () if domains is None else domains.circle
    for column, low, high in circles:
        way = found[..., column]
        found = found.at[..., column].set(way - (high - low) * jnp.round(way / (high - low)))
    return found


def standardizer(preprocess: Bijector | None) -> Standardize | None:
    """The `Standardize` of a flow's first map: that map itself, or the last one of a chain from data to latent."""
    first = None if preprocess is None else preprocess.steps()[0]
    return first if isinstance(first, Standardize) else None


def whitener(preprocess: Bijector | None) -> Whiten | None:
    """The `Whiten` of a flow's first map, in the place of a `standardizer`."""
    first = None if preprocess is None else preprocess.steps()[0]
    return first if isinstance(first, Whiten) else None

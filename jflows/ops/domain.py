"""`Domain`: the interval that every element of a value must lie in, for maps that are not defined everywhere."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jflows.typing import Array


class Domain(NamedTuple):
    """The numbers between `low` and `high`, as x of `Exp` lies between 0 and infinity.

    Ends do not belong to it, as the map would send them to infinity; the ends of a closed domain do, but for the upper
    one with `below_high`.

    Example:
      >>> Domain(0.0, 1.0).contains(np.array([0.0, 0.5, 1.0]))
      Array([False,  True, False], dtype=bool)
      >>> print(Domain(low=0.0))
      (0, inf)
    """

    low: float = -math.inf
    high: float = math.inf
    closed: bool = False
    below_high: bool = False

    @property
    def centre(self) -> float:
        """A number far from the ends."""
        low, high = self.low, self.high
        if math.isinf(low) and math.isinf(high):
            return 0.0
        return low + 1.0 if math.isinf(high) else high - 1.0 if math.isinf(low) else low + 0.5 * (high - low)

    def contains(self, values: Array | np.ndarray) -> Array:
        """Whether each number lies in the domain: bool of the shape of `values`."""
        values = jnp.asarray(values)
        low, high = jnp.asarray(self.low, values.dtype), jnp.asarray(self.high, values.dtype)
        if self.closed:
            return (low <= values) & (values < high if self.below_high else values <= high)
        # Subnormal numbers are 0 for some processors, and in compiled programs: they count as the end 0 everywhere.
        tiny = jnp.finfo(values.dtype).smallest_normal
        above = values >= tiny if self.low == 0 else low < values
        return above & (values <= -tiny if self.high == 0 else values < high)

    def moved_inside(self, values: Array) -> Array:
        """Numbers on an end, or beyond, where rounding has put them, become the nearest ones inside; NaN stays NaN."""
        if self == REALS:
            return values
        low, high = _ends(self, np.dtype(values.dtype))
        return jnp.clip(values, jnp.asarray(low, values.dtype), jnp.asarray(high, values.dtype))

    def __str__(self) -> str:
        brackets = ("[)" if self.below_high else "[]") if self.closed else "()"
        return f"{brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"


REALS = Domain()
"""All finite numbers."""


def _ends(domain: Domain, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest number inside; beside 0, the smallest that processors do not flush to 0."""
    info = jnp.finfo(dtype)
    low, high = np.asarray(domain.low, dtype), np.asarray(domain.high, dtype)
    if domain.closed:
        return low, np.nextafter(high, np.asarray(-np.inf, dtype)) if domain.below_high else high
    tiny, infinity = np.asarray(info.smallest_normal, dtype), np.asarray(np.inf, dtype)
    return (
        tiny if domain.low == 0 else np.nextafter(low, infinity),
        -tiny if domain.high == 0 else np.nextafter(high, -infinity),
    )

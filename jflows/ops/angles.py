"""What networks see of angles: their cosine and sine, which are the same after a full turn.

Angles have the period 2 pi. Functions are elementwise over the last axis.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidValueError
from jflows.typing import Array


def is_angle(circles: Sequence[int], dim: int) -> np.ndarray:
    """Which of `dim` inputs are angles: bool [dim].

    Raises:
      InvalidValueError: if there is no such input.
    """
    if circles and max(circles) >= dim:
        raise InvalidValueError("is_angle", "circles", f"must be inputs from 0 to {dim - 1}", repr(tuple(circles)))
    return np.isin(np.arange(dim), circles)


def with_periodic(x: Array, circles: Sequence[int]) -> Array:
    """The inputs with the cosine in place of each angle, followed by the sines of the angles.

    Shapes:
      x: [*batch, dim] -> [*batch, dim + number of circles].
    """
    if not circles:
        return x
    angle = is_angle(circles, x.shape[-1])
    return jnp.concatenate([jnp.where(angle, jnp.cos(x), x), jnp.sin(x[..., np.flatnonzero(angle)])], axis=-1)


def periodic_rows(x: Array, angle: Array | np.ndarray) -> Array:
    """Two features of every input, which are 0 where x is 0: (cos x - 1, sin x) of an angle, (x, 0) of a number.

    Shapes:
      x: [*batch, n], angle: bool [n] -> [*batch, 2, n].
    """
    return jnp.stack([jnp.where(angle, jnp.cos(x) - 1, x), jnp.where(angle, jnp.sin(x), 0)], axis=-2)


def periodic_slopes(x: Array, angle: Array | np.ndarray) -> Array:
    """Derivatives of `periodic_rows` by x: [*batch, 2, n]."""
    return jnp.stack([jnp.where(angle, -jnp.sin(x), 1), jnp.where(angle, jnp.cos(x), 0)], axis=-2)

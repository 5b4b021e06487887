"""Special functions where the ready-made form loses digits."""

import jax.numpy as jnp
from jax.scipy.special import gammaln

from jflows.typing import Array

SERIES_FROM = 16.0  # the first term left out is 31 / (18432 x^9), below 3e-14 from here on


def log_gamma_half_step(x: Array) -> Array:
    """log Gamma(x + 1/2) - log Gamma(x) for x > 0.

    The difference of two `gammaln` has no correct digit in float32 from x = 1e6 on; so large x take the series

        1/2 log x - 1/(8 x) + 1/(192 x^3) - 1/(640 x^5) + 17/(14336 x^7)

    Shapes:
      x: any -> the same.
    """
    large = x >= SERIES_FROM
    # Each branch gets harmless values where the other is taken, as `where` does not stop NaN gradients.
    below, above = jnp.where(large, 1.0, x), jnp.where(large, x, SERIES_FROM)
    r = 1 / above
    series = 0.5 * jnp.log(above) - r / 8 + r**3 / 192 - r**5 / 640 + 17 * r**7 / 14336
    return jnp.where(large, series, gammaln(below + 0.5) - gammaln(below))

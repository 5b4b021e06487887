"""Special functions where the ready-made form loses digits, or overflows though the result does not."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc, gammaln

from jflows.ops.numerics import promoting
from jflows.typing import Array

SERIES_FROM = 16.0  # the first term left out is 31 / (18432 x^9), below 3e-14 from here on

# By the bits of a type: where the continued fraction takes over, and its length, for an error about exp(-z sqrt(2 n)).
# Before that, log phi - log Q has lost what z^2 / 2 is larger than 1: a few units of rounding.
FRACTION = {32: (3.0, 18), 64: (6.0, 24)}


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


def log_normal_tail(z: Array) -> tuple[Array, Array]:
    """log Q and log h for z >= 0: the upper tail of the standard normal law, and its hazard.

        Q(z) = 1 - Phi(z) = phi(z) / h(z),   h(z) = z + 1 / (z + 2 / (z + 3 / (z + ...)))

    All terms of the continued fraction of Laplace are positive, so that h keeps its digits however far out, where
    log phi - log Q would subtract two numbers of the size of z^2 / 2. So do the derivatives: h' = h (h - z), with h - z
    from the fraction too.

    Source: Abramowitz and Stegun 1964, eq. 26.2.14.

    Shapes:
      z: [...] of float32 or float64 -> two arrays [...].
    Numerics: relative to rounding; log Q is -inf where z^2 overflows, and log h is right there too.
    """
    start = FRACTION[jnp.finfo(z.dtype).bits][0]
    is_far = z >= start
    # Each branch gets harmless values where the other is taken, as `where` does not stop NaN gradients.
    near, far = jnp.where(is_far, 0.0, z), jnp.where(is_far, z, start)
    log_density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    log_near = jnp.log(0.5 * erfc(near / math.sqrt(2)))
    log_hazard = jnp.where(is_far, jnp.log(_hazard(far)), log_density - log_near)
    return jnp.where(is_far, log_density - log_hazard, log_near), log_hazard


@jax.custom_jvp
def _hazard(z: Array) -> Array:
    return z + _excess(z)


@_hazard.defjvp
@promoting
def _hazard_jvp(primals, tangents):
    (z,), (z_dot,) = primals, tangents
    excess = _excess(z)
    return z + excess, (z + excess) * excess * z_dot


def _excess(z: Array) -> Array:
    """h(z) - z = 1 / (z + 2 / (z + 3 / (z + ...)))."""
    fraction = z
    for number in range(FRACTION[jnp.finfo(z.dtype).bits][1], 1, -1):
        fraction = z + number / fraction
    return 1 / fraction


def log_1p_square(x: Array) -> Array:
    """log(1 + x^2), also where x^2 overflows. Shapes: x any -> the same."""
    size = jnp.abs(x)
    is_large = size > 1
    below, above = jnp.where(is_large, 0.0, x), jnp.where(is_large, size, 1.0)
    return jnp.where(is_large, 2 * jnp.log(above) + jnp.log1p((1 / above) ** 2), jnp.log1p(below**2))

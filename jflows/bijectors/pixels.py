"""Fixed maps of dequantized pixels, which a flow applies first; their log-dets count in bits/dim."""

import math
from typing import Annotated, ClassVar

import jax.numpy as jnp

from jflows.bijectors.base import SameShape
from jflows.errors import InvalidValueError
from jflows.ops.domain import Domain
from jflows.ops.numerics import constant_log_det, sum_event
from jflows.options import NumBits, Option
from jflows.typing import Array

SIDES = ("one", "two")
LEAST_ONE_SIDED = 2.0**-24  # half a unit of rounding of 1 in float32


class CentredPixels(SameShape):
    """Maps centred values in [-0.5, 0.5) to pixels in [0, 2^num_bits).

        x = 2^num_bits (z + 0.5)
        log_det (inverse) = -D num_bits log 2                [nats per event]

    Args:
      num_bits: 1 to 8 (16 for scientific images).
    Shapes:
      x: [*batch, height, width, channels] <-> z: the same; log_det: [*batch].
    """

    num_bits: NumBits = 8

    event_ndims: ClassVar[int] = 3

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = math.prod(z.shape[-3:]) * self.num_bits * math.log(2)
        return (z + 0.5) * 2**self.num_bits, constant_log_det(z, 3, log_det)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_det = -math.prod(x.shape[-3:]) * self.num_bits * math.log(2)
        return x / 2**self.num_bits - 0.5, constant_log_det(x, 3, log_det)


class LogitPixels(SameShape):
    """Maps reals to pixels in [0, 2^num_bits], by the inverse of a logit that is kept away from both ends, or from 0.

        z = logit(p),  p = alpha + slope x / 2^num_bits,  slope = 1 - 2 alpha ("two") or 1 - alpha ("one")
        log_det (inverse) = sum_i -log p_i - log(1 - p_i) + D (log slope - num_bits log 2)   [nats per event]

    The logit spreads the pixel values at both ends of the range, so that a black background of deviation 1/900 and
    strokes of deviation 1/3 get comparable scales. A small alpha spreads more. `1 - p` is computed from x, not from p,
    so that it keeps its digits near white.

    With `sides="one"`, nothing keeps white away from p = 1: white pixels have the long tail of the logit of uniform
    noise, and x = 2^num_bits itself has no latent. Dequantized pixels stay below it.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4.1 ("one"); two-sided as in Papamakarios et al. 2017,
    arXiv:1705.07057, section E.2.

    Args:
      num_bits: 1 to 8 (16 for scientific images).
      alpha: in (0, 0.5); 0.05 in RealNVP, 1e-6 for MNIST in MAF.
      sides: "two" keeps pixels away from both ends by alpha, "one" from black alone.
    Shapes:
      x: [*batch, height, width, channels] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: if alpha or num_bits is out of range, or if alpha is below 2^-24 with sides="one", where
        float32 rounds 1 - alpha to 1 and pixels near white to p = 1.
    Numerics: latents that no pixel has, beyond logit(alpha) and logit(alpha + slope), are mapped to the ends.
    """

    num_bits: NumBits = 8
    alpha: Annotated[float, Option(above=0, below=0.5)] = 0.05
    sides: Annotated[str, Option(choices=SIDES)] = "two"

    event_ndims: ClassVar[int] = 3

    def _check(self) -> None:
        if self.sides == "one" and self.alpha < LEAST_ONE_SIDED:
            rule = "must be at least 2^-24 = 6e-8 with {sides=one}, as float32 takes 1 - alpha for 1 below that"
            raise InvalidValueError("LogitPixels", "alpha", rule, repr(self.alpha), "Raise it, or set {sides=two}.")

    @property
    def x_domain(self) -> Domain:
        return Domain(0.0, 2.0**self.num_bits, closed=True, below_high=self.sides == "one")

    @property
    def _top(self) -> float:
        """How far p stays away from 1."""
        return self.alpha if self.sides == "two" else 0.0

    @property
    def _slope(self) -> float:
        return 1 - self.alpha - self._top

    def _log_probabilities(self, x: Array) -> tuple[Array, Array]:
        unit = x / 2**self.num_bits
        return jnp.log(self.alpha + self._slope * unit), jnp.log(self._top + self._slope * (1 - unit))

    def _log_det(self, log_p: Array, log_not_p: Array) -> Array:
        constant = math.log(self._slope) - self.num_bits * math.log(2)
        return sum_event(constant - log_p - log_not_p, 3)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        log_p, log_not_p = -jnp.logaddexp(0.0, -z), -jnp.logaddexp(0.0, z)
        if self.sides == "one":
            unit = 1 - jnp.exp(log_not_p) / self._slope  # by 1 - p, so that white keeps its digits
        else:
            # tanh form: exact at both ends, where sigmoid(z) - alpha would cancel.
            unit = 0.5 + 0.5 * jnp.tanh(0.5 * z) / self._slope
        return unit * 2**self.num_bits, -self._log_det(log_p, log_not_p)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        log_p, log_not_p = self._log_probabilities(x)
        return log_p - log_not_p, self._log_det(log_p, log_not_p)

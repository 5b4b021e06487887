"""Inner maps by the distribution function of a mixture of logistics: the coupling of Flow++, and Gaussianization."""

from typing import ClassVar

import jax.numpy as jnp

from jflows.bijectors.base import report_largest
from jflows.bijectors.inner import Affine, InnerMap
from jflows.ops.affine import bounded_log_scale
from jflows.ops.blocks import in_blocks
from jflows.ops.logistic_mixture import (
    invert_logit_cdf,
    invert_normal_logit_cdf,
    logit_cdf,
    normal_logit_cdf,
)
from jflows.options import Count, Positive
from jflows.typing import Array


class LogisticMixture(InnerMap):
    """z = (logit F(x) + shift) * scale, with F the distribution function of a mixture of K logistics.

    F is increasing and smooth, so x -> z is exact; z -> x is solved by a safeguarded Newton method, to rounding, and
    differentiated implicitly. With all parameters zero the means are spread over [-1, 1], as equal components would get
    equal gradients and stay equal.

    Source: Ho et al. 2019, arXiv:1902.00275, eqs. 12-14. Differs: both scales are bounded on both sides.

    Args:
      num_components: K >= 1.
      max_log_scale: bound of |log scale| of the components, and of the outer scale; in nats.
    Shapes:
      params: [..., 3 K + 2, dim]: K logits, K means, K log-scales, shift, log-scale.
    Raises:
      InvalidValueError: if num_components < 1 or max_log_scale is not positive.
    Numerics: values, log-dets and their gradients hold to the end of float32; the float32 way back is within 1e-5 while
      z lies where F has mass.
    """

    num_components: Count = 4
    max_log_scale: Positive = 4.0

    allows_invertible_backprop: ClassVar[bool] = False

    @property
    def num_params(self) -> int:
        return 3 * self.num_components + 2

    def _parts(self, params: Array) -> tuple[tuple[Array, Array, Array], Array]:
        split = 3 * self.num_components
        return _mixture(params[..., :split, :], self.max_log_scale), params[..., split:, :]

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        mixture, affine = self._parts(params)
        y, affine_log_slope = Affine(max_log_scale=self.max_log_scale, parent=None).forward_and_log_det(z, affine)
        x = invert_logit_cdf(y, *mixture)
        reached, mixture_log_slope = logit_cdf(x, *mixture)
        report_largest(self, "inverse_residual", reached - y)
        return x, affine_log_slope - mixture_log_slope

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        return in_blocks(self._to_latent, x, params)

    def _to_latent(self, x: Array, params: Array) -> tuple[Array, Array]:
        mixture, affine = self._parts(params)
        y, log_slope = logit_cdf(x, *mixture)
        z, affine_log_slope = Affine(max_log_scale=self.max_log_scale, parent=None).inverse_and_log_det(y, affine)
        return z, log_slope + affine_log_slope


class Gaussianize(InnerMap):
    """z = Phi^-1(F(x)), with F the distribution function of a mixture of K logistics: normal if x has law F.

    Alternated with rotations it is the Gaussianization flow. Both directions are solved to rounding, through logits of
    probabilities, so that both tails stay exact, and differentiated implicitly.

    Source: Meng et al. 2020, arXiv:2003.01941, eqs. 4 and 9.

    Args:
      num_components: K >= 1.
      max_log_scale: bound of |log scale| of the components, in nats.
    Shapes:
      params: [..., 3 K, dim]: K logits, K means, K log-scales.
    Raises:
      InvalidValueError: if num_components < 1 or max_log_scale is not positive.
    Numerics: values, log-dets and their gradients hold to the end of float32. Tails grow like z^2, so x overflows where
      |z| is beyond 1e19: both are NaN there.
    """

    num_components: Count = 4
    max_log_scale: Positive = 4.0

    allows_invertible_backprop: ClassVar[bool] = False

    @property
    def num_params(self) -> int:
        return 3 * self.num_components

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        mixture = _mixture(params, self.max_log_scale)
        y, log_slope = normal_logit_cdf(z)
        x = invert_logit_cdf(y, *mixture)
        reached, mixture_log_slope = logit_cdf(x, *mixture)
        report_largest(self, "inverse_residual", reached - y)
        return x, log_slope - mixture_log_slope

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        y, log_slope = logit_cdf(x, *_mixture(params, self.max_log_scale))
        z = invert_normal_logit_cdf(y)
        reached, normal_log_slope = normal_logit_cdf(z)
        report_largest(self, "inverse_residual", reached - y)
        return z, log_slope - normal_log_slope


def _mixture(params: Array, max_log_scale: float) -> tuple[Array, Array, Array]:
    """[..., 3 K, dim] -> logits, means and log-scales, each [..., K, dim]."""
    logits, means, raw_log_scales = jnp.split(params, 3, axis=-2)
    num_components = means.shape[-2]
    spread = jnp.linspace(-1, 1, num_components, dtype=params.dtype) if num_components > 1 else jnp.zeros(1)
    means = means + spread.astype(params.dtype)[:, None]
    return logits, means, bounded_log_scale(raw_log_scales, "tanh", max_log_scale)

"""The distribution function of a mixture of logistics as an increasing map of the line, and the way back.

Everything is computed from log F and log(1 - F), so that neither tail loses its digits.
"""

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, logsumexp
from jax.scipy.special import log_ndtr
from jax.scipy.stats import norm

from jflows.ops.root_finding import invert_increasing
from jflows.typing import Array


def logit_cdf(x: Array, logits: Array, means: Array, log_scales: Array) -> tuple[Array, Array]:
    """y = logit F(x) and log dy/dx, with F(x) = sum_k softmax(logits)_k sigmoid((x - mean_k) / scale_k).

    Source: Ho et al. 2019, arXiv:1902.00275, eqs. 12-14.

    Shapes:
      x: [..., dim]; logits, means, log_scales: [..., K, dim] -> two arrays [..., dim].
    """
    u = (x[..., None, :] - means) * jnp.exp(-log_scales)
    log_weights = jax.nn.log_softmax(logits, axis=-2)
    log_left, log_right = log_weights + log_sigmoid(u), log_weights + log_sigmoid(-u)
    log_cdf, log_not_cdf = logsumexp(log_left, axis=-2), logsumexp(log_right, axis=-2)
    log_density = logsumexp(log_left + log_sigmoid(-u) - log_scales, axis=-2)
    return log_cdf - log_not_cdf, log_density - log_cdf - log_not_cdf


def invert_logit_cdf(y: Array, logits: Array, means: Array, log_scales: Array) -> Array:
    """x with logit F(x) = y, by `invert_increasing`; shapes as in `logit_cdf`."""
    scales = jnp.exp(log_scales)
    lower, upper = jnp.min(means - scales, axis=-2), jnp.max(means + scales, axis=-2)

    def slope(x: Array) -> tuple[Array, Array]:
        value, log_slope = logit_cdf(x, logits, means, log_scales)
        return value, jnp.exp(log_slope)

    return invert_increasing(lambda x: logit_cdf(x, logits, means, log_scales)[0], y, lower, upper, slope)


def normal_logit_cdf(z: Array) -> tuple[Array, Array]:
    """y = logit Phi(z) and log dy/dz, for the standard normal Phi. Shapes: z [...] -> two arrays [...]."""
    wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))  # log_ndtr has no narrower form
    log_cdf, log_not_cdf = log_ndtr(wide), log_ndtr(-wide)
    log_slope = norm.logpdf(wide) - log_cdf - log_not_cdf
    return (log_cdf - log_not_cdf).astype(z.dtype), log_slope.astype(z.dtype)


def invert_normal_logit_cdf(y: Array) -> Array:
    """z with logit Phi(z) = y: the normal quantile of a probability given by its logit, exact in both tails."""
    return invert_increasing(lambda z: normal_logit_cdf(z)[0], y, -1.0, 1.0)

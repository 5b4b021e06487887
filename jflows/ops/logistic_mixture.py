"""The distribution function of a mixture of logistics as an increasing map of the line, and the way back.

Everything is computed from the smaller of the two tails, F or 1 - F, whose logarithm keeps its digits however far out:
no step subtracts two large numbers that nearly agree, so that values, slopes and their derivatives hold to the end of
the range. Read next: `jflows/ops/special.py`, the normal law's part of this.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import log_sigmoid, logsumexp, softplus

from jflows.ops.root_finding import invert_increasing
from jflows.ops.special import log_normal_tail
from jflows.typing import Array

BOTH_LINEAR = 1.0  # where two softplus are beyond this, their difference is taken of what stands before the rounding


def logit_cdf(x: Array, logits: Array, means: Array, log_scales: Array) -> tuple[Array, Array]:
    """y = logit F(x) and log dy/dx, with F(x) = sum_k softmax(logits)_k sigmoid((x - mean_k) / scale_k).

    With T the smaller tail, v_k the standardised distance into it and r_k the share of component k in T,

        y = +-(log(1 - T) - log T),   log T = log sum_k w_k sigmoid(-v_k)
        dy/dx = sum_k r_k sigmoid(v_k) / scale_k / (1 - T)

    Source: Ho et al. 2019, arXiv:1902.00275, eqs. 12-14.

    Shapes:
      x: [..., dim]; logits, means, log_scales: [..., K, dim] -> two arrays [..., dim].
    Numerics: relative to rounding as good at |x| = 1e30 as at 1; not finite where (x - mean) / scale overflows.
    """
    log_weights, inverse_scales = jax.nn.log_softmax(logits, axis=-2), jnp.exp(-log_scales)
    offsets = x[..., None, :] - means
    u = offsets * inverse_scales
    is_right = jnp.sum(jnp.exp(log_weights) * jax.nn.sigmoid(u), axis=-2, keepdims=True) >= 0.5
    sign = lax.stop_gradient(jnp.where(is_right, 1, -1).astype(u.dtype))
    v = sign * u
    log_terms = log_weights - softplus(v)  # log of w_k sigmoid(-v_k)
    numbers = lax.broadcasted_iota(jnp.int32, log_terms.shape, log_terms.ndim - 2)
    chosen = numbers == jnp.argmax(log_terms, axis=-2, keepdims=True)
    of_largest = lambda values: jnp.sum(jnp.where(chosen, values, 0), axis=-2, keepdims=True)
    v_0, log_weight_0, log_scale_0, mean_0 = map(of_largest, (v, log_weights, log_scales, means))
    # v_k - v_0, which two products of 1e10 would leave without a digit where the scales are nearly equal.
    further = sign * jnp.exp(-log_scale_0) * (offsets * jnp.expm1(log_scale_0 - log_scales) + (mean_0 - means))
    rest = softplus(-v) - softplus(-v_0)  # softplus(v) = v + softplus(-v)
    are_linear = (v > BOTH_LINEAR) & (v_0 > BOTH_LINEAR)
    growth = jnp.where(are_linear, further + rest, softplus(v) - softplus(v_0))
    log_shares = log_weights - log_weight_0 - growth  # relative to the largest term
    log_sum = logsumexp(log_shares, axis=-2)
    log_tail = (log_weight_0 - softplus(v_0))[..., 0, :] + log_sum
    log_body = jnp.log1p(-jnp.exp(jnp.minimum(log_tail, -0.5)))
    y = sign[..., 0, :] * (log_body - log_tail)
    log_slope = logsumexp(log_shares + log_sigmoid(v) - log_scales, axis=-2) - log_sum - log_body
    return y, log_slope


def invert_logit_cdf(y: Array, logits: Array, means: Array, log_scales: Array) -> Array:
    """x with logit F(x) = y, by `invert_increasing`; shapes as in `logit_cdf`."""
    scales = jnp.exp(log_scales)
    lower, upper = jnp.min(means - scales, axis=-2), jnp.max(means + scales, axis=-2)

    def slope(x: Array) -> tuple[Array, Array]:
        value, log_slope = logit_cdf(x, logits, means, log_scales)
        return value, jnp.exp(log_slope)

    return invert_increasing(lambda x: logit_cdf(x, logits, means, log_scales)[0], y, lower, upper, slope)


def normal_logit_cdf(z: Array) -> tuple[Array, Array]:
    """y = logit Phi(z) and log dy/dz, for the standard normal Phi, to the end of the range.

        y = +-(log(1 - Q) - log Q),   dy/dz = h / (1 - Q)

    with Q the smaller tail and h its hazard, see `jflows.ops.special.log_normal_tail`.

    Shapes:
      z: [...] -> two arrays [...].
    """
    wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))  # no narrower type has the special functions
    sign = lax.stop_gradient(jnp.where(wide < 0, -1, 1).astype(wide.dtype))
    log_tail, log_hazard = log_normal_tail(sign * wide)
    log_body = jnp.log1p(-jnp.exp(log_tail))
    return (sign * (log_body - log_tail)).astype(z.dtype), (log_hazard - log_body).astype(z.dtype)


def invert_normal_logit_cdf(y: Array) -> Array:
    """z with logit Phi(z) = y: the normal quantile of a probability given by its logit, exact in both tails."""

    def slope(z: Array) -> tuple[Array, Array]:
        value, log_slope = normal_logit_cdf(z)
        return value, jnp.exp(log_slope)

    return invert_increasing(lambda z: normal_logit_cdf(z)[0], y, -1.0, 1.0, slope)

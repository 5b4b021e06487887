"""Scales and shifts: how a raw network output becomes a scale, and the statistics that whiten a batch.

Direction: scales multiply on the way from data x to latent z, so the inverse map divides by them. That is why every
scale here is stated with its interval, and why the default is bounded away from zero.
"""

import jax
import jax.numpy as jnp

from jflows.typing import Array

SCALE_KINDS = ("tanh", "sigmoid", "exp")
SIGMOID_OFFSET = 2.0  # Glow's published code: sigmoid(s + 2), which starts at 0.88
MIN_STD = 1e-6  # a constant channel is left unscaled by more than 1e6 instead of becoming infinite


def bounded_log_scale(raw: Array, kind: str, max_log_scale: float) -> Array:
    """log of the scale that multiplies x, from an unbounded network output.

    | kind | scale | interval |
    |---|---|---|
    | "tanh" | exp(m tanh(raw / m)), m = max_log_scale | [exp(-m), exp(m)] |
    | "sigmoid" | sigmoid(raw + 2) (Kingma and Dhariwal 2018, published code) | (0, 1) |
    | "exp" | exp(raw) (Dinh et al. 2017) | (0, inf) |

    Shapes:
      raw: any -> the same.
    """
    if kind == "tanh":
        return max_log_scale * jnp.tanh(raw / max_log_scale)
    if kind == "sigmoid":
        return jax.nn.log_sigmoid(raw + SIGMOID_OFFSET)
    return raw


def whitening(x: Array) -> tuple[Array, Array]:
    """Per-channel `(shift, log_scale)` for which (x + shift) * exp(log_scale) has mean 0 and deviation 1.

    Shapes:
      x: [..., channels] -> [channels], [channels].
    """
    axes = tuple(range(x.ndim - 1))
    std = jnp.std(x, axis=axes)
    return -jnp.mean(x, axis=axes), -jnp.log(jnp.maximum(std, MIN_STD))

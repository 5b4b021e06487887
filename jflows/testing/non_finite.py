"""`find_non_finite`: finds the first layer whose output is NaN or infinite."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import checkify

from jflows.bijectors.base import FINITE_CHECKS


def find_non_finite(function: Callable, *args: Any, **kwargs: Any) -> str | None:
    """Runs a function of a flow or bijector and names the first layer whose output or log-det is not finite.

    A flow never checks values itself, as that would cost time on every call, and so leaves NaN visible. When NaN turns
    up, this function finds where it comes from, by `jax.experimental.checkify`, under jit and inside scanned steps. It
    clears JAX's caches before and after, so that programs with and without checks are not mixed up; functions called
    afterwards compile again.

    Args:
      function: a function such as `flow.log_prob`, or one that calls it.
      *args: arguments of the function.
      **kwargs: keyword arguments of the function.
    Returns:
      The layer as path, class and method, such as "bijector/layers_2/Logit.inverse_and_log_det"; None if all layers
      are finite. Inside a `Repeat` the path begins at its step.
    Example:
      >>> import jax.numpy as jnp
      >>> from jflows.bijectors import ActNorm, Chain, Exp
      >>> chain = Chain((ActNorm(), Exp()))
      >>> x = jnp.array([[1.0], [2.0]])
      >>> variables = chain.init(jax.random.key(0), x, method="inverse_and_log_det")
      >>> inverse = lambda x: chain.apply(variables, x, method="inverse")
      >>> find_non_finite(inverse, x) is None
      True
      >>> find_non_finite(inverse, -x)
      'layers_1/Exp.inverse_and_log_det'
    """
    jax.clear_caches()
    token = FINITE_CHECKS.set(True)
    try:
        error, _ = jax.jit(checkify.checkify(lambda: function(*args, **kwargs)))()
    finally:
        FINITE_CHECKS.reset(token)
        jax.clear_caches()
    message = error.get()
    return None if message is None else message.removesuffix(" (`check` failed)")

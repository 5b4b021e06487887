"""`check_flow`, which checks that a flow's methods agree, and `integrate_density`, which integrates its density."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow
from jflows.testing.common import perturb, require_close, require_finite
from jflows.typing import Array, Variables


def check_flow(
    flow: Flow, x: Any, *, context: Any = None, seed: int = 0, noise: float = 0.05, tol: float = 1e-8
) -> None:
    """Raises unless the methods of a flow are consistent with each other; returns None if they are.

    It checks in float64, at the parameters of `init` on x plus noise: `log_prob` is the base's density of `encode`'s
    latent plus its log-det; `decode` inverts `encode`, log-det included; the log_prob of `sample_and_log_prob` is that
    of `log_prob` at the sample; gradients are finite. `check_bijector` checks the bijector itself.

    Args:
      flow: any `Flow`; if it dequantizes, all of this is checked on dequantized, padded data.
      x: [batch, *event_shape], valid data.
      context: [batch, *context_shape], or None for a flow without a context.
      seed: seed of parameters and noise.
      noise: standard deviation of the noise that is added to every parameter.
      tol: tolerance, relative to 1 + |value|.
    Raises:
      CheckError: (an `AssertionError`) naming the property, with the worst numbers.
    Example:
      >>> import jax, jflows
      >>> from jflows.testing import check_flow
      >>> bijector = jflows.bijectors.Coupling(jflows.nn.MLP((8,)), jflows.bijectors.Affine())
      >>> flow = jflows.Flow(bijector, jflows.distributions.StandardNormal((2,)), (2,))
      >>> check_flow(flow, jax.random.normal(jax.random.key(0), (16, 2)))
    """
    if not isinstance(flow, Flow):
        raise InvalidTypeError("check_flow", "flow", "must be a jflows.Flow", type(flow).__name__)
    where = "check_flow"
    with jax.enable_x64(True):
        key = jax.random.key(seed, impl="unsafe_rbg")  # threefry, the default, takes seconds to compile
        x, context = np.asarray(x), None if context is None else np.asarray(context)
        x = x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
        variables = perturb(flow.init(key, x, context), seed, noise, jnp.float64)
        found = jax.tree.map(np.asarray, _measure(flow, variables, x, context, key))
    rule = "must equal the base's log_prob of `encode`'s latent plus its log_det"
    require_close(where, "log_prob", rule, found["log_prob"], found["assembled"], tol)
    require_close(where, "decode", "must invert `encode`", found["back"], found["continuous"], tol)
    require_close(where, "decode", "must negate the log_det of `encode`", found["back_log_det"], -found["log_det"], tol)
    rule = "must equal log_prob at the sample"
    require_close(where, "sample_and_log_prob", rule, found["sample_log_prob"], found["log_prob_of_sample"], tol)
    require_finite(where, "gradients", "must be finite", found["gradients"])


@functools.partial(jax.jit, static_argnames=("flow",))
def _measure(flow: Flow, variables: Variables, x: Array, context: Array | None, key: Array) -> dict:
    continuous_x, continuous, log_weight = x, flow, 0.0
    if flow.dequantize is not None:
        shape = flow.dequantize.padded_shape(flow.event_shape)
        continuous = dataclasses.replace(flow, dequantize=None, event_shape=shape)
        of_noise = lambda module, x, context, key: module.dequantize.dequantize(x, key)
        (continuous_x, log_weight), _ = flow.run(variables, of_noise, x, x.shape[:1], context, key)
    # One key throughout: an estimated log-det is the same number wherever it is estimated at the same point.
    z, log_det = continuous.encode(variables, continuous_x, context, key)
    back, back_log_det = continuous.decode(variables, z, context, key)
    of_base = lambda module, z, context, key: module.base.log_prob(
        z, context
    )  # within the flow, so that its noise is the same
    base_log_prob, _ = flow.run(variables, of_base, z, x.shape[:1], context, key)
    sample_shape = x.shape[:1] if context is None else ()
    sample, sample_log_prob = continuous.sample_and_log_prob(variables, key, sample_shape, context)

    def loss(params):
        return jnp.sum(flow.log_prob({**variables, "params": params}, x, context, key))

    return {
        "log_prob": flow.log_prob(variables, x, context, key),
        "assembled": base_log_prob + log_det + log_weight,
        "continuous": continuous_x,
        "back": back,
        "log_det": log_det,
        "back_log_det": back_log_det,
        "sample_log_prob": sample_log_prob,
        "log_prob_of_sample": continuous.log_prob(variables, sample, context, key),
        "gradients": jax.grad(loss)(variables.get("params", {})),
    }


def integrate_density(
    flow: Flow, variables: Variables, *, bound: float = 10.0, num_points: int = 401, context: Any = None
) -> Array:
    """The integral of a flow's density over [-bound, bound]^D by the trapezoidal rule, which should be 1; D is 1 or 2.

    Args:
      flow: a flow over events of shape (1,) or (2,), without dequantization.
      variables: the flow's collections; their precision is that of the result.
      bound: half-width of the square; the density must be negligible outside.
      num_points: grid points per axis.
      context: one context for all points, without batch axes.
    Returns:
      A scalar.
    Raises:
      InvalidValueError: for other event shapes, or a flow that dequantizes.
    """
    if flow.event_shape not in ((1,), (2,)) or flow.dequantize is not None:
        rule = "must have event_shape (1,) or (2,) and no dequantization"
        raise InvalidValueError("integrate_density", "flow", rule, f"event_shape {flow.event_shape}")
    axis = np.linspace(-bound, bound, num_points)
    grid = np.stack(np.meshgrid(*(axis,) * flow.event_shape[0], indexing="ij"), axis=-1)

    @jax.jit
    def integral(variables: Variables, grid: Array, context: Any) -> Array:
        density = jnp.exp(flow.log_prob(variables, grid, context))
        for _ in range(flow.event_shape[0]):
            density = jnp.trapezoid(density, dx=axis[1] - axis[0], axis=-1)
        return density

    return integral(variables, grid, context)

"""`pulled_back`: a density in the latent space of a flow; and what the samplers ask of densities and flows."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jflows.errors import InvalidValueError, MissingPackageError
from jflows.eval.importance import check_exact_density, check_flow, check_log_density, log_density_at
from jflows.flows import Flow
from jflows.typing import Array, Key, Variables

try:
    import blackjax  # noqa: F401  (the samplers use it)
except ImportError as error:
    fix = "Run `pip install 'jflows-flax[blackjax]'`."
    raise MissingPackageError("jflows.interop.blackjax", "blackjax", "must be installed", error, fix) from error

NUM_TRIES = 64  # samples of the flow for each chain, of which the first with a density is where the chain starts
FARTHEST = 1e6  # entries of the latent that mean a chain on its way to infinity; the base's own deviation is about 1


def pulled_back(
    log_density: Callable[..., Array], flow: Flow, variables: Variables, context: Array | None = None
) -> Callable[[Array], Array]:
    """A density in the latent space of a flow.

        log p(z) = log p~(f(z)) + log|det df/dz|            [nats per event]

    It is that of the base, up to a constant, where the flow is the density. Any sampler may run on it; `flow.decode`
    maps its samples to data.

    Args:
      log_density: `log_density(x)`, or `log_density(x, context)` if the flow takes a context: nats, up to a constant,
        from x [num, *event_shape] and context [num, *context_shape] to [num]; differentiable in x.
      flow: a flow of continuous values with an exact log-det.
      variables: the collections of `flow`.
      context: one context, [*context_shape], or None.
    Returns:
      A function of z: [*batch, *latent_shape] -> [*batch].
    Raises:
      InvalidTypeError: if `flow` is not a flow, or `log_density` not a function.
      InvalidValueError: if the flow dequantizes or its log-det is estimated; when called, if `log_density` does not
        return one float per event.
    """
    check("pulled_back", log_density, flow)
    return pull_back("pulled_back", log_density, flow, variables, context)


def pull_back(
    where: str, log_density: Callable[..., Array], flow: Flow, variables: Variables, context: Array | None
) -> Callable[[Array], Array]:
    """`pulled_back` for a sampler, whose name errors then give."""

    def log_prob(z: Array) -> Array:
        x, log_det = flow.decode(variables, z, context)
        return log_density_at(where, flow, log_density, x, context) + log_det

    return log_prob


def check(where: str, log_density: object, flow: Flow) -> None:
    """Raises unless `log_density` is a function, and `flow` a flow with an exact density."""
    check_log_density(where, log_density)
    check_flow(where, flow)
    check_exact_density(where, flow)


def starts(
    where: str, log_density: Any, flow: Flow, variables: Variables, key: Key, num: int, context: Array | None
) -> tuple[Array, bool]:
    """Latents at which the density is finite, [num, *latent_shape], and whether it is not at other samples."""
    z, is_finite = _tries(where, log_density, flow, variables, key, num * NUM_TRIES, context)
    places = jnp.flatnonzero(is_finite)
    if not len(places):
        rule, got = "must be finite at some samples of the flow", f"{num * NUM_TRIES} samples at which it is not"
        fix = "Check log_density(flow.sample(...)), and train the flow towards its support."
        raise InvalidValueError(where, "log_density", rule, got, fix)
    return z[jnp.resize(places, (num,))], len(places) < len(z)


@functools.partial(jax.jit, static_argnames=("where", "log_density", "flow", "num"))
def _tries(
    where: str, log_density: Any, flow: Flow, variables: Variables, key: Key, num: int, context: Array | None
) -> tuple[Array, Array]:
    z = flow.sample_latent(variables, key, (num,), context)
    return z, jnp.isfinite(pull_back(where, log_density, flow, variables, context)(z))


def check_near(where: str, z: Array) -> None:
    """Raises `InvalidValueError` if chains have left for infinity, as without a finite integral they do."""
    largest = float(jnp.max(jnp.abs(z)))
    if not largest < FARTHEST:
        rule, got = "must have a finite integral", f"chains that go to {largest:.3g} in the latent space"
        raise InvalidValueError(where, "log_density", rule, got, "Check its tails.")


def base_log_prob(flow: Flow, variables: Variables, context: Array | None) -> Callable[[Array], Array]:
    """The log density of the base at one latent: [*latent_shape] -> []."""
    run = lambda module, z, context, key: module.base.log_prob(z, context)
    return lambda z: flow.run(variables, run, z, (), context)[0]

"""Sequential Monte Carlo from a flow to a density."""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from blackjax.smc import adaptive_tempered, extend_params, resampling

from jflows.errors import InvalidValueError, check_key
from jflows.flows import Flow
from jflows.interop.blackjax import target
from jflows.options import AtLeastTwo, Count, Fraction, Positive, checked
from jflows.typing import Array, Key, Variables

LARGEST_SPREAD = 1.0  # nats between the estimates of log Z by several runs, from which on they say little


class Particles(NamedTuple):
    """Samples of several independent runs of SMC.

    Attributes:
      x: the samples, equally weighted, [runs, particles, *event_shape].
      log_normalizer: log of the integral of the density, as each run estimates it, in nats: [runs]. The estimate of
        the integral itself is unbiased; the spread over runs tells its error.
      acceptance: mean acceptance probability of the moves at the last temperature, [runs].
      num_stages: number of temperatures of each run, [runs].
    """

    x: Array
    log_normalizer: Array
    acceptance: Array
    num_stages: Array


@checked
def smc(
    log_density: Callable[..., Array],
    flow: Flow,
    variables: Variables,
    key: Key,
    *,
    num_runs: AtLeastTwo = 4,
    num_particles: AtLeastTwo = 500,
    target_ess: Fraction = 0.5,
    num_steps: Count = 3,
    num_leaps: Count = 5,
    step_size: Positive = 0.3,
    max_stages: Count = 100,
    context: Array | None = None,
) -> Particles:
    """Sequential Monte Carlo from a flow q to a density p~, through q^(1 - t) p~^t at temperatures t from 0 to 1.

    The next temperature is the one at which the weights keep the effective sample size that is asked for. Between two
    of them, particles are resampled, and moved by Hamiltonian trajectories in the latent space. A flow that is the
    density takes one stage.

    Source: Del Moral et al. 2006, Journal of the Royal Statistical Society B 68, 411-436; BlackJAX's tempered SMC.

    Args:
      log_density: see `pulled_back`.
      key: typed key; the rest of the arguments before are those of `pulled_back`.
      num_runs: independent runs side by side.
      num_particles: particles of each run.
      target_ess: effective sample size of the weights of one stage, as a fraction of the particles.
      num_steps: trajectories of each particle in one stage.
      num_leaps: steps of one trajectory.
      step_size: size of such a step in the latent space, whose deviation is about 1.
      max_stages: most temperatures of a run.
      context: one context, [*context_shape], or None.
    Raises:
      InvalidTypeError, InvalidValueError: for the reasons given at `nuts`; if a run does not reach the density after
        `max_stages` temperatures, or log Z is not finite, as for a density without a finite integral. Runs that differ
        by more than a nat in log Z give a warning.
    """
    target.check("smc", log_density, flow)
    check_key("smc", key)
    start_key, run_key = jax.random.split(key)
    _, has_edge = target.starts("smc", log_density, flow, variables, start_key, num_runs, context)
    sizes = (num_runs, num_particles, num_steps, num_leaps)
    settings = (target_ess, step_size, max_stages)
    z, particles, temperature = _run_smc(log_density, flow, variables, run_key, context, has_edge, sizes, settings)
    if not bool(jnp.all(temperature >= 1)):
        rule = f"must be reached after {{max_stages={max_stages}}} temperatures"
        fix = "Train the flow longer, and check that the density has a finite integral."
        raise InvalidValueError("smc", "log_density", rule, f"a run at temperature {jnp.min(temperature):.3g}", fix)
    if not bool(jnp.all(jnp.isfinite(particles.log_normalizer))):
        got = f"log Z = {', '.join(f'{value:.4g}' for value in particles.log_normalizer)}"
        raise InvalidValueError("smc", "log_density", "must have a finite integral", got, "Check its tails.")
    target.check_near("smc", z)
    low, high = float(jnp.min(particles.log_normalizer)), float(jnp.max(particles.log_normalizer))
    if high - low > LARGEST_SPREAD:
        text = (
            f"smc: runs find log Z from {low:.4g} to {high:.4g}. Take more particles, train the flow longer, or check "
            "that the density has a finite integral."
        )
        warnings.warn(text, UserWarning, stacklevel=3)  # past `checked`
    return particles


def _sampler(
    inside: Any, log_weight: Any, dim: int, step_size: Any, num_leaps: int, target_ess: Any, num_steps: int
) -> Any:
    """BlackJAX's tempered sampler, whose stages are chosen by the effective sample size, and moved by HMC."""
    moves: Any = {
        "step_size": jnp.asarray(step_size),
        "inverse_mass_matrix": jnp.ones(dim),
        "num_integration_steps": jnp.asarray(num_leaps),
    }
    return adaptive_tempered.as_top_level_api(
        inside,
        log_weight,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        dict(extend_params(moves)),
        resampling.systematic,
        target_ess,
        num_mcmc_steps=num_steps,
    )


@functools.partial(jax.jit, static_argnames=("log_density", "flow", "has_edge", "sizes"))
def _run_smc(
    log_density: Any,
    flow: Flow,
    variables: Variables,
    key: Key,
    context: Array | None,
    has_edge: bool,
    sizes: tuple[int, ...],
    settings: tuple[Any, ...],
) -> tuple[Array, Particles, Array]:
    num_runs, num_particles, num_steps, num_leaps = sizes
    target_ess, step_size, max_stages = settings
    log_prob = target.pull_back("smc", log_density, flow, variables, context)
    base = target.base_log_prob(flow, variables, context)

    def inside(z: Array) -> Array:
        """The base where the density is not 0; else, no temperature above 0 would keep enough of the weights."""
        return jnp.where(jnp.isneginf(log_prob(z)), -jnp.inf, base(z)) if has_edge else base(z)

    def log_weight(z: Array) -> Array:
        found = log_prob(z) - base(z)
        lowest = -math.sqrt(float(jnp.finfo(found.dtype).max))  # as 0 * -inf at temperature 0 is no number
        return jnp.maximum(found, lowest)

    sampler = _sampler(inside, log_weight, math.prod(flow.latent_shape), step_size, num_leaps, target_ess, num_steps)

    def run(key: Key) -> tuple[Array, Array, Array, Array, Array]:
        start_key, edge_key, stage_key, last_key = jax.random.split(key, 4)
        z = flow.sample_latent(variables, start_key, (num_particles,), context)
        kept = jnp.mean(~jnp.isneginf(log_prob(z))) if has_edge else jnp.ones(())
        if has_edge:
            z = z[resampling.systematic(edge_key, ~jnp.isneginf(log_prob(z)) / (kept * num_particles), num_particles)]
        state = sampler.init(z)

        def stage(carry: Any) -> Any:
            state, log_normalizer, count = carry
            state, info = sampler.step(jax.random.fold_in(stage_key, count), state)
            return state, log_normalizer + info.log_likelihood_increment, count + 1

        goes_on = lambda carry: (carry[0].tempering_param < 1) & (carry[2] < max_stages)
        first = state._replace(tempering_param=jnp.zeros_like(state.weights[0])), jnp.log(kept).astype(z.dtype), 0
        state, log_normalizer, count = jax.lax.while_loop(goes_on, stage, first)
        last, info = sampler.step(last_key, state)  # resamples by the last weights, and moves at temperature 1
        acceptance = jnp.mean(info.update_info.acceptance_rate)
        return last.particles, log_normalizer, acceptance, count, state.tempering_param

    z, log_normalizer, acceptance, count, temperature = jax.vmap(run)(jax.random.split(key, num_runs))
    x = flow.decode(variables, z, context)[0]
    return z, Particles(x, log_normalizer, acceptance, count), temperature

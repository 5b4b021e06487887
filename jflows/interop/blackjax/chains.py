"""Markov chains: NUTS in the latent space of a flow, and Metropolis-Hastings that proposes samples of a flow."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from blackjax import diagnostics
from blackjax.adaptation.base import get_filter_adapt_info_fn

from jflows.errors import InvalidValueError, check_key
from jflows.flows import Flow
from jflows.interop.blackjax import target
from jflows.ops.domain import REALS
from jflows.options import AtLeastTwo, Fraction, Option, checked
from jflows.typing import Array, Key, Variables

NumDraws = Annotated[int, Option("Draws of each chain that are kept; diagnostics need at least 4.", low=4)]
NumWarmup = Annotated[int, Option("Steps of each chain before, in which step size and mass are adapted.", low=20)]


class Chains(NamedTuple):
    """Samples of several Markov chains, and what tells whether they can be trusted.

    Attributes:
      x: the samples, [chains, draws, *event_shape].
      acceptance: mean acceptance probability of each chain, [chains].
      divergences: number of draws whose trajectory lost its energy, [chains]; 0 without trajectories.
      ess: effective sample size of all chains together, by ranks: [*event_shape].
      rhat: the larger of the rank-normalised split R-hat of values and of their spread, [*event_shape]; above 1.01 the
        chains have not mixed.
    """

    x: Array
    acceptance: Array
    divergences: Array
    ess: Array
    rhat: Array


@checked
def nuts(
    log_density: Callable[..., Array],
    flow: Flow,
    variables: Variables,
    key: Key,
    *,
    num_chains: AtLeastTwo = 4,
    num_draws: NumDraws = 1000,
    num_warmup: NumWarmup = 500,
    target_acceptance: Fraction = 0.8,
    context: Array | None = None,
) -> Chains:
    """The no-U-turn sampler in the latent space of a flow, where the density is close to the base's.

    Step size and a diagonal mass are adapted by windows for each chain. Chains start from samples of the flow.

    Source: Hoffman et al. 2019, arXiv:1903.03704; the sampler and its adaptation are BlackJAX's.

    Args:
      log_density: see `pulled_back`.
      key: typed key; the rest of the arguments before are those of `pulled_back`.
      num_chains: chains side by side; R-hat needs at least 2.
      num_draws: draws of each chain that are kept.
      num_warmup: steps of each chain before, in which step size and mass are adapted.
      target_acceptance: acceptance probability that the step size aims at; a larger one takes smaller steps, and loses
        fewer trajectories to sharp corners.
      context: one context, [*context_shape], or None.
    Raises:
      InvalidTypeError, InvalidValueError: for the reasons given at `pulled_back`; if the density is finite at no sample
        of the flow, or chains leave for infinity, as they do for a density without a finite integral; if the base is
        not a density over all real numbers.
    """
    target.check("nuts", log_density, flow)
    check_key("nuts", key)
    if flow.base.domain != REALS:
        rule, fix = "must have a base over all real numbers", "Use StandardNormal."
        raise InvalidValueError("nuts", "flow", rule, f"{type(flow.base).__name__} over {flow.base.domain}", fix)
    start_key, run_key = jax.random.split(key)
    start, _ = target.starts("nuts", log_density, flow, variables, start_key, num_chains, context)
    sizes = (num_draws, num_warmup)
    z, chains = _run_nuts(log_density, flow, variables, run_key, start, context, sizes, target_acceptance)
    target.check_near("nuts", z)
    return chains


@checked
def independence_metropolis(
    log_density: Callable[..., Array],
    flow: Flow,
    variables: Variables,
    key: Key,
    *,
    num_chains: AtLeastTwo = 4,
    num_draws: NumDraws = 1000,
    context: Array | None = None,
) -> Chains:
    """Metropolis-Hastings that proposes independent samples of a flow.

        accept x' instead of x with probability min(1, w(x') / w(x)),   w = p~ / q

    It needs no gradient, and moves between separate modes that the flow knows. Where the flow's tails are lighter than
    those of the density, a chain that gets there stays for long, which R-hat and the acceptance show.

    Source: Tierney 1994, Annals of Statistics 22, 1701-1762, section 2.3.3; the sampler is BlackJAX's `irmh`.

    Args:
      log_density: see `pulled_back`; the rest of the arguments are those of `nuts`.
    Raises:
      InvalidTypeError, InvalidValueError: for the reasons given at `pulled_back`, or if the density is finite at no
        sample of the flow.
    """
    target.check("independence_metropolis", log_density, flow)
    check_key("independence_metropolis", key)
    start_key, run_key = jax.random.split(key)
    start, _ = target.starts("independence_metropolis", log_density, flow, variables, start_key, num_chains, context)
    return _run_metropolis(log_density, flow, variables, run_key, start, context, num_draws)


def _chains(flow: Flow, variables: Variables, z: Array, context: Array | None, info: Any, diverges: bool) -> Chains:
    x = flow.decode(variables, z, context)[0]
    divergences = jnp.sum(info.is_divergent, axis=1) if diverges else jnp.zeros(len(x), int)
    acceptance = jnp.mean(info.acceptance_rate, axis=1)
    return Chains(x, acceptance, divergences, diagnostics.ess_bulk(x), diagnostics.rhat(x))


@functools.partial(jax.jit, static_argnames=("log_density", "flow", "sizes"))
def _run_nuts(
    log_density: Any,
    flow: Flow,
    variables: Variables,
    key: Key,
    start: Array,
    context: Array | None,
    sizes: Any,
    rate: Any,
) -> tuple[Array, Chains]:
    num_draws, num_warmup = sizes
    log_prob = target.pull_back("nuts", log_density, flow, variables, context)
    nothing = get_filter_adapt_info_fn()
    warmup: Any = blackjax.window_adaptation(
        blackjax.nuts, log_prob, target_acceptance_rate=rate, adaptation_info_fn=nothing
    )
    kernel = blackjax.nuts.build_kernel()

    def chain(key: Key, start: Array) -> tuple[Array, Any]:
        warmup_key, draw_key = jax.random.split(key)
        (state, found), _ = warmup.run(warmup_key, start, num_warmup)

        def step(state: Any, key: Key) -> tuple[Any, Any]:
            state, info = kernel(key, state, log_prob, found["step_size"], found["inverse_mass_matrix"])
            return state, (state.position, info)

        return jax.lax.scan(step, state, jax.random.split(draw_key, num_draws))[1]

    z, info = jax.vmap(chain)(jax.random.split(key, len(start)), start)
    return z, _chains(flow, variables, z, context, info, True)


@functools.partial(jax.jit, static_argnames=("log_density", "flow", "num_draws"))
def _run_metropolis(
    log_density: Any, flow: Flow, variables: Variables, key: Key, start: Array, context: Array | None, num_draws: int
) -> Chains:
    log_prob = target.pull_back("independence_metropolis", log_density, flow, variables, context)
    base = target.base_log_prob(flow, variables, context)
    sampler: Any = blackjax.irmh(
        log_prob,
        lambda key: flow.sample_latent(variables, key, (), context),
        lambda _, reached: base(reached.position),
    )

    def chain(key: Key, start: Array) -> tuple[Array, Any]:
        def step(state: Any, key: Key) -> tuple[Any, Any]:
            state, info = sampler.step(key, state)
            return state, (state.position, info._replace(proposal=None))

        return jax.lax.scan(step, sampler.init(start), jax.random.split(key, num_draws))[1]

    z, info = jax.vmap(chain)(jax.random.split(key, len(start)), start)
    return _chains(flow, variables, z, context, info, False)

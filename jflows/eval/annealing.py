"""Annealed importance sampling: samples of a flow are moved towards a density before they are weighed.

Read next: `jflows/eval/importance.py`, which weighs samples as they are.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jflows.errors import InvalidValueError
from jflows.eval.importance import ImportanceSamples, check_exact, log_density_at, sample_keys, summarised
from jflows.flows import Flow
from jflows.ops import value_and_gradient, varying
from jflows.options import AtLeastTwo, Count, checked
from jflows.typing import Array, Key, Shape, Variables

ACCEPTED = 0.65  # share of proposals accepted at the best step size of HMC in many dimensions (Beskos et al. 2013)
FIRST_STEP = 0.3  # leapfrog step, in deviations of the samples of the flow, before any is adapted
PILOTS = 64  # most samples of the runs that only adapt step sizes
NUM_PILOT_RUNS = 12
PILOT_STREAM = 0x70696C6F


class Tuning(NamedTuple):
    """What the walks have learnt of the density.

    Attributes:
      log_step: log of the leapfrog step at each level, [num_levels].
      scale: deviation of each element of an event, in units of which steps are taken, [*event_shape].
    """

    log_step: Array
    scale: Array


class Walked(NamedTuple):
    """The end of a walk.

    Attributes:
      x: [*batch, *event_shape].
      log_weights: in nats, [*batch].
      log_q: log density of the flow at x, [*batch].
      accepted: mean probability with which proposals were accepted at each level, [num_levels].
      failed: number of starts where the density is finite and its gradient is not.
      flat: whether the gradient is 0 at all starts, and the density not the same.
    """

    x: Array
    log_weights: Array
    log_q: Array
    accepted: Array
    failed: Array
    flat: Array


class _Place(NamedTuple):
    """Where a chain stands, with both log densities and their gradients there."""

    x: Array
    log_q: Array
    log_p: Array
    of_q: Array
    of_p: Array


@dataclasses.dataclass(frozen=True)
class Walk:
    """A walk from a flow q towards p^a q^(1-a), by HMC at densities between them.

        log pi_k(x) = (1 - a b_k) log q(x) + a b_k log p~(x),   b_k = k / (K + 1)       a = `power`
        log w = sum_(k=0)^K log pi_(k+1)(x_k) - log pi_k(x_k) = a / (K + 1) sum_(k=0)^K log p~(x_k) - log q(x_k)

    x_0 is drawn from q, and x_k from x_(k-1) by one transition that leaves pi_k as it is, for k = 1..K. The mean weight
    estimates the integral of p~^a q^(1-a) without bias. A proposal where a density is 0, infinite or NaN is refused.

    Args:
      num_levels: K >= 1.
      num_steps: leapfrog steps of one transition.
      power: a; 1 walks to p, and 2 to p^2 / q.
    """

    num_levels: int
    num_steps: int
    power: float = 1.0

    def first_tuning(self, event_shape: Shape, dtype: Any) -> Tuning:
        """The tuning before any walk: shorter steps in more dimensions."""
        first = math.log(FIRST_STEP) - 0.25 * math.log(math.prod(event_shape))
        return Tuning(jnp.full((self.num_levels,), first, dtype), jnp.ones(event_shape, dtype))

    def __call__(
        self, log_q: Callable[[Array], Array], log_p: Callable[[Array], Array], keys: Key, x: Array, tuning: Tuning
    ) -> Walked:
        """Walks from x, drawn from q: [*batch, *event_shape], with one key each, [*batch]."""
        at = functools.partial(_place, log_q, log_p)
        first = at(x)
        batch = tuple(range(keys.ndim, x.ndim))

        def level(carry: tuple[_Place, Array], given: tuple[Array, Array]) -> tuple[tuple[_Place, Array], Array]:
            place, log_weights = carry
            number, log_step = given
            b = (self.power / (self.num_levels + 1) * number).astype(x.dtype)
            place, probability = self._transition(at, keys, number, b, jnp.exp(log_step) * tuning.scale, place)
            return (place, log_weights + place.log_p - place.log_q), jnp.mean(probability)

        numbers = jnp.arange(1, self.num_levels + 1)
        start = (first, first.log_p - first.log_q)
        (last, total), accepted = varying.scan(level, start, (numbers, tuning.log_step))
        finite = jnp.isfinite(first.log_p) & jnp.isfinite(first.log_q)
        right = jnp.all(jnp.isfinite(first.of_p) & jnp.isfinite(first.of_q), axis=batch)
        varies = jnp.max(first.log_p, initial=-jnp.inf, where=finite) > jnp.min(
            first.log_p, initial=jnp.inf, where=finite
        )
        flat = varies & jnp.all(first.of_p == 0)
        weights = self.power / (self.num_levels + 1) * total
        return Walked(last.x, weights, last.log_q, accepted, jnp.sum(finite & ~right), flat)

    def _transition(
        self, at: Callable[[Array], _Place], keys: Key, number: Array, b: Array, step: Array, place: _Place
    ) -> tuple[_Place, Array]:
        """One step of HMC that leaves pi_k as it is, and the probability with which its proposal was accepted.

        Source: Neal 2011, arXiv:1206.1901, section 3.2, in coordinates divided by `step`.
        """
        event_ndims = place.x.ndim - keys.ndim
        axes = tuple(range(keys.ndim, place.x.ndim))
        momentum, uniform = _noise(keys, number, place.x)
        force = lambda place: step * _mixed(b, place.of_q, place.of_p)
        energy = lambda place, momentum: _log_between(b, place) - 0.5 * jnp.sum(momentum**2, axis=axes)

        def leap(_: Array, carry: tuple[_Place, Array]) -> tuple[_Place, Array]:
            there, momentum = carry
            momentum = momentum + 0.5 * force(there)
            there = at(there.x + step * momentum)
            return there, momentum + 0.5 * force(there)

        end, turned = varying.fori_loop(0, self.num_steps, leap, (place, momentum))
        change = energy(end, turned) - energy(place, momentum)
        probability = jnp.where(jnp.isfinite(_log_between(b, end)), jnp.exp(jnp.minimum(change, 0)), 0)
        probability = jnp.where(jnp.isnan(probability), 0, probability)
        taken = uniform < probability
        broad = taken.reshape(*taken.shape, *(1,) * event_ndims)
        choose = lambda new, old: jnp.where(taken if new.ndim == taken.ndim else broad, new, old)
        return jax.tree.map(choose, end, place), probability


def tuned(tuning: Tuning, accepted: Array, x: Array, rate: float | Array) -> Tuning:
    """The tuning after a walk: log steps move by rate * (accepted - 0.65), and the scale is the deviation of x.

    Source: Andrieu and Thoms 2008, Statistics and Computing 18, 343-373, section 5.1.2 (coerced acceptance).

    Args:
      x: samples of the flow, [num, *event_shape].
    """
    deviation = jnp.std(x, axis=0)
    usable = jnp.isfinite(deviation) & (deviation > 0)
    return Tuning(tuning.log_step + rate * (accepted - ACCEPTED), jnp.where(usable, deviation, tuning.scale))


@checked
def annealed_importance_sample(
    flow: Flow,
    variables: Variables,
    log_density: Callable[..., Array],
    key: Key,
    num_samples: AtLeastTwo,
    context: Array | None = None,
    batch_size: Count = 1000,
    num_levels: Count = 8,
    num_steps: Count = 5,
) -> ImportanceSamples:
    """Draws samples of a flow, moves them towards a density p~ by HMC, and weighs them: annealed importance sampling.

    Each sample walks through `num_levels` densities between the flow and p~, with one transition of Hamiltonian Monte
    Carlo at each; its weight is the product of the ratios of neighbouring densities along the walk. More levels give
    more even weights, and time grows in proportion. With levels enough, the result is exact for any flow that has
    samples near every mode; modes that are far from all samples stay unseen, as in `importance_sample`.

    Step sizes are adapted in 12 runs of at most 64 samples first, and stay the same for all samples that count, so
    that the mean weight is unbiased. Each sample costs num_levels * num_steps + 1 gradients of the flow's log density
    and of `log_density`. The result has no derivatives: proposals are accepted or not, and walks are drawn anew.

    Source: Neal 2001, Statistics and Computing 11, 125-139, eqs. 3-11 (arXiv:physics/9803008). Differs: the levels are
    even steps of b = k / (num_levels + 1), as in Midgley et al. 2023, arXiv:2208.01893.

    Args:
      log_density: `log_density(x)`, or `log_density(x, context)` if the flow takes a context: nats, up to a constant,
        from x [num, *event_shape] and context [num, *context_shape] to [num]; differentiable in x by JAX. Compiled once
        per function object.
      key: typed key; every sample has its own, so that the result does not depend on `batch_size`.
      num_samples: number of samples for each context, N >= 2.
      context: [*batch, *context_shape] or None.
      batch_size: number of samples per call for each context, which bounds the memory.
      num_levels: number of densities between the flow and p~.
      num_steps: leapfrog steps of the transition at each level.
    Returns:
      `ImportanceSamples`: the ends of the walks, no draws of the flow any more, their weights, and diagnostics.
    Raises:
      InvalidTypeError, InvalidValueError: as for `importance_sample`; if `log_density` cannot be differentiated, its
        gradient is not finite where it is finite itself, or its gradient is 0 at all samples while its values differ.
    Example:
      >>> import jflows
      >>> flow = jflows.flows.normal((2,))
      >>> far = lambda x: -2 * ((x - 3) ** 2).sum(-1)  # a normal around 3 of deviation 1/2
      >>> result = annealed_importance_sample(flow, flow.init(jax.random.key(0)), far, jax.random.key(1), 2000)
      >>> bool(abs(result.log_normalizer - math.log(math.pi / 2)) < 4 * result.standard_error)
      True
    """
    where = "annealed_importance_sample"
    check_exact(where, flow, log_density, key)
    walk = Walk(num_levels, num_steps)
    given = (flow, variables, log_density, context, walk)
    tuning = _pilot(where, given, jax.random.fold_in(key, PILOT_STREAM), min(num_samples, PILOTS))
    keys = sample_keys(flow, key, num_samples, context)
    starts = range(0, num_samples, batch_size)
    parts = [_walked(*given, keys[start : start + batch_size], tuning)[1] for start in starts]
    x, log_weights = (jnp.concatenate(part) for part in zip(*((p.x, p.log_weights) for p in parts), strict=True))
    return summarised(where, x, log_weights)


def _pilot(where: str, given: tuple, key: Key, num: int) -> Tuning:
    """The step sizes and scales that a few walks find."""
    flow, variables, log_density, context, walk = given
    keys = sample_keys(flow, key, num, context)
    like = jax.eval_shape(lambda: flow.sample(variables, keys, keys.shape[:1], context))
    check_differentiable(where, functools.partial(log_density_at, where, flow, log_density, context=context), like)
    tuning = walk.first_tuning(flow.event_shape, like.dtype)
    for run in range(NUM_PILOT_RUNS):
        run_keys = jax.vmap(lambda k: jax.random.fold_in(k, run))(keys.reshape(-1)).reshape(keys.shape)  # noqa: B023
        x, walked = _walked(flow, variables, log_density, context, walk, run_keys, tuning)
        if run == 0:
            check_gradient(where, walked)
        rate = 2.0 / math.sqrt(run + 1)
        tuning = tuned(tuning, walked.accepted, x.reshape(-1, *flow.event_shape), rate)
    return tuning


@functools.partial(jax.jit, static_argnames=("flow", "log_density", "walk"))
def _walked(
    flow: Flow,
    variables: Variables,
    log_density: Callable[..., Array],
    context: Array | None,
    walk: Walk,
    keys: Key,
    tuning: Tuning,
) -> tuple[Array, Walked]:
    """Samples of the flow, and where they end."""
    x = flow.sample(variables, keys, keys.shape[:1], context)
    log_q = lambda x: flow.log_prob(variables, x, context)
    log_p = lambda x: log_density_at("annealed_importance_sample", flow, log_density, x, context)
    return x, walk(log_q, log_p, keys, x, tuning)


def check_differentiable(where: str, function: Callable[[Array], Array], x: Any) -> None:
    """Raises `InvalidValueError` if JAX cannot differentiate `log_density` at events like x; nothing is computed."""
    jax.eval_shape(function, x)  # what fails here, fails without derivatives too, in its own words
    try:
        jax.eval_shape(functools.partial(value_and_gradient, function), x)
    except Exception as error:  # JAX raises several types, by the operation that has no derivative
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:160].rstrip('.')}"
        fix = "Write it in jax.numpy, give a callback a jax.custom_vjp, or call importance_sample."
        raise InvalidValueError(where, "log_density", "must be differentiable in x by JAX", got, fix) from error


def check_gradient(where: str, walked: Walked) -> None:
    """Raises `InvalidValueError` if gradients at samples of the flow are of no use."""
    if isinstance(walked.failed, Tracer):
        return  # proposals are refused, which weights show
    rule = "must have a finite gradient where it is finite"
    if walked.failed:
        got = f"{int(walked.failed)} of {walked.log_weights.size} samples of the flow where it has none"
        raise InvalidValueError(where, "log_density", rule, got, "Look at jax.grad of it there: a root or a log of 0?")
    if walked.flat:
        rule, got = "must have a gradient that leads somewhere", "values that differ, and 0 for all gradients"
        fix = "Look for rounding, comparisons or lax.stop_gradient in it, or call importance_sample."
        raise InvalidValueError(where, "log_density", rule, got, fix)


def _place(log_q: Callable[[Array], Array], log_p: Callable[[Array], Array], x: Array) -> _Place:
    q, of_q = value_and_gradient(log_q, x)
    p, of_p = value_and_gradient(log_p, x)
    return _Place(x, q, p, of_q, of_p)


def _mixed(b: Array, of_q: Array, of_p: Array) -> Array:
    return (1 - b) * of_q + b * of_p


def _log_between(b: Array, place: _Place) -> Array:
    """log pi_k, -inf where one of the two densities is 0, infinite or NaN."""
    fine = jnp.isfinite(place.log_q) & jnp.isfinite(place.log_p)
    return jnp.where(fine, _mixed(b, place.log_q, place.log_p), -jnp.inf)


def _noise(keys: Key, number: Array, like: Array) -> tuple[Array, Array]:
    """Momenta N(0, I) of the shape of x, and uniform numbers [*batch], from the key of each chain."""
    event_shape = like.shape[keys.ndim :]

    def draw(key: Key) -> tuple[Array, Array]:
        for_momentum, for_choice = jax.random.split(jax.random.fold_in(key, number))
        return jax.random.normal(for_momentum, event_shape, like.dtype), jax.random.uniform(for_choice, (), like.dtype)

    momentum, uniform = jax.vmap(draw)(keys.reshape(-1))
    return momentum.reshape(like.shape), uniform.reshape(keys.shape)

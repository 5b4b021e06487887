"""Importance sampling with a flow as the proposal: how close it is to a density known up to a constant."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jflows.errors import InvalidTypeError, InvalidValueError, check_key, kind_of
from jflows.eval.defensive import Defensive
from jflows.flows import Flow
from jflows.flows.dequantize import example_keys
from jflows.options import AtLeastTwo, Count, checked
from jflows.typing import Array, Key, Shape, Variables

SHARE_ERRORS, SHARE_ROUNDING = 6.0, 1e-3  # standard errors, and a relative error, of the share of a wide density
FEWEST_WIDE = 30  # samples of a wide density; the standard error of fewer is not to be relied on
MIN_TAIL = 5  # weights; a shape fitted to fewer says nothing


class ImportanceSamples(NamedTuple):
    """Samples, their weights against a density, and diagnostics of these weights, for each context if any.

    Attributes:
      x: the samples, [num_samples, *batch, *event_shape].
      log_weights: log p~(x) - log q(x) in nats, q being the density that the samples come from, [num_samples, *batch].
      ess: effective sample size, (sum w)^2 / sum w^2, in 1..num_samples: [*batch].
      log_normalizer: log of the mean weight, which estimates log of the integral of p~, in nats: [*batch].
      standard_error: standard error of `log_normalizer` by the spread of the weights; it is too small if the flow
        misses the tail of the density. [*batch].
      pareto_k: shape of the weights' tail, see `pareto_k`; above 0.7 the other numbers cannot be trusted. [*batch].
    """

    x: Array
    log_weights: Array
    ess: Array
    log_normalizer: Array
    standard_error: Array
    pareto_k: Array

    @property
    def ess_fraction(self) -> Array:
        """`ess` / num_samples: 1 if the flow is the density."""
        return self.ess / len(self.log_weights)

    def expectation(self, values: Array) -> Array:
        """The mean of a function under the normalised density, by self-normalised weights.

        Args:
          values: values of the function at `x`, [num_samples, *batch, ...].
        Returns:
          [*batch, ...].
        """
        weights = jax.nn.softmax(self.log_weights, axis=0)
        return jnp.sum(weights.reshape(*weights.shape, *(1,) * (values.ndim - weights.ndim)) * values, axis=0)


@checked
def importance_sample(
    flow: Flow,
    variables: Variables,
    log_density: Callable[..., Array],
    key: Key,
    num_samples: AtLeastTwo,
    context: Array | None = None,
    batch_size: Count = 1000,
    defensive: Defensive | None = None,
) -> ImportanceSamples:
    """Draws x ~ q from a flow and weighs it by a density p~ that need not be normalised.

        w = p~(x) / q(x),   ESS = (sum w)^2 / sum w^2,   log Z = log 1/N sum w,   standard error = sqrt(1/ESS - 1/N)
        with a defensive density h, of which A = round(a N) of the N samples come:
        w = p~(x) / ((1 - A/N) q(x) + A/N h(x)) <= N/A p~(x) / h(x)

    The standard error is that of the logarithm to first order, with N - 1 in the variance; with a defensive density,
    the variances of the two groups of samples add up. If the flow misses a part of p~, it never draws samples there,
    and no number here shows it: compare log Z with another estimate if you can, or pass a defensive density that is
    wide enough.

    Source: Owen 2013, "Monte Carlo theory, methods and examples", chapter 9; `jflows.eval.Defensive` names those of the
    defensive mixture.

    Args:
      log_density: `log_density(x)`, or `log_density(x, context)` if the flow takes a context: nats, up to a constant,
        from x [num, *event_shape] and context [num, *context_shape] to [num]. Compiled once per function object.
      key: typed key; every sample has its own, so that the result does not depend on `batch_size`.
      num_samples: number of samples for each context, N >= 2.
      context: [*batch, *context_shape] or None.
      batch_size: number of samples per call for each context, which bounds the memory.
      defensive: a wide density from which a share of the samples come, the last of the result, so that weights are
        bounded where the flow is too narrow. None takes all of them from the flow.
    Raises:
      InvalidTypeError, InvalidValueError: if `log_density` or `defensive` is not of this kind, a number is too small,
        the flow dequantizes or only estimates its log-det, JAX cannot trace a density, the share of the defensive
        density leaves fewer than two samples to it or to the flow, or weights say nothing, as all are 0, or one of them
        or the defensive density is NaN or infinite (which is not checked under `jax.jit`).
    Example:
      >>> import jflows
      >>> flow = jflows.flows.normal((2,))
      >>> result = importance_sample(
      ...     flow, flow.init(jax.random.key(0)), lambda x: -(x**2).sum(-1), jax.random.key(1), 4000
      ... )
      >>> bool(abs(result.log_normalizer - math.log(math.pi)) < 4 * result.standard_error)
      True
    """
    where = "importance_sample"
    check_exact(where, flow, log_density, key)
    if not isinstance(defensive, Defensive | None):
        fix = "Write jflows.eval.widened(flow, variables), or Defensive(sample, log_prob)."
        raise InvalidTypeError(where, "defensive", "must be a Defensive", kind_of(defensive), fix)
    num_wide = 0 if defensive is None else defensive.share_of(where, num_samples)
    keys = sample_keys(flow, key, num_samples, context)
    share = num_wide / num_samples
    weigh = lambda keys, wide: _weigh(flow, variables, log_density, keys, context, defensive, share, wide)
    groups = ((keys[: num_samples - num_wide], False), (keys[num_samples - num_wide :], True))
    parts = [weigh(group[i : i + batch_size], wide) for group, wide in groups for i in range(0, len(group), batch_size)]
    x, log_weights, log_shares = (jnp.concatenate([part[index] for part in parts]) for index in range(3))
    if defensive is not None:
        _check_wide(where, log_shares, num_wide)
    return summarised(where, x, log_weights, num_wide)


def sample_keys(flow: Flow, key: Key, num_samples: int, context: Array | None) -> Key:
    """One key for each sample: [num_samples, *batch], of which the first n do not depend on their number."""
    context_batch = () if context is None else flow.context_batch(context)
    keys = example_keys(key, jnp.arange(num_samples, dtype=jnp.uint32))
    return jax.vmap(lambda k: jax.random.split(k, context_batch))(keys) if context_batch else keys


def summarised(where: str, x: Array, log_weights: Array, num_wide: int = 0) -> ImportanceSamples:
    """Samples and weights with their diagnostics; raises `InvalidValueError` where the weights say nothing."""
    _check_weights(where, log_weights)
    ess, log_normalizer, standard_error = _summary(log_weights, num_wide)
    return ImportanceSamples(x, log_weights, ess, log_normalizer, standard_error, pareto_k(log_weights))


@functools.partial(jax.jit, static_argnames=("flow", "log_density", "defensive", "share", "wide"))
def _weigh(
    flow: Flow,
    variables: Variables,
    log_density: Callable[..., Array],
    keys: Key,
    context: Array | None,
    defensive: Defensive | None,
    share: float,
    wide: bool,
) -> tuple[Array, Array, Array]:
    """Samples of the flow, or of the wide density, their log weights, and log h - log proposal, 0 without h."""
    where = "importance_sample"
    if defensive is not None and wide:
        x = defensive.draw(where, flow, keys, context)
        log_q = flow.log_prob(variables, x, context)
    else:
        x, log_q = flow.sample_and_log_prob(variables, keys, keys.shape[:1], context)
    log_p = log_density_at(where, flow, log_density, x, context)
    if defensive is not None:
        log_h = log_density_at(where, flow, defensive.log_prob, x, context, "defensive.log_prob")
        log_q = jnp.logaddexp(math.log1p(-share) + log_q, math.log(share) + log_h)
        return x, log_p - log_q, jnp.where(jnp.isposinf(log_h), jnp.nan, log_h - log_q)
    return x, log_p - log_q, jnp.zeros_like(log_q)


@functools.partial(jax.jit, static_argnames="num_wide")
def _summary(log_weights: Array, num_wide: int) -> tuple[Array, Array, Array]:
    """ESS, log of the mean weight, and its standard error; the last `num_wide` weights are a group of their own."""
    num = len(log_weights)
    ess = 1 / jnp.sum(jax.nn.softmax(log_weights, axis=0) ** 2, axis=0)
    log_normalizer = jax.nn.logsumexp(log_weights, axis=0) - math.log(num)
    relative = jnp.exp(log_weights - log_normalizer)  # of mean 1
    groups = [group for group in jnp.split(relative, [num - num_wide]) if len(group)]
    variance = sum(len(group) * jnp.var(group, axis=0, ddof=1) for group in groups) / num**2
    return ess, log_normalizer, jnp.sqrt(variance)


def _check_wide(where: str, log_shares: Array, num_wide: int) -> None:
    """Raises `InvalidValueError` if the wide density is NaN or infinite at samples, or not that of its own samples.

    Over samples, the mean of a h / proposal is the share a. An h that is c times the density makes it differ wherever
    both densities have samples, as in Geyer 1994, "Estimating normalizing constants and reweighting mixtures".
    """
    if isinstance(log_shares, Tracer):
        return
    num, wrong = log_shares.size, int(jnp.isnan(log_shares).sum())
    if wrong:
        rule, got = "must not be NaN or inf", f"{wrong} of {num} samples where it is"
        fix = "Give the normalised log density of what defensive.sample draws; where it is 0, it must be -inf."
        raise InvalidValueError(where, "defensive.log_prob", rule, got, fix)
    if num_wide < FEWEST_WIDE:
        return
    _, log_mean, error = _summary(log_shares, num_wide)
    mean = jnp.exp(log_mean)
    off = ~(jnp.abs(mean - 1) <= SHARE_ERRORS * error * mean + SHARE_ROUNDING)  # NaN where it is 0 at all samples
    if jnp.any(off):
        share = num_wide / len(log_shares)
        rule = "must be the normalised log density of what defensive.sample draws"
        seen = float((mean[off][0] if mean.ndim else mean) * share)
        got = f"{seen:.3g} as its mean share of the proposal at the samples, where it must be {share:.3g}"
        raise InvalidValueError(where, "defensive.log_prob", rule, got)


def _check_weights(where: str, log_weights: Array) -> None:
    """Raises `InvalidValueError` if weights are NaN or infinite, or 0 for all samples of a context."""
    if isinstance(log_weights, Tracer):
        return  # what is wrong shows in the numbers themselves
    largest = jnp.max(log_weights, axis=0)  # NaN if one is
    if jnp.all(jnp.isfinite(largest)):
        return
    num, bad = log_weights.size, jnp.isnan(log_weights) | jnp.isposinf(log_weights)
    got = f"{int(bad.sum())} of {num} that are NaN or infinite"
    fix = "Look at log_density(x) at samples of the flow; where the density is 0, it must be -inf."
    if not bad.any():
        got = f"0 for all {len(log_weights)} samples"
        got += " of a context" if largest.ndim else ""
        fix = "Train the flow towards the support of log_density, or pass a wide density as {defensive}."
    raise InvalidValueError(where, "log_density", "must give weights that are finite, and some above 0", got, fix)


@jax.jit
def pareto_k(log_weights: Array) -> Array:
    """The shape k of the generalised Pareto distribution fitted to the largest weights.

        weights have a mean if k < 1 and a variance if k < 1/2; estimates can be trusted up to about k = 0.7

    Source: Vehtari et al. 2015, arXiv:1507.02646: the fit of Zhang and Stephens 2009 to the largest
    min(N/5, 3 sqrt N) weights, and the weak prior at k = 1/2.

    Shapes:
      log_weights: [num, *batch] -> [*batch]; -inf for equal weights, NaN for fewer than 25, which are too few.
    """
    num = len(log_weights)
    tail = min(num // 5, math.ceil(3 * math.sqrt(num)))
    if tail < MIN_TAIL:
        return jnp.full(log_weights.shape[1:], jnp.nan, log_weights.dtype)
    largest = jnp.sort(log_weights, axis=0)[-tail - 1 :]
    scaled = jnp.exp(largest - largest[-1])  # the shape does not depend on the scale
    excess = scaled[1:] - scaled[0]
    quartile = excess[int(tail / 4 + 0.5) - 1]
    num_points = 30 + math.isqrt(tail)
    points = (jnp.arange(num_points, dtype=excess.dtype) + 0.5).reshape(-1, *(1,) * quartile.ndim)
    slopes = 1 / excess[-1] + (1 - jnp.sqrt(num_points / points)) / (3 * quartile)
    shapes = jnp.mean(jnp.log1p(-slopes[:, None] * excess), axis=1)
    profile = tail * (jnp.log(-slopes / shapes) - shapes - 1)
    slope = jnp.sum(jax.nn.softmax(profile, axis=0) * slopes, axis=0)
    shape = jnp.mean(jnp.log1p(-slope * excess), axis=0)
    return jnp.where(quartile == 0, -jnp.inf, (tail * shape + 10 * 0.5) / (tail + 10))


def check_exact(where: str, flow: object, log_density: object, key: object) -> None:
    """Raises unless `log_density` is a function, `flow` a flow with an exact density, and `key` a typed key."""
    check_log_density(where, log_density)
    check_flow(where, flow)
    check_key(where, key)
    assert isinstance(flow, Flow)
    check_exact_density(where, flow)


def check_exact_density(where: str, flow: Flow) -> None:
    """Raises `InvalidValueError` if a flow dequantizes, or only estimates its log-det."""
    if flow.dequantize is not None or flow.estimates_log_det:
        got = "one that dequantizes" if flow.dequantize is not None else "an estimated log-det"
        raise InvalidValueError(where, "flow", "must have an exact density", got)


def check_flow(where: str, flow: object) -> None:
    """Raises `InvalidTypeError` unless `flow` can be sampled with its density, one key for each sample."""
    if not isinstance(flow, Flow):
        raise InvalidTypeError(where, "flow", "must be a Flow", kind_of(flow))


def check_log_density(where: str, log_density: object) -> None:
    """Raises `InvalidTypeError` unless `log_density` is a function."""
    if not callable(log_density):
        fix = "The density of a flow is lambda x: flow.log_prob(variables, x)."
        rule = "must be a function of x, or of x and context"
        raise InvalidTypeError(where, "log_density", rule, kind_of(log_density), fix)


def log_density_at(
    where: str,
    flow: Flow,
    log_density: Callable[..., Array],
    x: Array,
    context: Array | None,
    argument: str = "log_density",
) -> Array:
    """Calls `log_density` with one batch axis, and raises unless it gives one number per event.

    Shapes:
      x: [*batch, *event_shape]; context: [..., *context_shape], its leading axes broadcast to the batch -> [*batch].
    """
    batch_shape = x.shape[: x.ndim - len(flow.event_shape)]
    rows = x.reshape(-1, *flow.event_shape)
    given = [rows]
    if context is not None:
        event: Shape = flow.context_shape or ()
        given.append(jnp.broadcast_to(context, (*batch_shape, *event)).reshape(-1, *event))
    try:
        values = log_density(*given)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        rule, fix = "must be a function that JAX can trace", "Write it in jax.numpy, or call it by jax.pure_callback."
        raise InvalidTypeError(where, argument, rule, f"{type(error).__name__} inside of it", fix) from error
    shape, dtype = jnp.shape(values), jnp.result_type(values)
    if shape != (len(rows),) or not jnp.issubdtype(dtype, jnp.floating):
        rule = f"must return one float per event, shape ({len(rows)},), for x of shape {rows.shape}"
        fix = "Sum it over the event; a function of one event goes through jax.vmap."
        raise InvalidValueError(where, argument, rule, f"shape {shape}, {dtype}", fix)
    return values.reshape(batch_shape)

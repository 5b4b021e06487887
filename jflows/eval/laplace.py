"""A posterior over the parameters of a trained flow, and how uncertain it leaves latents and log densities.

`laplace` measures the curvature at the trained parameters, `LaplacePosterior.draw` draws others from it, and
`embedding_uncertainty` says how much latents and log densities of rows move with them.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.latent_tests.flows import check_one_flow, check_rows
from jflows.flows import Flow
from jflows.flows.dequantize import example_keys
from jflows.ops import varying
from jflows.options import AtLeastTwo, Option, Positive, checked
from jflows.typing import Array, Batch, Key, Variables

CHUNK = 32  # rows whose gradients are held at once
LEAST_PRIOR, MOST_PRIOR = 1e-6, 1e8  # precisions among which the marginal likelihood chooses

Select = Callable[[str], bool]


class LaplacePosterior(NamedTuple):
    """Independent normals for all parameters, at the trained ones; made by `laplace`.

    Attributes:
      variables: the flow's collections, whose "params" are the means.
      deviation: the standard deviations, of the structure of "params"; 0 for parameters that were not selected.
      prior_precision: the precision of the normal prior N(0, 1 / prior_precision) of each selected parameter.
      num_params: number of selected parameters.
      num_rows: number of rows that the posterior stands for.
    """

    variables: Variables
    deviation: Any
    prior_precision: float
    num_params: int
    num_rows: float

    def draw(self, key: Key, scale: float | Array = 1.0) -> Variables:
        """The flow's collections with parameters drawn from the posterior: mean + scale * deviation * N(0, 1).

        Args:
          scale: factor of the deviations; 1 is the posterior itself.
        """
        means, tree = jax.tree.flatten(self.variables["params"])
        keys = jax.random.split(key, len(means))
        drawn = [
            mean + scale * deviation * jax.random.normal(own, jnp.shape(mean), jnp.result_type(mean))
            for mean, deviation, own in zip(means, jax.tree.leaves(self.deviation), keys, strict=True)
        ]
        return {**self.variables, "params": jax.tree.unflatten(tree, drawn)}


class Uncertainty(NamedTuple):
    """How much rows move with parameters that are drawn from a posterior, see `embedding_uncertainty`.

    Attributes:
      latent: [num], the root mean square over dimensions of the deviation of the latent over draws.
      log_prob: [num], the deviation of log p(x) over draws, in nats.
      log_probs: [num_draws, num], log p(x) by each draw, in nats; `jflows.eval.ood.waic` takes them as an ensemble.
    """

    latent: np.ndarray
    log_prob: np.ndarray
    log_probs: np.ndarray


@checked
def laplace(
    flow: Flow,
    variables: Variables,
    batches: Iterable[Batch],
    key: Key,
    *,
    num_rows: Annotated[float | None, Option(above=0)] = None,
    prior_precision: Positive | None = None,
    select: Select | None = None,
) -> LaplacePosterior:
    """The diagonal Laplace approximation of the posterior over parameters, around the trained ones.

        precision_i = prior_precision + N mean over rows of (d log p(x) / d theta_i)^2

    The mean of squares is the diagonal of the empirical Fisher information. It is the curvature only where the flow
    fits its data, and correlations of parameters are left out, so that deviations are those of each parameter with all
    others held. Without a prior precision, the one of largest marginal likelihood is taken,

        P/2 log a - a/2 |theta|^2 - 1/2 sum_i log(a + N F_i)          [a: precision, F: Fisher, P: parameters]

    Sources: MacKay 1992, Neural Computation 4, 448-472, sections 3 and 4 (the evidence); Ritter et al. 2018, "A
    scalable Laplace approximation for neural networks", section 3 (the diagonal); Kristiadi et al. 2020,
    arXiv:2002.10118 (the last layer alone).

    Args:
      batches: training rows, see `jflows.eval.evaluate`; rows count by their weights, whose mean is 1.
      key: key of the noise of dequantization.
      num_rows: N; None takes the number of rows in the batches, which may be a part of the training rows.
      prior_precision: the precision of the prior; a larger one keeps parameters that rows say nothing of nearer
        to the trained ones.
      select: which parameters have a posterior, given their paths such as "bijector/steps/layers/conditioner/output/
        kernel"; all others stay as they are. None selects all.
    Raises:
      InvalidTypeError: if `select` is no function.
      InvalidValueError: if it selects nothing, there are no rows, or a gradient is not finite.
    """
    if select is not None and not callable(select):
        fix = 'Write a function of a path, such as lambda path: "output" in path.'
        raise InvalidTypeError("laplace", "select", "must be a function of a path", kind_of(select), fix)
    check_one_flow("laplace", flow)
    chosen = _chosen(variables["params"], select)
    squares, total = _summed_squares(flow, variables, batches, key)
    num = total if num_rows is None else float(num_rows)
    fisher = [leaf * (num / total) for leaf in squares]
    means, tree = jax.tree.flatten(variables["params"])
    parts = [(np.asarray(mean, np.float64), leaf) for mean, leaf, own in zip(means, fisher, chosen, strict=True) if own]
    theta, information = (np.concatenate([np.ravel(each) for each in part]) for part in zip(*parts, strict=True))
    prior = float(prior_precision) if prior_precision is not None else _most_likely_prior(theta, information)
    deviations = [
        jnp.asarray((prior + leaf) ** -0.5 if own else np.zeros(leaf.shape), jnp.result_type(mean))
        for mean, leaf, own in zip(means, fisher, chosen, strict=True)
    ]
    return LaplacePosterior(variables, jax.tree.unflatten(tree, deviations), prior, len(theta), num)


@checked
def embedding_uncertainty(
    flow: Flow,
    posterior: LaplacePosterior,
    batches: Iterable[Batch],
    key: Key,
    *,
    num_draws: AtLeastTwo = 20,
    scale: Positive = 1.0,
) -> Uncertainty:
    """How much the latent and the log density of each row move over draws of the parameters, in the order of rows.

    All draws see the same noise of dequantization, so that nothing but parameters moves.

    Args:
      batches: see `jflows.eval.evaluate`; rows of weight 0 are taken for padding.
      key: key of the draws, and of the noise.
      num_draws: number of draws of the parameters. More make the deviations surer; time grows in proportion.
      scale: see `LaplacePosterior.draw`. Where the diagonal claims too much, draws at 1 make a flow useless.
    """
    check_one_flow("embedding_uncertainty", flow)
    if not isinstance(posterior, LaplacePosterior):
        rule, fix = "must be a LaplacePosterior", "Call laplace(flow, variables, batches, key)."
        raise InvalidTypeError("embedding_uncertainty", "posterior", rule, kind_of(posterior), fix)
    draw_key, noise_key = jax.random.split(key)
    keys, parts = jax.random.split(draw_key, num_draws), []
    for batch in batches:
        found = _moved(flow, posterior.variables, posterior.deviation, batch, keys, noise_key, scale)
        parts.append([np.asarray(each, np.float64)[..., np.asarray(batch.weight) > 0] for each in found])
    check_rows("embedding_uncertainty", parts)
    latent, log_probs = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
    return Uncertainty(latent, log_probs.std(axis=0, ddof=1), log_probs)


def _paths(params: Any) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]
    ]


def _chosen(params: Any, select: Select | None) -> list[bool]:
    names = _paths(params)
    chosen = [select is None or bool(select(name)) for name in names]
    if not any(chosen):
        got = f"none of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "a flow without any"
        raise InvalidValueError("laplace", "select", "must select parameters", got)
    return chosen


def _summed_squares(
    flow: Flow, variables: Variables, batches: Iterable[Batch], key: Key
) -> tuple[list[np.ndarray], float]:
    """The weighted sums over all rows of squared gradients, leaf by leaf in float64, and the sum of weights."""
    squares, total = [], 0.0
    for batch in batches:
        own, count = _squared_gradients(flow, variables, batch, key)
        leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(own)]
        squares = [a + b for a, b in zip(squares, leaves, strict=True)] if squares else leaves
        total += float(count)
    if not total > 0:
        raise InvalidValueError("laplace", "batches", "must hold rows of positive weight", "none")
    for leaf, name in zip(squares, _paths(variables["params"]), strict=True):
        if not np.isfinite(leaf).all():
            rule, fix = "must have finite gradients in all rows", "Leave out rows beyond the support, or train anew."
            raise InvalidValueError("laplace", "batches", rule, f"NaN or infinity for {name}", fix)
    return squares, total


@functools.partial(jax.jit, static_argnames="flow")
def _squared_gradients(flow: Flow, variables: Variables, batch: Batch, key: Key) -> tuple[Any, Array]:
    """The weighted sum over rows of squared gradients of log p, and the sum of weights."""
    keys = example_keys(key, batch.index) if flow.needs_key else None
    weight = jnp.asarray(batch.weight)

    def log_prob(params: Any, x: Array, context: Array | None, own: Key | None) -> Array:
        return flow.log_prob({**variables, "params": params}, x, context, own)

    def squared(row: tuple[Array, Array | None, Key | None, Array]) -> Any:
        x, context, own, w = row
        gradient = jax.grad(log_prob)(variables["params"], x, context, own)
        return jax.tree.map(lambda leaf: jnp.where(w > 0, w * leaf**2, 0.0), gradient)

    # Chunks by hand: `lax.map` alone would hold the squares of all rows.
    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda a, b: a + b.sum(axis=0), total, jax.vmap(squared)(chunk)), None

    num = len(batch.x)
    rows = (batch.x, batch.context, keys, weight)
    whole, start = num // CHUNK * CHUNK, jax.tree.map(jnp.zeros_like, variables["params"])
    chunks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, CHUNK, *leaf.shape[1:]), rows)
    total = varying.scan(add, start, chunks)[0] if whole else start
    if whole < num:
        total = add(total, jax.tree.map(lambda leaf: leaf[whole:], rows))[0]
    return total, weight.sum()


@functools.partial(jax.jit, static_argnames="flow")
def _moved(
    flow: Flow, variables: Variables, deviation: Any, batch: Batch, keys: Key, noise_key: Key, scale: float | Array
) -> tuple[Array, Array]:
    """The deviation of latents [num] over draws, and log densities [num_draws, num]."""
    noise = example_keys(noise_key, batch.index) if flow.needs_key else None
    posterior = LaplacePosterior(variables, deviation, 0.0, 0, 0.0)

    def one(key: Key) -> tuple[Array, Array]:
        drawn = posterior.draw(key, scale)
        z = flow.encode(drawn, batch.x, batch.context, noise)[0].reshape(len(batch.x), -1)
        return z, flow.log_prob(drawn, batch.x, batch.context, noise)

    z, log_probs = jax.lax.map(one, keys)
    return jnp.sqrt(jnp.mean(jnp.var(z, axis=0, ddof=1), axis=-1)), log_probs


def _most_likely_prior(theta: np.ndarray, information: np.ndarray) -> float:
    """The prior precision of largest marginal likelihood, for parameters and N times their Fisher information."""
    from scipy.optimize import minimize_scalar

    squares = float(theta @ theta)

    def loss(log_prior: float) -> float:
        prior = np.exp(log_prior)
        return 0.5 * (prior * squares + np.sum(np.log(prior + information)) - len(theta) * log_prior)

    found: Any = minimize_scalar(loss, bounds=(np.log(LEAST_PRIOR), np.log(MOST_PRIOR)), method="bounded")
    return float(np.exp(found.x))

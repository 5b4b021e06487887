"""`mixture_report`: how well a mixture of flows fits data, which components it uses, and how they agree with labels."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data.reading import check_batch_values
from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.clusters import ClusterScores, ComponentUse, cluster_scores, component_use
from jflows.eval.information import bic
from jflows.flows import MixtureOfFlows
from jflows.flows.dequantize import example_keys
from jflows.flows.mixture_parts import exact_sum
from jflows.ops.numerics import log_mixture
from jflows.options import Count, checked
from jflows.typing import Array, Batch, Key, Variables


class MixtureReport(NamedTuple):
    """The result of `mixture_report`: scores of a mixture on data.

    Attributes:
      elbo, nats: mean lower bound and mean log-likelihood per row, by the weights of rows; they differ by the mean
        KL(q(k | x), p(k | x)).
      use: which components are in use.
      scores: agreement of the most probable component with the labels; None for batches without labels.
      responsibilities: the probabilities of components for each row of positive weight, [num, K].
      num_parameters: the number k of free parameters of the density: those of the components and of a trunk, and K - 1
        of learned weights; the encoder does not count, as log p(x) does not depend on it.
      bic: k ln n - 2 n nats with n rows of positive weight, by `jflows.eval.bic`. It means something for the rows that
        the mixture was trained on.
    """

    elbo: float
    nats: float
    use: ComponentUse
    scores: ClusterScores | None
    responsibilities: np.ndarray
    num_parameters: int
    bic: float


@checked
def mixture_report(
    mixture: MixtureOfFlows,
    variables: Variables,
    batches: Iterable[Batch],
    key: Key | None = None,
    *,
    num_classes: Count | None = None,
    exact: bool = False,
) -> MixtureReport:
    """Computes bound, likelihood, responsibilities, and scores against labels, over all rows.

    Args:
      batches: batches as `jflows.data.eval_batches(data, batch_size, mixture.reading)` makes them. With the reading
        `mixture.reading.with_labels()` they hold labels, which are compared with the clusters and never shown to the
        mixture; labels of -1 are not compared.
      key: key for the noise of mixtures that dequantize; None takes a fixed one.
      num_classes: number of rows of the contingency table; None takes the largest label plus one.
      exact: whether responsibilities are those of the posterior p(k | x) instead of the encoder.
    Raises:
      InvalidTypeError: if `mixture` is not a `MixtureOfFlows`, or data are given instead of batches.
      DataError: if the shape, type or values of a batch do not suit the mixture.
      InvalidValueError: if the components take a context, or there is no row.
    """
    if not isinstance(mixture, MixtureOfFlows):
        raise InvalidTypeError("mixture_report", "mixture", "must be a MixtureOfFlows", kind_of(mixture))
    if mixture.context_shape is not None:
        got = f"context_shape {mixture.context_shape}"
        raise InvalidValueError("mixture_report", "mixture", "must be without a context", got)
    key = jax.random.key(0) if key is None else key
    if not isinstance(batches, Iterable) or hasattr(batches, "shape"):
        fix = "Write jflows.data.eval_batches(data, 1000, mixture.reading.with_labels())."
        raise InvalidTypeError("mixture_report", "batches", "must be batches", kind_of(batches), fix)
    parts, labels = [], []
    for batch in batches:
        reading = mixture.reading if batch.context is None else mixture.reading.with_labels()
        check_batch_values(batch, reading, "mixture_report")
        counts = np.asarray(batch.weight) > 0
        found = *_of_batch(mixture, variables, batch._replace(context=None), key, exact), batch.weight
        parts.append([np.asarray(values)[counts] for values in found])
        if batch.context is not None:
            labels.append(np.asarray(batch.context)[counts])
    if not parts:
        raise InvalidValueError("mixture_report", "batches", "must hold at least one row", "none")
    elbo, nats, responsibilities, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    scores = None
    if labels:
        label, clusters = np.concatenate(labels), responsibilities.argmax(axis=1)
        known = label >= 0
        alike = bool(np.all(weight == 1))
        own = None if alike else weight[known]  # rows that count alike are counted, in whole numbers
        scores = cluster_scores(label[known], clusters[known], num_classes, mixture.num_components, own)
    use = component_use(responsibilities, weight=weight)
    mean = lambda values: float(np.average(values.astype(np.float64), weights=weight))
    free, likelihood = num_parameters(variables), mean(nats)
    found = bic(likelihood, free, len(nats))
    return MixtureReport(mean(elbo), likelihood, use, scores, responsibilities, free, found)


def num_parameters(variables: Variables) -> int:
    """The number of free parameters of a mixture's density, see `MixtureReport`."""
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in variables["params"].items()}
    return sizes.get("components", 0) + sizes.get("trunk", 0) + max(sizes.get("log_weights", 0) - 1, 0)


@functools.partial(jax.jit, static_argnames=("mixture", "exact"))
def _of_batch(
    mixture: MixtureOfFlows, variables: Variables, batch: Batch, key: Key, exact: bool
) -> tuple[Array, Array, Array]:
    keys = example_keys(key, batch.index) if mixture.needs_key else None
    log_joint = mixture.log_joint(variables, batch.x, None, keys)
    log_q = mixture.log_q(variables, batch.x, None, keys, log_joint=log_joint)
    elbo, nats = exact_sum(log_joint, log_q), log_mixture(log_joint)
    return elbo, nats, jax.nn.softmax(log_joint, axis=-1) if exact else jnp.exp(log_q)

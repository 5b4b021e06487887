"""`ShapedLikelihood`: likelihood by a base whose precision follows a schedule, and a penalty on latents of two modes.

What both do, measured: docs/latent.md, "Shaping the latent space in training".
"""

import dataclasses
import math
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows import Density, Flow
from jflows.flows.dequantize import example_keys
from jflows.ops.domain import REALS
from jflows.ops.numerics import EXACT
from jflows.ops.varying import batch_mean, batch_rows
from jflows.options import Option, documented
from jflows.train.losses.base import Loss
from jflows.typing import WRITTEN_IN_TRAINING, Array, Batch, Key, Variables

DIRECTION_STREAM = 0x70726F6A  # folded into the key, so that directions differ from all other noise
NORMAL_KURTOSIS = 3.0


@documented
@dataclasses.dataclass(frozen=True)
class ShapedLikelihood(Loss):
    """-log p(x) under a base at a precision that changes in training, plus a penalty on latents of two modes.

        loss = -[log p_base(m + (z - m) sqrt(t)) + D/2 log t + log|det dz/dx|] + unimodality * U    [nats per event]
        t = start^(1 - s) end^s (geometric) or (1 - s) start + s end (linear),   s = min(step / precision_steps, 1)
        U = mean_j max(0, 3 (n - 1) / (n + 1) - k_j)^2,   k_j = mean_i (p_ij - p_j)^4 / (mean_i (p_ij - p_j)^2)^2,
        p_ij = w_j . z_i,   p_j = mean_i p_ij

    m is the base's mean, and D the number of entries of a latent. The bracket is the log density of the flow whose base
    has the temperature 1 / sqrt(t): N(m, S / t) in the place of N(m, S). Above a precision of 1 the flow is asked to
    put data nearer to the centre, below 1 further out. What is stored and scored is the flow with its own base: if the
    precision does not end at 1, the flow is not fitted to this base, and its likelihood suffers. A schedule over a
    share of a run has that share of its steps.

    U has `projections` directions w_j, uniform on the sphere and drawn anew in each step, and the n rows of a batch.
    The kurtosis of a projection is 1 for two points of equal weight, and 3 for a normal, of which n rows have
    3 (n - 1) / (n + 1) on average. Chance alone gives U about 12 / n, so that small batches see little else, and a
    random direction among many dimensions sees little of two modes. U is added to the loss of each row. It is that of
    the global batch under every `parallel`, and that of a part under `accumulate`; rows count by their weights.

    Sources: Darlington 1970, The American Statistician 24(2) (a low kurtosis as a sign of two modes); Fisher 1930,
    Proceedings of the Royal Society A 130 (its mean for normal rows). Both terms are our own.

    Shapes:
      per row: [batch].
    Raises:
      InvalidTypeError: by `check`, if the flow is not a `Flow`.
      InvalidValueError: if a setting is out of range; by `check`, if the precision changes and the base has no mean, or
        a density of 0 in places.
    """

    precision_start: Annotated[
        float,
        Option(
            "Precision of the base at step 0, as a multiple of its own. Above 1, data are first pulled nearer to the "
            "centre of the latent space than the base asks; below 1, they are first spread further out.",
            above=0,
        ),
    ] = 1.0
    precision_end: Annotated[
        float,
        Option(
            "Precision of the base from step `precision_steps` on. With any other than 1, the flow ends up fitted to "
            "another base than the one it is scored by, which costs likelihood.",
            above=0,
        ),
    ] = 1.0
    precision_steps: Annotated[
        int,
        Option(
            "Number of steps in which the precision goes from its start to its end; after them it stays there.", low=1
        ),
    ] = 1000
    precision_path: Annotated[
        str,
        Option(
            "How the precision changes: geometric multiplies it by the same factor in each step, and linear adds the "
            "same amount, which stays longer at high precisions.",
            choices=("geometric", "linear"),
        ),
    ] = "geometric"
    unimodality: Annotated[
        float,
        Option(
            "Weight of the penalty on projections of latents that are flatter than a normal, as those of two modes "
            "are. More of it costs likelihood; 0 leaves the term out.",
            low=0,
        ),
    ] = 0.0
    projections: Annotated[
        int,
        Option(
            "Number of random directions in latent space along which each step computes the unimodality term. More of "
            "them make the term less noisy, and its time and memory grow in proportion.",
            low=1,
        ),
    ] = 32

    name: ClassVar[str] = "shaped"

    def check(self, flow: Density) -> None:
        """Raises unless the flow is a `Flow` whose base can be given another precision, if one is asked for."""
        self._checked(flow)

    def _checked(self, flow: Density) -> Flow:
        if not isinstance(flow, Flow):
            fix = "Train mixtures by MixtureLoss()."
            raise InvalidTypeError("ShapedLikelihood", "flow", "must be a Flow", kind_of(flow), fix)
        if self._changes_precision and (type(flow.base).mean is Base.mean or flow.base.domain != REALS):
            settings, fix = ("precision_start", "precision_end"), "Set both to 1, or choose another base."
            rule = "must be 1 for a base without a mean, or with a density of 0 in places"
            got = f"{self.precision_start:g} and {self.precision_end:g} with {kind_of(flow.base)}"
            raise InvalidValueError("ShapedLikelihood", settings, rule, got, fix)
        return flow

    @property
    def _changes_precision(self) -> bool:
        return (self.precision_start, self.precision_end) != (1.0, 1.0)

    def precision_at(self, step: Array | int) -> Array:
        """The precision t at a step: a scalar."""
        share = jnp.clip(step / self.precision_steps, 0, 1)
        if self.precision_path == "linear":
            return (1 - share) * self.precision_start + share * self.precision_end
        return jnp.exp((1 - share) * math.log(self.precision_start) + share * math.log(self.precision_end))

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and the updated collections (batch statistics), {} for most flows."""
        flow = self._checked(flow)
        precision = self.precision_at(step) if self._changes_precision else None
        function = lambda module, x, context, key: _at_precision(module, x, context, key, precision)
        keys = example_keys(key, batch.index) if flow.needs_key else None
        mutable = tuple(name for name in WRITTEN_IN_TRAINING if name in variables)
        x, batch_shape = batch.x, flow.check_x(batch.x)
        found, updates = flow.run(variables, function, x, batch_shape, batch.context, keys, mutable, training=True)
        log_prob, z = found
        if not self.unimodality:
            return -log_prob, updates
        directions = directions_at(key, step, self.projections, math.prod(z.shape[1:]), z.dtype)
        return self.unimodality * flatness(z, directions, batch.weight) - log_prob, updates


def _at_precision(
    module: Any, x: Array, context: Array | None, key: Key | None, precision: Array | None
) -> tuple[Array, Array]:
    """The log density under the base at a precision, and the latents; None is the base as it is."""
    if precision is not None:
        return module.log_prob_at_precision(x, context, key, precision)
    z, log_det = module.encode(x, context, key)
    return jnp.where(jnp.isneginf(log_det), -jnp.inf, module.base.log_prob(z, context) + log_det), z


def directions_at(key: Key, step: Array | int, num: int, dim: int, dtype: Any) -> Array:
    """The directions of a step, uniform on the sphere: [num, dim]."""
    drawn = jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, DIRECTION_STREAM), step), (num, dim), dtype)
    return drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)


def flatness(z: Array, directions: Array, weight: Array) -> Array:
    """U of `ShapedLikelihood`: a scalar, 0 if no projection has a kurtosis below that of normal draws.

    Args:
      z: latents [batch, *latent_shape]; on several devices, the rows of one of them.
      directions: [num, dim], of length 1.
      weight: [batch].
    """
    projected = jnp.matmul(z.reshape(len(z), -1), directions.T, precision=EXACT)
    weight = weight[:, None].astype(projected.dtype)
    total = batch_mean(weight)
    mean = batch_mean(weight * projected) / total
    square = (projected - mean) ** 2
    variance = batch_mean(weight * square) / total
    # A batch whose rows all coincide in projection has no kurtosis: its quotient would be 0 / 0.
    safe = jnp.where(variance > 0, variance, 1.0)
    kurtosis = batch_mean(weight * square**2) / total / safe**2
    rows = batch_rows(len(z)) * total**2 / batch_mean(weight**2)  # as many of equal weight
    expected = NORMAL_KURTOSIS * (rows - 1) / (rows + 1)
    return jnp.mean(jnp.where(variance > 0, jnp.maximum(expected - kurtosis, 0), 0) ** 2)

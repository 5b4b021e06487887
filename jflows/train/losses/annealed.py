"""`FlowAnnealedBootstrap`: trains a flow on a density by annealed importance sampling, with a memory of its samples.

Read next: `jflows/eval/annealing.py`, the walks; `jflows/train/step.py`, where a loss recalls its memory.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.annealing import Tuning, Walk, Walked, check_differentiable, check_gradient, tuned
from jflows.eval.importance import check_exact_density, check_flow, check_log_density, log_density_at
from jflows.flows import Density, Flow
from jflows.flows.dequantize import example_keys
from jflows.options import Option
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, PyTree, Variables

NAME = "FlowAnnealedBootstrap"
WALK_STREAM, DRAW_STREAM = 0x77616C6B, 0x64726177
RATE = 0.3  # by which log step sizes follow the share of accepted proposals


class Replay(NamedTuple):
    """The memory of `FlowAnnealedBootstrap`.

    Attributes:
      x: ends of walks, [buffer_size, *event_shape].
      log_weights: log weights against p^2 / q of the flow q that `log_q` is of, -inf for empty places, [buffer_size].
      log_q: log density of the flow when x was last seen, [buffer_size].
      written: int32, number of walks that were stored so far.
      tuning: step sizes of the walks.
    """

    x: Array
    log_weights: Array
    log_q: Array
    written: Array
    tuning: Tuning


@dataclasses.dataclass(frozen=True)
class FlowAnnealedBootstrap(Loss):
    """The alpha = 2 divergence of a density p from a flow q, by annealed importance sampling with a replay buffer.

        D(q) = integral of p(x)^2 / q(x),   gradient = -E_(x ~ p^2/q)[d log q(x) / dparams] times D
        loss = -c log q(x),   x drawn from the buffer in proportion to w,   c = min(q_stored(x) / q(x), max_correction)

    D is the second moment of the importance weights p / q. Its minimum is q = p, and it is large wherever q lacks mass
    that p has: modes are kept which the reverse KL gives up. Samples of p^2/q are made by walks that start from the
    flow and end, weighed, in a buffer. Rows are drawn from the buffer in proportion to their weights, which are brought
    up to date with the flow whenever a row is drawn. As p^2/q has its mass where the flow has too little, each round of
    walks pulls the flow towards what it misses. A few rows that it misses by far can rule a step: set `clip_norm`.

    A step costs one gradient of a row's log density and one more evaluation; each round of walks costs as many
    gradients in x, of the flow and of `log_density`, as levels times leapfrog steps plus one, for each row of a batch.
    A mode that no walk reaches is not found: the flow must begin about as wide as the density.

    The buffer is part of the training state, so that a run resumes bit for bit. A walk whose weight is not finite is
    not drawn. In an ensemble, whose members decide apart, every step pays for the walks.

    Source: Midgley et al. 2023, arXiv:2208.01893, section 3 and algorithm 1. Differs: rows are drawn with replacement
    from strata of the weights, and step sizes of all levels are adapted by Robbins-Monro steps.

    Args:
      log_density: `log_density(x)`: nats, up to a constant, from x [num, *event_shape] to [num]; differentiable in x.
      num_levels: densities between q and p^2/q, at which each walk takes one step of HMC.
      num_steps: leapfrog steps of each.
      refresh_every: steps between two rounds of walks, one walk for each row of a batch.
      buffer_size: walks that the buffer holds.
      max_correction: the largest c.
    Shapes:
      per row: [batch].
    Raises:
      InvalidTypeError, InvalidValueError: if `log_density` is no function or cannot be differentiated; by `check`, if
        the flow dequantizes, estimates its log-det or takes a context; before the first step, if the buffer is smaller
        than a batch, the density is 0 or not finite at the ends of all walks, its gradient is not finite where it is
        finite itself, or its gradient is 0 at all samples while its values differ.
    Example:
      >>> import jflows
      >>> two_modes = lambda x: jnp.logaddexp(*(-4 * jnp.sum((x - m) ** 2, -1) for m in (2.0, -2.0)))
      >>> config = jflows.TrainConfig(steps=20, parallel="none")
      >>> loss = jflows.train.FlowAnnealedBootstrap(two_modes)
      >>> jflows.fit(jflows.realnvp((2,), 2), jflows.data.NoData(), config, loss=loss).step
      20
    """

    log_density: Callable[..., Array]
    num_levels: Annotated[
        int,
        Option(
            "Number of densities between the flow and the target at which samples are moved. More of them make the "
            "weights more even, and walks cost more in proportion.",
            low=1,
        ),
    ] = 4
    num_steps: Annotated[
        int, Option("Number of leapfrog steps of each move; more of them move farther, and cost in proportion.", low=1)
    ] = 5
    refresh_every: Annotated[
        int,
        Option(
            "Number of steps between two rounds of walks. Fewer steps keep the buffer closer to the flow of now; more "
            "use each walk for more steps, which costs less.",
            low=1,
        ),
    ] = 8
    buffer_size: Annotated[
        int, Option("Number of walks that the buffer holds; old ones give way to new ones, and memory grows.", low=1)
    ] = 10_000
    max_correction: Annotated[
        float,
        Option(
            "Largest factor by which a row counts more since the flow has changed. A smaller one makes steps less "
            "noisy, and leaves more of the change to the next draws.",
            low=1,
        ),
    ] = 10.0

    name: ClassVar[str] = "flow_annealed_bootstrap"
    needs_data: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = True

    def _check(self) -> None:
        check_log_density(NAME, self.log_density)

    def check(self, flow: Density) -> None:
        """Raises unless the flow is a `Flow` with an exact density and without a context."""
        self._checked(flow)

    def _checked(self, flow: Density) -> Flow:
        check_flow(NAME, flow)
        assert isinstance(flow, Flow)
        check_exact_density(NAME, flow)
        if flow.context_shape is not None:
            fix = "Train flows with contexts by alpha_divergence."
            raise InvalidValueError(NAME, "flow", "must take no context", f"context {flow.context_shape}", fix)
        return flow

    @property
    def _walk(self) -> Walk:
        return Walk(self.num_levels, self.num_steps, 2.0)

    def first_memory(self, flow: Density, variables: Variables, key: Key, batch_size: int) -> Replay:
        """A buffer with one round of walks; raises if none of them ends where the density is finite."""
        flow = self._checked(flow)
        if self.buffer_size < batch_size:
            rule = f"must be at least {{batch_size={batch_size}}}"
            raise InvalidValueError(NAME, "buffer_size", rule, self.buffer_size)
        keys = example_keys(jax.random.fold_in(key, WALK_STREAM), jnp.arange(batch_size, dtype=jnp.uint32))
        like = jax.eval_shape(lambda: flow.sample(variables, keys, keys.shape))
        check_differentiable(NAME, functools.partial(log_density_at, NAME, flow, self.log_density, context=None), like)
        memory, walked = _first_round(self, flow, variables, keys, like.dtype)
        check_gradient(NAME, walked)
        if not isinstance(memory.written, Tracer) and not jnp.any(jnp.isfinite(memory.log_weights)):
            got = f"none of {batch_size}"
            fix = "Look at log_density(flow.sample(...)), and begin with a flow that reaches its support."
            raise InvalidValueError(NAME, "log_density", "must be finite, and above -inf, on some walks", got, fix)
        return memory

    def recall(
        self, flow: Density, variables: Variables, memory: PyTree, batch: Batch, key: Key, step: Array | int
    ) -> tuple[Batch, Replay]:
        """Rows of the buffer with their corrections as weights, and the buffer brought up to date with the flow."""
        flow = self._checked(flow)
        if not isinstance(memory, Replay):
            fix = "Write init_state(variables, optimizer, key, loss.first_memory(flow, variables, key, batch_size))."
            raise InvalidTypeError("init_state", "memory", "must be the first memory of the loss", kind_of(memory), fix)
        keys = example_keys(jax.random.fold_in(key, WALK_STREAM), batch.index)
        is_due = (step > 0) & (step % self.refresh_every == 0)
        memory = lax.cond(is_due, lambda: self._refreshed(flow, variables, memory, keys)[0], lambda: memory)
        draw_key = jax.random.fold_in(jax.random.fold_in(key, DRAW_STREAM), step)
        rows = _stratified(draw_key, memory.log_weights, len(batch.index))
        x, log_q = memory.x[rows], flow.log_prob(variables, memory.x[rows])
        change = memory.log_q[rows] - log_q
        known = jnp.isfinite(change)  # a row that the flow lost counts most, and keeps its place in the buffer
        log_weights = jnp.where(known, memory.log_weights[rows] + change, memory.log_weights[rows])
        memory = memory._replace(
            log_weights=memory.log_weights.at[rows].set(log_weights),
            log_q=memory.log_q.at[rows].set(jnp.where(known, log_q, memory.log_q[rows])),
        )
        correction = jnp.exp(jnp.minimum(change, math.log(self.max_correction)))
        # Nothing to draw means that no walk has a finite weight: NaN, which skips the step, and in a row ends the run.
        x = jnp.where(jnp.any(jnp.isfinite(memory.log_weights)), x, jnp.nan)
        correction = jnp.where(jnp.isnan(correction), 1.0, correction)
        return batch._replace(x=x, weight=batch.weight * correction.astype(batch.weight.dtype)), memory

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """-log q(x) of the rows that `recall` gives, [batch], and no updated collections."""
        return -self._checked(flow).log_prob(variables, batch.x), {}

    def _refreshed(self, flow: Flow, variables: Variables, memory: Replay, keys: Key) -> tuple[Replay, Walked]:
        """The buffer with one more round of walks, in the place of the oldest, and this round."""
        x = flow.sample(variables, keys, keys.shape)
        log_q = functools.partial(flow.log_prob, variables)
        log_p = lambda x: log_density_at(NAME, flow, self.log_density, x, None)
        found = self._walk(log_q, log_p, keys, x, memory.tuning)
        fine = jnp.isfinite(found.log_weights) & jnp.isfinite(found.log_q)
        places = (memory.written + jnp.arange(len(keys))) % self.buffer_size
        put = lambda old, new: old.at[places].set(new.astype(old.dtype))
        memory = Replay(
            put(memory.x, found.x),
            put(memory.log_weights, jnp.where(fine, found.log_weights, -jnp.inf)),
            put(memory.log_q, found.log_q),
            # Beyond one round the number only tells the place, and must not overflow.
            (memory.written + len(keys)) % self.buffer_size,
            tuned(memory.tuning, found.accepted, x, RATE),
        )
        return memory, found


def _stratified(key: Key, log_weights: Array, num: int) -> Array:
    """`num` places drawn in proportion to weights, one from each of `num` equal parts of their sum; none of weight 0.

    Its cost is that of a sum over the weights and a search for each draw, where Gumbel's trick needs one random number
    for each pair of both.
    """
    ends = jnp.cumsum(jax.nn.softmax(log_weights))
    levels = (jnp.arange(num) + jax.random.uniform(key, (num,), ends.dtype)) / num
    below = ends[-1] * (1 - jnp.finfo(ends.dtype).eps)  # at the end itself, a search may find an empty place
    return jnp.minimum(jnp.searchsorted(ends, jnp.minimum(levels * ends[-1], below), side="right"), len(ends) - 1)


@functools.partial(jax.jit, static_argnames=("loss", "flow", "dtype"))
def _first_round(
    loss: FlowAnnealedBootstrap, flow: Flow, variables: Variables, keys: Key, dtype: Any
) -> tuple[Replay, Walked]:
    size = loss.buffer_size
    wide = jnp.promote_types(dtype, jnp.float32)
    empty = Replay(
        jnp.zeros((size, *flow.event_shape), dtype),
        jnp.full((size,), -jnp.inf, wide),
        jnp.zeros((size,), wide),
        jnp.zeros((), jnp.int32),
        loss._walk.first_tuning(flow.event_shape, dtype),
    )
    return loss._refreshed(flow, variables, empty, keys)

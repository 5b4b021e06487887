"""`Defensive`: a wide density that bounds importance weights, and `widened`, which makes one of a flow.

Read next: `jflows/eval/importance.py`, which draws a share of its samples from it.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError, check_positive, kind_of
from jflows.flows import Flow
from jflows.ops.domain import REALS
from jflows.options import Checked, Option
from jflows.typing import Array, Key, Shape, Variables

FEWEST = 2  # samples of the flow, and of the wide density: the spread of one alone is not known

Weight = Annotated[
    float,
    Option(
        "Share of the samples that come from the wide density. A larger one bounds the weights more tightly; a smaller "
        "one costs fewer of the flow's effective samples where the flow is good.",
        above=0,
        below=1,
    ),
]


@dataclasses.dataclass(frozen=True)
class Defensive(Checked):
    """A wide density h beside a flow q, so that importance weights are bounded: a defensive mixture.

        proposal = (1 - a) q(x) + a h(x),   w = p~(x) / proposal <= p~(x) / (a h(x))

    All samples are weighed by the whole proposal (the balance heuristic), and exactly round(a N) of them come from h
    instead of a random number, which lowers the variance. The price is small: where q is the density itself, no weight
    exceeds 1 / (1 - a) times their mean, so that at least a share 1 - a of the samples remains effective.

    Source: Hesterberg 1995, Technometrics 37, 185-194; Owen and Zhou 2000, Journal of the American Statistical
    Association 95, 135-143, section 3, eq. 6; Veach and Guibas 1995 (the balance heuristic). Differs: no control
    variates.

    Args:
      sample: `sample(key)`, or `sample(key, context)` if the flow takes a context: one event [*event_shape].
      log_prob: `log_prob(x)`, or `log_prob(x, context)`: the log density of x in nats, normalised, from
        [num, *event_shape] to [num].
      weight: a, inside of (0, 1).
    Raises:
      InvalidTypeError, InvalidValueError: if these are no functions, or `weight` is outside of (0, 1).
    Example:
      >>> from jflows.eval import importance_sample
      >>> from jflows.flows import normal
      >>> flow, key = normal((1,)), jax.random.key(0)
      >>> cauchy = lambda x: jax.scipy.stats.cauchy.logpdf(x[:, 0])
      >>> wide = Defensive(lambda key: jax.random.cauchy(key, (1,)), cauchy, weight=0.2)
      >>> result = importance_sample(flow, flow.init(key), cauchy, key, 2000, defensive=wide)
      >>> bool(result.log_weights.max() <= -jnp.log(0.2) + 1e-5)
      True
    """

    sample: Callable[..., Array]
    log_prob: Callable[..., Array]
    weight: Weight = 0.1

    def _check(self) -> None:
        for name, function in (("sample", self.sample), ("log_prob", self.log_prob)):
            if not callable(function):
                raise InvalidTypeError("Defensive", name, "must be a function", kind_of(function))

    def share_of(self, where: str, num_samples: int) -> int:
        """How many of the samples come from the wide density; raises if it, or the flow, gets fewer than two."""
        num = round(self.weight * num_samples)
        if not FEWEST <= num <= num_samples - FEWEST:
            rule = f"must leave at least {FEWEST} samples to the flow and to the wide density"
            got = f"weight={self.weight:g} of num_samples={num_samples}"
            raise InvalidValueError(where, "defensive", rule, got, "Draw more samples, or change the weight.")
        return num

    def draw(self, where: str, flow: Flow, keys: Key, context: Array | None) -> Array:
        """One event for each key: [*keys.shape, *event_shape]."""
        flat: list[Array] = [keys.reshape(-1)]
        if context is not None:
            event: Shape = flow.context_shape or ()
            flat.append(jnp.broadcast_to(context, (*keys.shape, *event)).reshape(-1, *event))
        x = jax.vmap(self.sample)(*flat)
        if jnp.shape(x) != (keys.size, *flow.event_shape):
            rule, got = f"must return one event of shape {flow.event_shape}", f"shape {jnp.shape(x)[1:]}"
            raise InvalidValueError(where, "defensive.sample", rule, got)
        return x.reshape(*keys.shape, *flow.event_shape)


def widened(flow: Flow, variables: Variables, temperature: float = 2.0, weight: Weight = 0.1) -> Defensive:
    """A flow with its base widened, as the wide density of a defensive mixture.

        x = f(mean + T (z - mean)),   z ~ base,   T > 1

    It follows the shape of the flow, and has its tails: modes that the flow misses by far, it misses too.

    Args:
      flow: a flow whose base has a mean, and a density on all real numbers.
      variables: the collections of `flow`; the function holds on to them.
      temperature: T, by which the deviation of the base from its mean is multiplied, above 1.
      weight: share of the samples, see `Defensive`.
    Returns:
      `Defensive`. As its functions are new ones, `importance_sample` compiles anew for each.
    Raises:
      InvalidTypeError, InvalidValueError: if the flow is not a `Flow`, its base has no mean or no density in places, or
        a number is out of range.
    """
    if not isinstance(flow, Flow):
        raise InvalidTypeError("widened", "flow", "must be a Flow", kind_of(flow))
    if type(flow.base).mean is Base.mean or flow.base.domain != REALS:
        fix = "Write Defensive(sample, log_prob) with a density of your own."
        rule = "must have a base with a mean and a density on all real numbers"
        raise InvalidValueError("widened", "flow", rule, f"the base {kind_of(flow.base)}", fix)
    check_positive("widened", "temperature", temperature)
    if temperature <= 1:
        fix = "A narrower density bounds no weights: set {temperature=2}."
        raise InvalidValueError("widened", "temperature", "must be above 1", temperature, fix)

    def sample(key: Key, context: Array | None = None) -> Array:
        return flow.sample(variables, key, (), context, temperature)

    def log_prob(x: Array, context: Array | None = None) -> Array:
        at = lambda module, x, context, key: module.log_prob_at_precision(x, context, key, temperature**-2)[0]
        return flow.run(variables, at, x, flow.check_x(x), context)[0]

    return Defensive(sample, log_prob, weight)

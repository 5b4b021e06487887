"""Losses that need no data: a flow is trained on its own samples against a density known up to a constant.

These losses serve variational inference, sampling from energies, and the distillation of one flow into a faster one.
`jflows.eval.importance_sample` measures how good the result is. With `fit`, pass `jflows.data.NoData()`, which may hold
rows of contexts. Every row of a batch draws its samples with a key of its own, so that samples do not depend on the
number of devices.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.eval.importance import check_flow, check_log_density, log_density_at
from jflows.flows import Flow
from jflows.flows.density import Density
from jflows.flows.dequantize import example_keys
from jflows.options import Option, check_call
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, Variables

Order = Annotated[
    float,
    Option(
        "Order of the divergence. A smaller order makes the flow cover more of the density, but needs more samples per "
        "row; with one sample, every order is the reverse KL.",
        low=0,
    ),
]
NumSamples = Annotated[
    int,
    Option(
        "Number of samples that the flow draws for each row of a step. More of them estimate the divergence better, "
        "and cost time and memory in proportion.",
        low=1,
    ),
]


def reverse_kl(log_density: Callable[..., Array], path_gradient: bool = True) -> "Divergence":
    """KL(q || p) of a flow q to a density p = p~ / Z, less log Z: its minimum is -log Z, where q = p.

        loss = log q(x) - log p~(x),   x = f(z; params), z ~ base                    [nats per event]
        plain gradient = d/dx (log q - log p~) dx/dparams + d log q(x) / dparams at fixed x

    The second term has mean zero, but its noise stays when q = p. The path gradient leaves this term out, so that its
    own variance falls to zero as q nears p. It needs the gradient of log q at the samples, which goes through the
    inverse of the flow. This costs about one more plain step for couplings; for an inverse autoregressive flow it costs
    the incremental inversion and one transposed solve per layer. The value of the loss always comes from the direction
    of sampling.

    Reverse KL seeks modes: of several well separated modes, the flow may find only one.

    Source: Roeder et al. 2017, arXiv:1703.09194; Vaitl et al. 2022, arXiv:2206.09016 (for flows).

    Args:
      log_density: `log_density(x)`, or `log_density(x, context)` if the flow takes a context: nats, up to a constant,
        from x [num, *event_shape] and context [num, *context_shape] to [num]; differentiable in x.
      path_gradient: False for the plain gradient, which is noisier and cheaper, and needs no map from data to latent.
    Returns:
      A loss for `fit` and `make_train_step`.
    Raises:
      InvalidTypeError: if `log_density` is not a function.
      InvalidValueError: when traced, if its result is not one number per event, or if samples are not differentiable,
        because the flow dequantizes or its base draws a choice.
    Example:
      >>> import jflows
      >>> config = jflows.train.TrainConfig(steps=300, learning_rate=3e-2, parallel="none")
      >>> loss = reverse_kl(lambda x: -2 * jnp.sum((x - 1) ** 2, axis=-1))  # a normal around 1 of deviation 1/2
      >>> result = jflows.fit(jflows.flows.normal((2,)), jflows.data.NoData(), config, loss=loss)
      >>> print(f"{result.history[-1]['loss']:.2f}")  # -log(pi / 2)
      -0.45
    """
    return Divergence("reverse_kl", log_density, path_gradient=path_gradient)


def alpha_divergence(
    log_density: Callable[..., Array],
    alpha: Order,
    num_samples: NumSamples,
    path_gradient: bool = True,
) -> "Divergence":
    """Renyi's divergence of order alpha from a flow q to p = p~ / Z, less log Z, estimated by K samples per row.

        loss = -1/(1 - alpha) log 1/K sum_k w_k^(1 - alpha),   w_k = p~(x_k) / q(x_k)          [nats per event]
        path gradient of -loss = sum_k (alpha v_k + (1 - alpha) v_k^2) d log w_k / dx_k dx_k / dparams,
        v_k = w_k^(1 - alpha) / sum_j w_j^(1 - alpha)

    alpha = 1 is the mean of K reverse KLs, alpha = 0 the importance-weighted bound; K = 1 is the reverse KL for every
    alpha. The smaller alpha, the more q covers p, if K is large enough. The path gradient has the mean of the plain one
    (the score term, integrated by parts, gives the squares), and vanishes for every draw where q = p.

    Source: Li and Turner 2016, arXiv:1602.02311, sections 3 and 4; Tucker et al. 2019, arXiv:1810.04152 (alpha = 0);
    Daudel et al. 2022, arXiv:2210.06226 (0 <= alpha < 1).

    Args:
      log_density: the density in nats up to a constant, a function of x as `reverse_kl` describes it.
      alpha: the order, at least 0. Below 0 the estimate would be an upper bound, which cannot be maximised.
      num_samples: K >= 1; time and memory grow with it.
      path_gradient: False for the plain gradient, which is noisier and cheaper, as in `reverse_kl`.
    Returns:
      A loss for `fit` and `make_train_step`.
    Raises:
      InvalidTypeError, InvalidValueError: for the reasons given at `reverse_kl`; if alpha or num_samples is out of
        range; when traced, if alpha != 1 with an estimated log-det, whose noise would raise the bound.
    """
    given = dict(alpha=alpha, num_samples=num_samples, path_gradient=path_gradient)
    check_call("alpha_divergence", alpha_divergence, given)
    return Divergence("alpha_divergence", log_density, float(alpha), num_samples, path_gradient)


def distillation(teacher: Density, teacher_variables: Variables, path_gradient: bool = True) -> "Divergence":
    """The reverse KL from a flow, the student, to a trained flow, the teacher: probability density distillation.

        loss = log q(x) - log p_teacher(x),   x ~ q                [nats per event; 0 where student and teacher agree]

    A student that samples fast (`iaf`) and a teacher that scores fast (`maf`) are each used in their fast direction;
    only the path gradient adds the student's inverse, see `reverse_kl`. The teacher stays as it is.

    Source: van den Oord et al. 2018, arXiv:1711.10433, section 4. Differs: all of log p_teacher(x) at drawn x instead
    of cross-entropies per coordinate; no further losses.

    Args:
      teacher: a flow or a mixture of flows, of the student's event and context shapes.
      teacher_variables: the collections of the teacher.
      path_gradient: False for the plain gradient, which is noisier and cheaper, as in `reverse_kl`.
    Returns:
      A loss for `fit` and `make_train_step`; rows need contexts where the flows take one.
    Raises:
      InvalidTypeError: if `teacher` is neither a flow nor a mixture.
      InvalidValueError: if the teacher's log-det is estimated; when traced, if shapes differ.
    """
    if not isinstance(teacher, Density):
        raise InvalidTypeError("distillation", "teacher", "must be a Flow or a MixtureOfFlows", kind_of(teacher))
    if teacher.estimates_log_det:
        raise InvalidValueError("distillation", "teacher", "must have an exact log-det", "an estimated one")

    def log_density(x: Array, context: Array | None = None) -> Array:
        return teacher.log_prob(teacher_variables, x, context)

    return Divergence("distillation", log_density, path_gradient=path_gradient)


@dataclasses.dataclass(frozen=True)
class Divergence(Loss):
    """The loss that `reverse_kl`, `alpha_divergence` and `distillation` return; see those functions for its formula.

    It does not bound a likelihood of data, as `log_density` is only known up to a constant, and so has no unit.

    Args:
      made_by: name of the function that made the loss, for messages.
      log_density: the density in nats up to a constant, a function of x as `reverse_kl` describes it.
      alpha: the order, at least 0; `reverse_kl` and `distillation` have alpha = 1 and one sample.
      num_samples: number of samples for each row.
      path_gradient: False for the plain gradient, which is noisier and cheaper.
    Shapes:
      per row: [batch].
    """

    made_by: str
    log_density: Callable[..., Array]
    alpha: Order = 1.0
    num_samples: NumSamples = 1
    path_gradient: bool = True

    name: ClassVar[str] = "divergence"
    needs_data: ClassVar[bool] = False

    def _check(self) -> None:
        check_log_density(self.made_by, self.log_density)

    def check(self, flow: Density) -> None:
        """Raises unless the flow is a `Flow` with differentiable samples and, unless alpha is 1, an exact log-det."""
        _check_flow(self.made_by, flow, self.alpha)

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and no updated collections."""
        self.check(flow)
        assert isinstance(flow, Flow)
        split = jax.vmap(lambda k: jax.random.split(k, self.num_samples), out_axes=1)
        keys = split(example_keys(key, batch.index))  # [num_samples, batch]
        sample_shape = keys.shape if batch.context is None else keys.shape[:1]
        x, log_q = flow.sample_and_log_prob(variables, keys, sample_shape, batch.context)
        log_p = log_density_at(self.made_by, flow, self.log_density, x, batch.context)
        if not self.path_gradient:
            return -_bound(log_p - log_q, self.alpha), {}
        # Frozen: what is left of the derivative of log q goes through x.
        frozen = lax.stop_gradient(variables)
        log_q_of_x = flow.log_prob(frozen, x, batch.context, keys if flow.needs_key else None)
        log_w = lax.stop_gradient(log_p - log_q)
        v = jax.nn.softmax((1 - self.alpha) * log_w, axis=0)
        factor = self.alpha * v + (1 - self.alpha) * v**2
        # A sample outside the support of p~ (log weight -inf) counts for nothing if there is another: 0, not 0 * inf.
        path = jnp.sum(jnp.where(factor == 0, 0.0, factor * (log_p - log_q_of_x)), axis=0)
        return -(_bound(log_w, self.alpha) + path - lax.stop_gradient(path)), {}


def _bound(log_w: Array, alpha: float) -> Array:
    """[num_samples, batch] -> [batch]."""
    if alpha == 1:
        return jnp.mean(log_w, axis=0)
    return (jax.nn.logsumexp((1 - alpha) * log_w, axis=0) - math.log(len(log_w))) / (1 - alpha)


def _check_flow(where: str, flow: Density, alpha: float) -> None:
    check_flow(where, flow)
    assert isinstance(flow, Flow)
    if flow.dequantize is not None:
        rule, fix = "must have differentiable samples", "Build it without `dequantize`."
        raise InvalidValueError(where, "flow", rule, "one that dequantizes", fix)
    if not flow.base.is_reparameterized:
        rule, fix = "must have differentiable samples", "Use a base that does not choose, such as DiagonalNormal."
        raise InvalidValueError(where, "flow", rule, f"the base {type(flow.base).__name__}", fix)
    if alpha != 1 and flow.bijector.needs_key:
        rule, fix = "must have an exact log-det for alpha != 1", "Use an exact estimator, or reverse_kl."
        raise InvalidValueError(where, "flow", rule, "an estimated one", fix)

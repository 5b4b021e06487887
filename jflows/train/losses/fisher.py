"""`FisherDivergence`: fits a flow to draws of a density and the gradients of its logarithm at them."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows import Density, Flow
from jflows.ops import sum_event, value_and_gradient
from jflows.options import Option
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, Variables


@dataclasses.dataclass(frozen=True)
class FisherDivergence(Loss):
    """The squared error of the flow's score at draws of a density with a known score: E_p |grad log p - grad log q|^2.

        s = grad_x log p(x), from the data;   z = f^-1(x)
        data:    loss = |s - grad_x log q(x)|^2                                             [1 / unit of x^2]
        latent:  loss = |J_f(z)^T s + grad_z log|det J_f(z)| - grad_z log p_base(z)|^2      [1 / unit of z^2]
                      = |J_f(z)^T (s - grad_x log q(x))|^2

    Rows are draws with their gradients, `TableData("draws", x, gradient=s)`, such as a sampler of HMC leaves behind:
    the expectation is over the density, not over the flow. Each gradient says as much as many draws do: D + 1 draws of
    a normal in D dimensions fix it, as the loss is 0 for no other. The normaliser of p is not needed. Modes that are
    far apart can get wrong shares, which no gradient shows; train by `NegativeLogLikelihood` where there are some.

    The error in the latent space does not change with the units of x, and weighs directions as an HMC sampler in that
    space feels them. It takes the map from data to latent, the map back and its transpose; the error in the space of
    data only the first. On a CPU, a step costs 2.2 (data) or 3.7 (latent) of `NegativeLogLikelihood` for affine
    couplings and 11 to 13 for splines, whose second derivatives are long; `maf` costs 2.5 in the space of data and 30
    in latent space, as its coordinates are inverted one after another. The score depends on second derivatives of the
    networks too: smooth activations (tanh, softplus) learn better than ReLU, whose kinks it does not see.

    Source: Hyvarinen 2005, Journal of Machine Learning Research 6, 695-709, eq. 2 (data); Seyboldt, Carlson and
    Carpenter 2026, arXiv:2603.18845 (latent, as the adaptation of a sampler). Differs: without the factor 1/2.

    Args:
      space: where the error is measured.
    Shapes:
      per row: [batch].
    Raises:
      InvalidTypeError, InvalidValueError: by `check`, if the flow dequantizes or estimates its log-det, or is a mixture
        and `space` is latent; when traced, if the flow has batch statistics; by `fit`, if the data have no gradients.
    Example:
      >>> import jflows
      >>> x = jax.random.normal(jax.random.key(0), (8, 2)) * jnp.array([3.0, 0.5]) + 1
      >>> data = jflows.data.TableData("draws", x, gradient=jax.grad(lambda x: -0.5 * jnp.sum(((x - 1) / 3) ** 2))(x))
      >>> config = jflows.TrainConfig(steps=5, parallel="none")
      >>> jflows.fit(jflows.realnvp((2,), 2), data, config, loss=jflows.train.FisherDivergence()).step
      5
    """

    space: Annotated[
        str,
        Option(
            "Where the error of the score is measured: latent does not depend on the units of the data, and costs a "
            "map back from latent to data; data costs less, and serves mixtures and flows that are slow to sample.",
            choices=("latent", "data"),
        ),
    ] = "latent"

    name: ClassVar[str] = "fisher"
    needs_gradient: ClassVar[bool] = True

    def check(self, flow: Density) -> None:
        """Raises unless the flow has an exact density of floats, and, in latent space, is a `Flow`."""
        if self.space == "latent" and not isinstance(flow, Flow):
            fix = "Set {space=data}."
            raise InvalidTypeError("FisherDivergence", "flow", "must be a Flow in latent space", kind_of(flow), fix)
        if flow.dequantize is not None or flow.estimates_log_det:
            got = "one that dequantizes" if flow.dequantize is not None else "an estimated log-det"
            raise InvalidValueError("FisherDivergence", "flow", "must have an exact density of floats", got)

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and no updated collections."""
        self.check(flow)
        if "batch_stats" in variables:
            rule, fix = "must have no batch statistics, through which rows would share a score", "Use ActNorm."
            raise InvalidValueError("FisherDivergence", "flow", rule, "a flow with BatchNorm", fix)
        if batch.gradient is None:
            raise InvalidValueError("FisherDivergence", "batch", "must have gradients", "None")
        residual = self._in_data if self.space == "data" else self._in_latent
        error = residual(flow, variables, batch.x, batch.context, batch.gradient)
        return sum_event(error**2, error.ndim - 1), {}

    def _in_data(self, flow: Density, variables: Variables, x: Array, context: Array | None, score: Array) -> Array:
        return score - value_and_gradient(lambda x: flow.log_prob(variables, x, context), x)[1]

    def _in_latent(self, flow: Density, variables: Variables, x: Array, context: Array | None, score: Array) -> Array:
        assert isinstance(flow, Flow)
        z, _ = flow.encode(variables, x, context)
        (back, log_det), pull = jax.vjp(lambda z: flow.decode(variables, z, context), z)
        (pulled,) = pull((score.astype(back.dtype), jnp.ones_like(log_det)))
        of_base = lambda module, z, context, key: module.base.log_prob(z, context)
        base = lambda z: flow.run(variables, of_base, z, z.shape[: z.ndim - len(flow.latent_shape)], context)[0]
        return pulled - value_and_gradient(base, z)[1]

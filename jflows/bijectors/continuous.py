"""Continuous normalizing flows: x is where an ordinary differential equation carries z from time 0 to time 1."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape
from jflows.errors import JflowsError
from jflows.modules import Network, check_takes
from jflows.ops import trace as trace_ops
from jflows.ops.reverse_only import Refusal, reverse_only
from jflows.options import Count, Ndims, Option, Positive
from jflows.typing import Array

TRACES = ("exact", "hutchinson")
SOLVERS = {"tsit5": "Tsit5", "dopri5": "Dopri5", "dopri8": "Dopri8"}  # names in diffrax, all adaptive
DERIVATIVES = ("reverse", "all")
ROUNDING = 10  # tolerances below so many units of rounding would make the step size collapse


class Continuous(SameShape):
    """Integrates a velocity field together with its divergence: FFJORD, also trained by flow matching.

        dx/dt = v(t, x, context),   x(0) = z,   x(1) = x
        log|det dx/dz| = int_0^1 tr(dv/dx) dt                [nats per event]

    | trace | log_det | products with dv/dx per step | key |
    |---|---|---|---|
    | "exact" | exact up to the tolerance of the solver | D | no |
    | "hutchinson" | unbiased: noise^T (dv/dx) noise, with one noise vector for the whole path | 1 | yes |

    Every example takes steps of its own size, so its result does not depend on the batch. Derivatives are those of the
    steps taken. With derivatives="reverse" they come from checkpoints along the path, whose memory grows with the
    logarithm of the number of steps: of first order, in reverse mode. "all" stores every step, and takes several times
    as long; it serves forward mode and derivatives of any order.
    `velocity` is public: `jflows.flows.flow_matching_loss` trains it without solving anything.

    Needs diffrax: `pip install diffrax`, or `pip install -e '.[ode]'` in a checkout of jflows.

    Source: Chen et al. 2018, arXiv:1806.07366, theorem 1; Grathwohl et al. 2019, arXiv:1810.01367, section 3.1.

    Args:
      network: v, a network without state with `__call__(t, x, context)`, such as `jflows.nn.TimeMLP`.
      trace: "exact" or "hutchinson".
      solver: "tsit5", "dopri5" or "dopri8"; the last is best for tolerances below 1e-8.
      rtol: relative tolerance of a step.
      atol: absolute tolerance of a step, in units of x.
      max_steps: largest number of solver steps for one example; if it needs more, its result is NaN.
      noise: "rademacher" or "normal".
      derivatives: "reverse" for training, "all" for jax.jvp, jax.hessian and the like.
      event_ndims: 1 for vectors, 3 for images.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: for an unknown trace, solver, noise or kind of derivatives; for a tolerance that is not
        positive; without a key where one is needed; for a derivative that derivatives="reverse" does not have.
      JflowsError: if diffrax is not installed.
    Numerics: round trip and log_det are off by about 10 to 100 times the tolerances, which 10 units of rounding limit
      from below; bfloat16 is integrated in float32.
    """

    network: Network
    trace: Annotated[str, Option(choices=TRACES)] = "exact"
    solver: Annotated[str, Option(choices=tuple(SOLVERS))] = "tsit5"
    rtol: Positive = 1e-5
    atol: Positive = 1e-5
    max_steps: Count = 4096
    noise: Annotated[str, Option(choices=trace_ops.NOISE_KINDS)] = "rademacher"
    derivatives: Annotated[str, Option(choices=DERIVATIVES)] = "reverse"
    event_ndims: Ndims = 1

    allows_invertible_backprop: ClassVar[bool] = False

    def _check(self) -> None:
        check_takes("Continuous", "network", self.network, "t", "x", "context")

    @property
    def needs_key(self) -> bool:
        return self.trace == "hutchinson"

    def velocity(self, t: Array, x: Array, context: Array | None = None) -> Array:
        """v(t, x, context). Shapes: t scalar or [*batch], x [*batch, *event] -> [*batch, *event]."""
        return self.network(t, x, context)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self._integrate(z, context, 0.0, 1.0)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self._integrate(x, context, 1.0, 0.0)

    def _integrate(self, values: Array, context: Array | None, start: float, end: float) -> tuple[Array, Array]:
        if self.is_initializing():
            self.velocity(jnp.asarray(start, values.dtype), values, context)  # creates the parameters
        network, variables = self.network.unbind()
        batch_shape = values.shape[: values.ndim - self.event_ndims]
        flat = values.reshape(-1, *values.shape[len(batch_shape) :])
        flat = flat.astype(jnp.promote_types(values.dtype, jnp.float32))
        noise = None
        if self.needs_key:
            noise = trace_ops.hutchinson_noise(self._noise_key(), flat.shape, flat.dtype, self.noise)
        if context is not None:
            context = context.reshape(-1, *context.shape[len(batch_shape) :])
        path = _Path(network, self.solver, self.rtol, self.atol, self.max_steps, self.event_ndims, self.derivatives)
        if self.derivatives == "reverse":
            refusal = Refusal("Continuous", "derivatives", "'all'", self.derivatives, second_order=False)
            variables, flat, context = reverse_only((variables, flat, context), refusal)
        times = jnp.asarray([start, end], flat.dtype)
        solve = jax.vmap(functools.partial(_solve, path, variables, times))
        out, log_det = solve(flat, context, noise)
        return out.astype(values.dtype).reshape(values.shape), log_det.reshape(batch_shape)


@dataclasses.dataclass(frozen=True)
class _Path:
    """What an integration depends on beside arrays; hashable, so it can be a static argument."""

    network: nn.Module  # unbound
    solver: str
    rtol: float
    atol: float
    max_steps: int
    event_ndims: int
    derivatives: str


@functools.partial(jax.jit, static_argnums=0)  # tracing the solver takes seconds: once for both directions
def _solve(path: _Path, variables: Any, times: Array, value: Array, context: Array | None, noise: Array | None):
    """One example from times[0] to times[1]: where it arrives, and the integral of the divergence on its way.

    Backwards in time the integral changes its sign, as the log-det must.
    """
    diffrax = _import_diffrax()

    def derivative(t: Array, state: tuple[Array, Array], _: None) -> tuple[Array, Array]:
        def velocity(x: Array) -> Any:
            return path.network.apply(variables, t, x, context)

        if noise is None:
            return trace_ops.exact_trace(velocity, state[0], path.event_ndims)
        return trace_ops.hutchinson_trace(velocity, state[0], noise, path.event_ndims)

    least = ROUNDING * float(jnp.finfo(value.dtype).eps)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        getattr(diffrax, SOLVERS[path.solver])(),
        times[0],
        times[1],
        None,
        (value, jnp.zeros((), value.dtype)),
        stepsize_controller=diffrax.PIDController(rtol=max(path.rtol, least), atol=max(path.atol, least)),
        adjoint=(diffrax.DirectAdjoint if path.derivatives == "all" else diffrax.RecursiveCheckpointAdjoint)(),
        max_steps=path.max_steps,
        throw=False,
    )
    solved = solution.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda leaf: jnp.where(solved, leaf[0], jnp.nan), solution.ys)


def _import_diffrax() -> Any:
    try:
        import diffrax
    except ImportError as error:
        rule, fix = "must be installed to solve differential equations", "Run `pip install diffrax`."
        raise JflowsError("Continuous", "diffrax", rule, None, fix) from error
    return diffrax

"""`MaskedAutoregressive`: every coordinate is mapped with parameters computed from the coordinates before it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jflows.bijectors.base import SameShape, report_largest
from jflows.bijectors.inner import Inner, InnerMap
from jflows.errors import InvalidValueError, kind_of
from jflows.modules import Network, check_conditioner, stated
from jflows.ops.numerics import promoting, sum_event
from jflows.ops.root_finding import solve_and_count, solve_triangular_system
from jflows.ops.varying import vary_alike
from jflows.options import Option, Positive
from jflows.typing import Array, OrderedConditioner, Variables

INVERSIONS = ("auto", "incremental", "parallel")


class MaskedAutoregressive(SameShape):
    """Maps coordinate i by an inner map g with parameters from the coordinates before i: MAF, or inverted, IAF.

        z_i = g(x_i; params_i),   params_i a function of x_1 .. x_{i-1} and the context, in the conditioner's order
        log_det = sum_i log|dg/dx_i|                         [nats per event]

    x -> z is one pass of the conditioner: the masked autoregressive flow, fast in scoring data. z -> x finds one
    coordinate after the other:

    | inversion | z -> x | cost |
    |---|---|---|
    | "incremental" | computes each hidden unit about once; exact | one to three passes |
    | "parallel" | x <- g^-1(z; params(x)) from x = z, all coordinates at once, until settled | dim passes at most |

    "auto" is "incremental" where the conditioner offers it (`jflows.typing.OrderedConditioner`, as `MADE` does) and
    "parallel" elsewhere, such as with a causal `Transformer` or a network of your own. Both have exact implicit
    derivatives that store no more than one pass does. `Inverse(MaskedAutoregressive(...))` is the inverse
    autoregressive flow: one pass to sample, one inversion to score. To vary which coordinates come first, put a
    permutation between layers.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, sections 3.1-3.3; Kingma et al. 2016, arXiv:1606.04934 (IAF);
    "parallel": Song et al. 2021, arXiv:2002.03629.

    Args:
      conditioner: an autoregressive network with `__call__(x, num_features, context)`, such as `jflows.nn.MADE`. That
        it is autoregressive is not checked here; `check_bijector` checks it by its `jacobian_pattern`.
      inner: the elementwise map g, such as `Affine()` or `LogisticMixture()`.
      inversion: "auto", "incremental" or "parallel".
      tolerance: with "parallel", the largest last step at which the iteration ends, relative to 1 + max|x|; None
        iterates to rounding error.
    Shapes:
      x: [*batch, dim] <-> z: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
    Raises:
      InvalidValueError: for an unknown inversion, one that the conditioner does not offer, or a tolerance that is not
        positive.
    Numerics: max|z - g(x)| after z -> x is sown as "inverse_residual" in "intermediates", the number of iterations of
      "parallel" as "inverse_iterations".
    """

    conditioner: Network
    inner: Inner
    inversion: Annotated[str, Option(choices=INVERSIONS)] = "auto"
    tolerance: Positive | None = None

    event_ndims: ClassVar[int] = 1

    def _check(self) -> None:
        check_conditioner("MaskedAutoregressive", "conditioner", self.conditioner, event_ndims=1)
        if not stated(self.conditioner, "is_autoregressive", True):
            got, fix = kind_of(self.conditioner), "Use MADE, or Transformer(event_ndims=1, causal=True)."
            raise InvalidValueError("MaskedAutoregressive", "conditioner", "must be autoregressive", got, fix)
        if self.inversion == "incremental" and not isinstance(self.conditioner, OrderedConditioner):
            rule = "must have the methods of OrderedConditioner for inversion='incremental'"
            got, fix = type(self.conditioner).__name__, "Use inversion='parallel'."
            raise InvalidValueError("MaskedAutoregressive", "conditioner", rule, got, fix)

    @property
    def _incremental(self) -> bool:
        return self.inversion != "parallel" and isinstance(self.conditioner, OrderedConditioner)

    @property
    def allows_invertible_backprop(self) -> bool:
        """Whether z -> x is computed by formulas: incrementally, with an inner map that is not solved numerically."""
        return self._incremental and super().allows_invertible_backprop

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        num_params, dim = self.inner.num_params, x.shape[-1]
        raw = self.conditioner(x, num_params * dim, context)
        z, log_slope = self.inner.inverse_and_log_det(x, raw.reshape(*raw.shape[:-1], num_params, dim))
        return z, sum_event(log_slope, 1)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        if self.is_initializing():
            self._inverse_and_log_det(z, context)  # creates the parameters
        (conditioner, of_conditioner), (inner, of_inner) = self.conditioner.unbind(), self.inner.unbind()
        maps = _Maps(conditioner, inner)
        # Once, here: JAX cannot lower the cast of a replicated weight inside a linear solve that it transposes.
        variables, z, context = vary_alike((of_conditioner, of_inner), z, context)
        if self._incremental:
            x = _solve_in_order(maps, variables, z, context)
        else:
            update = functools.partial(maps.update, variables, z, context)
            x, iterations = solve_and_count(update, z, 1, self.tolerance, max_iterations=z.shape[-1])
            report_largest(self, "inverse_iterations", iterations)
        reached, log_det = self._inverse_and_log_det(x, context)
        report_largest(self, "inverse_residual", reached - z)
        return x, -log_det


@dataclasses.dataclass(frozen=True)
class _Maps:
    """Conditioner and inner map, unbound, as pure functions of their variables."""

    conditioner: nn.Module
    inner: InnerMap

    def params(self, variables: tuple[Variables, Variables], x: Array, context: Array | None) -> Array:
        num_params, dim = self.inner.num_params, x.shape[-1]
        raw: Any = self.conditioner.apply(variables[0], x, num_params * dim, context)
        return raw.reshape(*raw.shape[:-1], num_params, dim)

    def run(self, method: str, variables: tuple[Variables, Variables], values: Array, params: Array) -> Array:
        out: Any = self.inner.apply(variables[1], values, params, method=method)
        return out[0]

    def run_at(self, variables: tuple[Variables, Variables], inputs: tuple[Array, Array], params: Array) -> Array:
        """z -> x of single columns, whose numbers come with them."""
        z, column = inputs
        out: Any = self.inner.apply(variables[1], z, params, column, method="forward_at")
        return out[0]

    def explicit(self, variables: tuple[Variables, Variables], x: Array, context: Array | None) -> Array:
        """x -> z."""
        return self.run("inverse_and_log_det", variables, x, self.params(variables, x, context))

    def update(self, variables: tuple[Variables, Variables], z: Array, context: Array | None, x: Array) -> Array:
        """One parallel step: right in each coordinate before which x is right."""
        return self.run("forward_and_log_det", variables, z, self.params(variables, x, context))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve_in_order(maps: _Maps, variables: tuple[Variables, Variables], z: Array, context: Array | None) -> Array:
    """z -> x by the conditioner's own order, differentiated implicitly: dx = J^-1 (dz - dg at fixed x), J = dg/dx."""
    solve, inputs = functools.partial(maps.run, "forward_and_log_det", variables), z
    if maps.inner.by_column:
        solve, inputs = functools.partial(maps.run_at, variables), (z, jnp.arange(z.shape[-1]))
    num_features = maps.inner.num_params * z.shape[-1]
    x: Any = maps.conditioner.apply(variables[0], solve, inputs, num_features, context, method="solve_in_order")
    return x


@_solve_in_order.defjvp
@promoting
def _solve_in_order_jvp(maps: _Maps, primals, tangents):
    variables, z, context = primals
    x = _solve_in_order(maps, variables, z, context)
    at_x = lambda variables, context: maps.explicit(variables, x, context)
    _, moved = jax.jvp(at_x, (variables, context), (tangents[0], tangents[2]))
    _, times_jacobian = jax.linearize(lambda x: maps.explicit(variables, x, context), x)
    params = maps.params(variables, x, context)
    _, elementwise = jax.vjp(functools.partial(maps.run, "inverse_and_log_det", variables), x, params)
    diagonal, slopes = elementwise(jnp.ones_like(x))

    def forwards(times_jacobian: Callable[[Array], Array], rhs: Array) -> Array:
        return solve_triangular_system(times_jacobian, diagonal, rhs)

    def backwards(_: Callable[[Array], Array], rhs: Array) -> Array:
        solution: Any = maps.conditioner.apply(
            variables[0], rhs, diagonal, slopes, x, context, method="solve_transposed"
        )
        return solution

    return x, lax.custom_linear_solve(times_jacobian, tangents[1] - moved, forwards, backwards)

"""The residual block of i-ResNets and Residual Flows, which is invertible because its network is a contraction."""

from collections.abc import Callable
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from jflows.bijectors.base import SameShape, report_largest
from jflows.modules import Network, check_conditioner
from jflows.ops import trace
from jflows.ops.root_finding import solve_fixed_point
from jflows.options import Count, Fraction, Ndims, Option, Positive
from jflows.typing import SINGULAR_VECTORS, Array, PyTree

ESTIMATORS = ("exact", "truncated", "roulette")


class Residual(SameShape):
    """Adds a network of Lipschitz constant below 1: x -> z is explicit, z -> x is solved by a fixed point.

        z = x + g(x, context),   Lip(g) < 1
        x = z - g(x, context),   iterated from x = z
        log|det dz/dx| = log|det(I + J)| = sum_k (-1)^(k+1) tr(J^k) / k,   J = dg/dx    [nats per event]

    | estimator | log_det | products with J | key |
    |---|---|---|---|
    | "exact" | exact, by D^3 operations: for small events | D | no |
    | "truncated" | num_terms of the series; bias within `jflows.ops.trace.truncation_bound` | num_terms | yes |
    | "roulette" | unbiased: further terms, weighted, while a coin shows heads | num_terms + 1 / p - 1 (mean) | yes |

    Traces of the last two are estimated with one noise vector per example (Hutchinson), and their derivatives by the
    Neumann series, which needs no memory for the terms. "roulette" has a finite variance if Lip(g)^2 < 1 - p, p being
    `stop_probability`; all examples of a call take the same number of terms. In Linen, pass `rngs={"noise": key}`; a
    `Flow` does.

    Sampling solves a fixed point with derivatives by the implicit function theorem, and reports its largest
    |z - x - g(x)| as `inverse_residual` in the collection "intermediates". Wrap in `Inverse` to sample explicitly.

    Source: Behrmann et al. 2019, arXiv:1811.00995, algorithm 1 and section 3; Chen et al. 2019, arXiv:1906.02735,
    eqs. 6 and 8.

    Args:
      network: g, with `__call__(x, num_features, context)`: `jflows.nn.LipschitzMLP` or `LipschitzConvNet`. Any other
        must be a contraction, which is not checked, and have no state but singular vectors.
      estimator: "exact", "truncated" or "roulette".
      num_terms: number of terms of the series that are always taken; more of them reduce the bias or the variance.
      stop_probability: p in (0, 1), only used by "roulette"; the default is safe up to Lip(g) = 0.97. A larger p is
        faster, and often good enough, as few Jacobians come near the bound.
      noise: "rademacher" or "normal".
      tolerance: the largest last step at which the fixed point ends, relative to 1 + max|x|; None iterates to rounding.
      max_iterations: largest number of iterations of the fixed point.
      event_ndims: 1 for vectors, 3 for images.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: for an unknown estimator or noise, or a number out of range; without a key where one is needed.
    Numerics: the round trip is exact up to 16 Lip / (1 - Lip) units of rounding, in log(16 eps) / log(Lip) steps at
      most: 20 with Lip = 0.5 in float32, 1100 with 0.97 in float64, where 1000 leave an error of 1e-13.
    """

    network: Network
    estimator: Annotated[str, Option(choices=ESTIMATORS)] = "exact"
    num_terms: Count = 4
    stop_probability: Fraction = 0.05
    noise: Annotated[str, Option(choices=trace.NOISE_KINDS)] = "rademacher"
    tolerance: Positive | None = None
    max_iterations: Count = 1000
    event_ndims: Ndims = 1

    allows_invertible_backprop: ClassVar[bool] = False

    def _check(self) -> None:
        check_conditioner("Residual", "network", self.network, self.event_ndims)

    @property
    def needs_key(self) -> bool:
        return self.estimator != "exact"

    def _g(self, values: Array, context: Array | None) -> tuple[Callable[[PyTree, Array], Array], PyTree]:
        """The network as a pure function of everything that it depends on, for solvers and series.

        In training, a network whose norms are found by power iteration starts from the stored vectors in every call of
        g, so that all of them see one map; the vectors move once.
        """
        if self.is_initializing():
            self.network(values, values.shape[-1], context)  # creates the parameters
        network, bound = self.network.unbind()
        variables = jax.tree.map(lambda leaf: leaf, bound)  # a copy, as the vectors move in place
        moves = self.is_mutable_collection(SINGULAR_VECTORS) and not self.is_initializing()
        if moves:
            self.network(values, values.shape[-1], context)  # nobody reads the output

        def g(params: PyTree, x: Array) -> Array:
            variables, context = params
            found = network.apply(variables, x, x.shape[-1], context, mutable=[SINGULAR_VECTORS] if moves else [])
            return jnp.asarray(found[0])

        return g, (variables, context)

    def _log_det(self, g: Callable[[PyTree, Array], Array], params: PyTree, x: Array) -> Array:
        """log|det dz/dx| at x."""
        if self.estimator == "exact":
            return trace.exact_log_det(lambda x: g(params, x), x, self.event_ndims)
        noise_key, roulette_key = jax.random.split(self._noise_key())
        noise = trace.hutchinson_noise(noise_key, x.shape, x.dtype, self.noise)
        if self.estimator == "truncated":
            return trace.series_log_det(g, params, x, noise, self.num_terms, self.event_ndims)
        num_terms = trace.roulette_terms(roulette_key, self.num_terms, self.stop_probability)
        roulette = (self.num_terms, self.stop_probability)
        return trace.series_log_det(g, params, x, noise, num_terms, self.event_ndims, *roulette)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        g, params = self._g(z, context)
        x = solve_fixed_point(lambda x: z - g(params, x), z, self.event_ndims, self.tolerance, self.max_iterations)
        report_largest(self, "inverse_residual", z - x - g(params, x))
        return x, -self._log_det(g, params, x)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        g, params = self._g(x, context)
        return x + g(params, x), self._log_det(g, params, x)

"""Numerical inverses with exact derivatives: the solver is hidden from autodiff by the implicit function theorem.

Autodiff through the iterations of a solver is slow, and through a bisection it is silently zero. Here x(y) is
differentiated as the solution of f(x) = y: dx = (dy - df at fixed x) / f'(x), in forward and reverse mode.
`invert_increasing` inverts elementwise maps, `solve_fixed_point` contractions and whatever else iterates to a solution:
`invert_autoregressive` maps with a triangular Jacobian.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jflows.ops import varying
from jflows.typing import Array

MAX_DOUBLINGS = 1100  # from 1 past the largest float64
STALLED_ULPS = 32
END_ULPS = 4
MAX_ITERATIONS = 200  # a bisection of [-1e4, 1e4] to the last bit of float64 takes about 70
ROUNDING_STEPS = 16  # where a contraction is taken as settled, in units of the last place of its largest element


def invert_increasing(
    f: Callable[[Array], Array],
    y: Array,
    lower: Array | float,
    upper: Array | float,
    slope: Callable[[Array], tuple[Array, Array]] | None = None,
) -> Array:
    """Solves f(x) = y elementwise for a strictly increasing f, by Newton's method kept inside a shrinking bracket.

    Newton steps that leave the bracket, or are longer than half of the step before the last, are replaced by its
    midpoint (Press et al. 2007, Numerical Recipes, section 9.4), so it converges for every increasing f, kinks and
    plateaus included. An element stops when its bracket or its step is within rounding, whatever the others do: results
    do not depend on the batch.

    Args:
      f: elementwise, differentiable almost everywhere; what it closes over gets exact derivatives too.
      y: any shape.
      lower: where the search begins, below `upper`; the bracket [lower, upper] grows by doubling until it holds the
        solution.
      upper: where the search begins, above `lower`.
      slope: x -> f(x) and f'(x), where that is cheaper than a jvp of f.
    Shapes:
      y: [...] -> x: [...].
    Numerics: |x error| about 4 ulp of x plus the rounding error of f / f'(x). Not finite where y is NaN or out of
      reach of f.
    """
    lower, upper = (jnp.broadcast_to(jnp.asarray(end, y.dtype), y.shape) for end in (lower, upper))
    initial = 0.5 * (lower + upper)

    def solve(residual: Callable[[Array], Array], _: Array) -> Array:
        def value_and_slope(x: Array) -> tuple[Array, Array]:
            if slope is None:
                return jax.jvp(residual, (x,), (jnp.ones_like(x),))
            value, derivative = slope(x)
            return value - y, derivative

        return _safeguarded_newton(value_and_slope, *_bracket(residual, lower, upper))

    def tangent_solve(linear: Callable[[Array], Array], rhs: Array) -> Array:
        return rhs / linear(jnp.ones_like(rhs))  # the derivative of an elementwise map is diagonal

    root_of = lambda x: f(x) - y
    return lax.custom_root(root_of, varying.as_carried(root_of, initial), solve, tangent_solve)


def _bracket(residual: Callable[[Array], Array], lower: Array, upper: Array) -> tuple[Array, Array]:
    """Doubles the width on the failing side until residual(lower) <= 0 <= residual(upper)."""

    def widen(state):
        lower, upper, _, doublings = state
        # One call for both ends: a copy of f in the program for each would double its compile time.
        at_lower, at_upper = jax.vmap(residual)(jnp.stack([lower, upper]))
        too_high, too_low, width = at_lower > 0, at_upper < 0, upper - lower
        ends = jnp.where(too_high, lower - width, lower), jnp.where(too_low, upper + width, upper)
        return *ends, jnp.any(too_high | too_low), doublings + 1

    state = (lower, upper, jnp.asarray(True), 0)
    return varying.while_loop(lambda state: state[2] & (state[3] < MAX_DOUBLINGS), widen, state)[:2]


def _safeguarded_newton(value_and_slope: Callable[[Array], tuple[Array, Array]], lower: Array, upper: Array) -> Array:
    eps = jnp.finfo(lower.dtype).eps
    width = upper - lower

    def running(state) -> Array:
        *_, done, iteration = state
        return jnp.any(~done) & (iteration < MAX_ITERATIONS)

    def step(state):
        x, lower, upper, last_sizes, done, iteration = state
        value, slope = value_and_slope(x)
        lower, upper = jnp.where(value <= 0, x, lower), jnp.where(value >= 0, x, upper)
        newton = x - value / slope
        newton_size = jnp.abs(newton - x)
        # Of the step before the last: a bisection leaves as much to go as it has gone.
        halves = 2 * newton_size <= last_sizes[1]
        # A solution at an end of the bracket is missed by a rounding error: bisecting towards it would end too early.
        slack = END_ULPS * eps * jnp.abs(x)
        is_inside = (newton >= lower - slack) & (newton <= upper + slack)
        # NaN and infinity compare as False, so a zero slope ends up at the midpoint.
        proposal = jnp.where(is_inside & halves, jnp.clip(newton, lower, upper), 0.5 * lower + 0.5 * upper)
        # Tiny steps that no longer shrink are rounding errors of f: bisecting those would take tens of iterations.
        stalled = (newton_size <= STALLED_ULPS * eps * (width + jnp.abs(x))) & (2 * newton_size > last_sizes[0])
        proposal = jnp.where((value == 0) | stalled, x, proposal)
        proposal = jnp.where(jnp.isnan(value), jnp.nan, proposal)
        size = jnp.abs(proposal - x)
        next_x = jnp.where(done, x, proposal)
        next_done = done | ~(size > 2 * eps * jnp.abs(proposal))  # NaN ends the search too
        return next_x, lower, upper, (size, last_sizes[0]), next_done, iteration + 1

    middle = 0.5 * lower + 0.5 * upper
    state = (middle, lower, upper, (width, width), jnp.zeros(lower.shape, bool), 0)
    return varying.while_loop(running, step, state)[0]


def solve_fixed_point(
    f: Callable[[Array], Array],
    initial: Array,
    event_ndims: int,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> Array:
    """Solves x = f(x) for a contraction of each example, by x <- f(x); derivatives solve (I - J) dx = df likewise.

    The error shrinks by Lip(f) per iteration. An example stops when its own step is small, whatever the others do, and
    is then left as it is: results do not depend on the batch.

    Args:
      f: acts on the examples of a batch independently; what it closes over gets derivatives too, in both modes.
      initial: where to start; any point will do.
      event_ndims: how many trailing axes are one example.
      tolerance: largest step of a settled example, relative to 1 + its largest element; None for 16 units of rounding.
      max_iterations: after these it stops in any case, for the derivatives too.
    Shapes:
      initial: [*batch, *event] -> the same.
    Numerics: |x error| <= tolerance (1 + max|x|) Lip / (1 - Lip) where settled. What f diverges on is not finite.
    """
    return solve_and_count(f, initial, event_ndims, tolerance, max_iterations)[0]


def solve_and_count(
    f: Callable[[Array], Array],
    initial: Array,
    event_ndims: int,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """`solve_fixed_point`, and how many iterations were made: float32 []. It also serves autoregressive maps.

    If f_i depends on earlier elements only, in any order, f is no contraction in general, and yet `dim` iterations are
    exact, of x and of its derivatives: each settles one more element (Song et al. 2021, arXiv:2002.03629, section 3).
    So max_iterations is `dim` there, and fewer are the rule.
    """
    settled = ROUNDING_STEPS * float(jnp.finfo(initial.dtype).eps) if tolerance is None else tolerance

    def solve(residual: Callable[[Array], Array], start: Array) -> tuple[Array, Array]:
        solution, iterations = _iterate(lambda x: x - residual(x), start, event_ndims, settled, 1.0, max_iterations)
        return solution, iterations.astype(jnp.float32)  # `custom_root` differentiates this too: integers have no zeros

    def tangent_solve(linear: Callable[[Array], Array], rhs: Array) -> Array:
        def neumann(times_matrix: Callable[[Array], Array], rhs: Array) -> Array:
            # Purely relative: a right-hand side may be tiny, and its solution is at least half as large.
            return _iterate(lambda x: rhs + x - times_matrix(x), rhs, event_ndims, settled, 0.0, max_iterations)[0]

        return lax.custom_linear_solve(linear, rhs, neumann, neumann)

    root_of = lambda x: x - f(x)
    return lax.custom_root(root_of, varying.as_carried(root_of, initial), solve, tangent_solve, has_aux=True)


def invert_autoregressive(
    f: Callable[[Array], tuple[Array, Array]],
    y: Array,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> tuple[Array, Array]:
    """Solves f(x) = y for a map with a triangular Jacobian in some order of its elements, all elements in parallel.

        x <- x + (y - f(x)) / diag(df/dx)

    This is Newton's method with the diagonal in place of the Jacobian. Once the elements before x_i are right, it is
    Newton's method in one dimension, and exact in one step where f_i is affine in x_i. Where that may diverge, or a
    closed inverse of each element is at hand, iterate that instead, by `solve_fixed_point`, as `MaskedAutoregressive`
    does.

    Source: Song et al. 2021, arXiv:2002.03629, section 3 (Jacobi-Newton).

    Args:
      f: x -> y and the logarithm of the diagonal, elementwise.
      y: any points.
      tolerance: largest step of a settled example, relative to 1 + its largest element; None for 16 units of rounding.
      max_iterations: largest number of iterations of the solution, and of its derivatives; they need dim at most.
    Shapes:
      y: [*batch, dim] -> x: the same, and how many iterations were made: float32 [].
    """

    def update(x: Array) -> Array:
        reached, log_slope = f(x)
        # The factor of y - f(x) = 0 has no part in the derivatives.
        return x + (y - reached) * lax.stop_gradient(jnp.exp(-log_slope))

    return solve_and_count(update, y, 1, tolerance, max_iterations)


def solve_triangular_system(times_matrix: Callable[[Array], Array], diagonal: Array, rhs: Array) -> Array:
    """x with times_matrix(x) = rhs, for a matrix that is triangular in some order of the elements, given its diagonal.

    x <- x + (rhs - A x) / diagonal: exact after dim iterations, as the error is multiplied by a nilpotent matrix.

    Shapes:
      diagonal, rhs: [*batch, dim] -> x: the same.
    """
    rounding = ROUNDING_STEPS * float(jnp.finfo(rhs.dtype).eps)
    improve = lambda x: x + (rhs - times_matrix(x)) / diagonal
    return _iterate(improve, rhs / diagonal, 1, rounding, 0.0, rhs.shape[-1])[0]


def _iterate(
    f: Callable[[Array], Array], start: Array, event_ndims: int, tolerance: float, absolute: float, limit: int
) -> tuple[Array, Array]:
    axes = tuple(range(start.ndim - event_ndims, start.ndim))

    def largest(values: Array) -> Array:
        return jnp.max(jnp.abs(values), axis=axes, keepdims=True)

    def running(state) -> Array:
        _, done, iteration = state
        return jnp.any(~done) & (iteration < limit)

    def step(state):
        x, done, iteration = state
        proposal = f(x)
        small = largest(proposal - x) <= tolerance * (absolute + largest(proposal))
        finite = jnp.isfinite(largest(proposal))  # what diverged is left as it is, not finite
        return jnp.where(done, x, proposal), done | small | ~finite, iteration + 1

    done = jnp.zeros(largest(start).shape, bool)
    solution, _, iterations = varying.while_loop(running, step, (start, done, jnp.asarray(0)))
    return solution, iterations

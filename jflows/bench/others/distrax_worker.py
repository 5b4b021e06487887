"""distrax: couplings that cut the coordinates, elementwise and linear maps. Plain products stand for networks."""

# pyright: reportMissingImports=false
import functools
import itertools
from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from serving import Calls, jax_map, serve, set_jax, waiting

MIN_SHARE, MIN_SLOPE = 1e-3, 1e-3


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Draws of N(0, scale^2)."""
    return scale * jax.random.normal(jax.random.key(seed), shape)


def mapped(build: Callable[[Any], Any], params: Any, shape: tuple[int, ...]) -> Calls:
    """A bijector that is built from its parameters inside the timed program, as a model that trains them does."""
    forward = lambda params, z: build(params).forward_and_log_det(z)
    inverse = lambda params, x: build(params).inverse_and_log_det(x)
    return jax_map(forward, inverse, params, normal(*shape, seed=1))


def dense(sizes: list[int], seed: int) -> list[tuple[Any, Any]]:
    """Kernels and biases of dense layers of these sizes."""
    pairs = list(itertools.pairwise(sizes))
    return [
        (normal(*pair, seed=seed + i, scale=0.3 / pair[0] ** 0.5), jnp.zeros(pair[1])) for i, pair in enumerate(pairs)
    ]


def network(weights: list[tuple[Any, Any]], x: Any) -> Any:
    """Dense layers with ReLU between them."""
    for kernel, bias in weights[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    return x @ weights[-1][0] + weights[-1][1]


def affine(raw: Any) -> Any:
    """The affine map of parameters [*batch, 2 dim], whose scale lies between exp(-2) and exp(2)."""
    shift, log_scale = jnp.split(raw, 2, axis=-1)
    return distrax.ScalarAffine(shift, log_scale=2 * jnp.tanh(log_scale / 2))


def spline_of(bound: float, num_bins: int, changed: int) -> Callable[[Any], Any]:
    """What makes rational-quadratic splines of parameters [*batch, changed (3 num_bins + 1)]."""

    def inner(raw: Any) -> Any:
        raw = raw.reshape(*raw.shape[:-1], changed, 3 * num_bins + 1)
        return distrax.RationalQuadraticSpline(raw, -bound, bound, boundary_slopes="identity")

    return inner


def couplings(inner: Callable, per_element: int, shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """A flow of couplings, which change the two halves in turn; `inner(changed)` makes the map of a half."""
    batch, dim = shape
    kept = dim // 2
    sizes = lambda swap: [dim - kept if swap else kept, hidden, hidden, (kept if swap else dim - kept) * per_element]
    params = [dense(sizes(index % 2 == 1), 10 * index) for index in range(num_layers)]

    def flow(params: Any) -> Any:
        layers = []
        for index, weights in enumerate(params):
            swap = index % 2 == 1
            changed = kept if swap else dim - kept
            layers.append(
                distrax.SplitCoupling(kept, 1, functools.partial(network, weights), inner(changed), swap=swap)
            )
        base = distrax.MultivariateNormalDiag(jnp.zeros(dim), jnp.ones(dim))
        return distrax.Transformed(base, distrax.Chain(layers))

    x, key = normal(*shape, seed=3), jax.random.key(4)
    gradient = jax.value_and_grad(lambda params, x: jnp.mean(flow(params).log_prob(x)))
    return {
        "log_prob": waiting(jax.jit(lambda params, x: flow(params).log_prob(x)), params, x),
        "gradient": waiting(jax.jit(gradient), params, x),
        "sample": waiting(jax.jit(lambda p, key: flow(p).sample(seed=key, sample_shape=(batch,))), params, key),
    }


def realnvp(shape: tuple[int, ...], num_layers: int, hidden: int) -> Calls:
    """Affine couplings."""
    return couplings(lambda changed: affine, 2, shape, num_layers, hidden)


def nsf_coupling(shape: tuple[int, ...], num_layers: int, hidden: int, num_bins: int, bound: float) -> Calls:
    """Couplings of rational-quadratic splines."""
    inner = functools.partial(spline_of, bound, num_bins)
    return couplings(inner, 3 * num_bins + 1, shape, num_layers, hidden)


def affine_coupling(shape: tuple[int, ...], hidden: int) -> Calls:
    """One affine coupling."""
    dim = shape[-1]
    build = lambda params: distrax.SplitCoupling(dim // 2, 1, functools.partial(network, params), affine)
    return mapped(build, dense([dim // 2, hidden, 2 * (dim - dim // 2)], 0), shape)


def rational_quadratic(shape: tuple[int, ...], num_bins: int, bound: float) -> Calls:
    """A rational-quadratic spline with parameters for each number."""
    settings: Any = dict(min_bin_size=MIN_SHARE * 2 * bound, min_knot_slope=MIN_SLOPE)
    build = lambda raw: distrax.RationalQuadraticSpline(raw, -bound, bound, **settings)
    return mapped(build, normal(*shape, 3 * num_bins + 1), shape)


def of_channels(build: Callable[[Any], Any], params: Callable[[int], Any]) -> Callable[..., Calls]:
    """What times a map whose parameters `params(dim)` draws."""
    return lambda shape: mapped(build, params(shape[-1]), shape)


def elementwise(make: Callable[[], Any]) -> Callable[..., Calls]:
    """What times an elementwise map without parameters."""
    return lambda shape: mapped(lambda _: distrax.Block(make(), 1), (), shape)


def matrix(dim: int) -> Any:
    """A matrix near the identity: [dim, dim]."""
    return jnp.eye(dim) + normal(dim, dim, scale=0.3 / dim**0.5)


def low_rank(dim: int) -> Any:
    """A diagonal, and two factors of rank 4."""
    factor = normal(dim, 4, scale=0.3)
    return jnp.exp(normal(dim, seed=1)), factor, factor


def inverted(make: Callable[..., Any]) -> Callable[[Any], Any]:
    """distrax's linear maps go from z to x by the matrix, ours from x to z."""
    return lambda params: distrax.Inverse(make(params))


MODELS = {
    "realnvp": realnvp,
    "nsf_coupling": nsf_coupling,
    "affine_coupling": affine_coupling,
    "rational_quadratic": rational_quadratic,
    "actnorm": of_channels(
        lambda p: distrax.Block(distrax.ScalarAffine(p[0], log_scale=p[1]), 1),
        lambda dim: (normal(dim), normal(dim, seed=1)),
    ),
    "diagonal_linear": of_channels(inverted(distrax.DiagLinear), lambda dim: jnp.exp(normal(dim))),
    "triangular_linear": of_channels(inverted(distrax.TriangularLinear), matrix),
    "low_rank_linear": of_channels(inverted(lambda p: distrax.DiagPlusLowRankLinear(*p)), low_rank),
    "invertible_linear": of_channels(
        inverted(lambda p: distrax.LowerUpperTriangularAffine(*p)), lambda dim: (matrix(dim), jnp.zeros(dim))
    ),
    "sigmoid": elementwise(distrax.Sigmoid),
    "tanh": elementwise(distrax.Tanh),
}

if __name__ == "__main__":
    serve(MODELS, ("distrax", "jax"), set_jax)

"""Every family is a density: it integrates to 1 over 1-D and 2-D space, at random parameters and after some training.

A new family is one line in `FAMILIES`: its name, a constructor from the number of dimensions, and these numbers.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.bijectors import Bijector
from jflows.testing import integrate_density
from jflows.testing.common import perturb

NUM_STEPS = 50
SPACING = 0.12  # of the grid in two dimensions


class Family(NamedTuple):
    """A constructor, the dimensions to try, the tolerance of the integral over +-bound, and whether it is slow.

    Where 1-D and 2-D are tried, the former is slow. A density with kinks needs a wider tolerance on this grid.
    """

    make: Callable[[int], Bijector]
    dims: tuple[int, ...] = (1, 2)
    tol: float = 1e-3
    bound: float = 12.0
    slow: bool = False


def in_layers(*makes: Callable[[], Bijector]) -> Bijector:
    return b.Chain(tuple(make() for make in makes))


def coupling(inner: b.InnerMap) -> Bijector:
    return b.Coupling(nn.MLP((8,), activation="tanh"), inner)


FAMILIES = {
    "elementwise_affine": Family(lambda dim: b.Elementwise(b.Affine()), (1,)),
    "coupling_affine": Family(
        lambda dim: in_layers(lambda: coupling(b.Affine()), b.InvertibleLinear, b.ActNorm), (2,), bound=24.0, slow=True
    ),
    "elementwise_prelu": Family(lambda dim: in_layers(lambda: b.Elementwise(b.PReLU()), b.ActNorm), (1,)),
    "logistic_mixture": Family(lambda dim: b.Elementwise(b.LogisticMixture(3)), (1,)),
    "logistic_mixture_coupling": Family(lambda dim: coupling(b.LogisticMixture(2)), (2,), bound=24.0, slow=True),
    "gaussianize": Family(lambda dim: b.Elementwise(b.Gaussianize(3)), (1,), slow=True),
    "linear_spline": Family(lambda dim: b.Elementwise(b.LinearSpline(8)), (1,)),
    "quadratic_spline": Family(lambda dim: b.Elementwise(b.QuadraticSpline(4)), (1,), slow=True),
    "cubic_spline": Family(lambda dim: b.Elementwise(b.CubicSpline(4)), (1,), slow=True),
    "spline": Family(lambda dim: b.Elementwise(b.RationalQuadraticSpline(4)), (1,)),
    "spline_coupling": Family(
        lambda dim: in_layers(lambda: coupling(b.RationalQuadraticSpline(4)), b.Householder, b.ActNorm),
        (2,),
        2e-3,
        bound=16.0,
    ),
    "linear": Family(lambda dim: in_layers(b.QRLinear, lambda: b.LowRankLinear(1), b.TriangularLinear), (2,)),
    "repeat": Family(
        lambda dim: b.Repeat(in_layers(lambda: coupling(b.Affine()), b.Householder), 3), (2,), bound=24.0, slow=True
    ),
    "residual": Family(lambda dim: b.Residual(nn.LipschitzMLP((8,), coefficient=0.9)), (1, 2), slow=True),
    "continuous": Family(lambda dim: b.Continuous(nn.TimeMLP((8,)), rtol=1e-6, atol=1e-6), (2,), slow=True),
    "planar": Family(lambda dim: b.Inverse(in_layers(b.Planar, b.Planar))),
    "planar_numerical": Family(lambda dim: b.Planar(), (2,), slow=True),
    "radial": Family(lambda dim: in_layers(b.Radial, b.Radial), tol=2e-3),
    "sylvester": Family(lambda dim: b.Inverse(b.Sylvester(dim, num_reflections=dim))),
    "sylvester_numerical": Family(lambda dim: b.Sylvester(dim, "qr"), (2,), slow=True),
    "block_autoregressive": Family(lambda dim: b.BlockNeuralAutoregressive(4)),
    "block_autoregressive_add": Family(lambda dim: b.BlockNeuralAutoregressive(4, residual="add"), (2,), slow=True),
    "integral": Family(lambda dim: b.Elementwise(b.MonotoneIntegral(2, (8,), num_nodes=17)), (1,), 2e-3),
    "integral_coupling": Family(lambda dim: coupling(b.MonotoneIntegral(2, (8,), num_nodes=17)), (2,), 2e-3, slow=True),
}


def parameters():
    for name, family in FAMILIES.items():
        for dim in family.dims:
            slow = family.slow or dim < max(family.dims)
            yield pytest.param(family, dim, id=f"{name}_{dim}d", marks=[pytest.mark.slow] if slow else [])


def data(dim: int) -> np.ndarray:
    """Two modes, or a bent strip."""
    random = np.random.default_rng(0)
    x = random.standard_normal((128, dim))
    if dim == 1:
        return 0.5 * x + np.where(random.random((128, 1)) < 0.3, -1.5, 1.5)
    return x @ np.diag([1.0, 0.3]) + np.stack([np.zeros(128), x[:, 0] ** 2 - 1], axis=-1)


@functools.partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def fit(flow: jflows.Flow, key: jax.Array, x: jax.Array):
    """-> variables of `init`, those after training, and the loss of every step."""
    variables = flow.init(key, x)
    optimizer = optax.adam(0.03)

    def loss(params):
        return -jnp.mean(flow.log_prob({**variables, "params": params}, x))

    def step(state, _):
        params, optimizer_state = state
        value, gradients = jax.value_and_grad(loss)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(params, updates), optimizer_state), value

    params = variables["params"]
    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), None, NUM_STEPS)
    return variables, {**variables, "params": params}, losses


@pytest.mark.parametrize(("family", "dim"), list(parameters()))
@pytest.mark.by_default("spline_1d", "linear_spline_1d", "elementwise_affine_1d", "logistic_mixture_1d", "linear_2d")
def test_integrates_to_one(family, dim):
    flow = jflows.Flow(family.make(dim), jflows.distributions.StandardNormal((dim,)), (dim,))
    variables, trained, losses = fit(flow, jax.random.key(0, impl="unsafe_rbg"), jnp.asarray(data(dim)))
    assert losses[-1] < losses[0] - 0.01
    for values in (perturb(variables, 1, 0.3), trained):
        num_points = 1 + round(2 * family.bound / SPACING) if dim == 2 else 4001
        total = integrate_density(flow, values, bound=family.bound, num_points=num_points)
        np.testing.assert_allclose(total, 1.0, atol=family.tol)

"""An image as context: it reaches every level of a multi-scale flow, at the level's own size."""

import jax
import jax.numpy as jnp
import numpy as np

from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.flows import Flow

KEY = jax.random.key(0, impl="unsafe_rbg")


def test_an_image_context_is_resized_to_every_level():
    def level() -> b.Bijector:
        return b.Chain((b.Coupling(nn.ConvNet(2, norm="bias"), b.Shift(), event_ndims=3), b.Squeeze()))

    prior = b.Coupling(nn.ZeroConv(), b.Affine(), event_ndims=3)
    bijector = b.MultiScale((4, 4, 1), (level(), level()), (prior, b.Identity(event_ndims=3)))
    flow = Flow(bijector, StandardNormal((16,)), (4, 4, 1), context_shape=(4, 4, 2))
    x, context = np.random.default_rng(0).normal(size=(3, 4, 4, 1)), np.random.default_rng(0).normal(size=(3, 4, 4, 2))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, flow.init(KEY, x, context))
    sensitivity = jax.jit(jax.grad(lambda c: flow.log_prob(variables, x, c)[0]))(context)
    assert np.all(sensitivity[0] != 0)  # every pixel counts, also where the level is 2x2 or 1x1
    assert np.all(sensitivity[1:] == 0)


def test_a_vector_context_reaches_all_positions_alike():
    term, like = nn.ContextTerm(), jnp.zeros((2, 3, 3, 4))
    context = jnp.ones((2, 5))
    variables = jax.tree.map(jnp.ones_like, term.init(KEY, context, like))
    np.testing.assert_array_equal(term.apply(variables, context, like), jnp.full((2, 1, 1, 4), 5.0))

"""Normal bases against distrax, and the meaning of temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.distributions import Base, DiagonalNormal, StandardNormal

KEY = jax.random.key(0)
SHAPE = (2, 3)
PARAMS = {"mean": jnp.arange(6.0).reshape(SHAPE), "log_std": jnp.linspace(-1, 1, 6).reshape(SHAPE)}
BASES = [
    (StandardNormal(SHAPE), {}, 0.0, 1.0),
    (DiagonalNormal(SHAPE), {"params": PARAMS}, PARAMS["mean"], jnp.exp(PARAMS["log_std"])),
]
IDS = ["standard", "diagonal"]


@pytest.mark.parametrize(("base", "variables", "mean", "std"), BASES, ids=IDS)
def test_log_prob_equals_distrax(base, variables, mean, std):
    distrax = pytest.importorskip("distrax")
    z = jax.random.normal(KEY, (5, *SHAPE))
    reference = distrax.Independent(distrax.Normal(jnp.broadcast_to(mean, SHAPE), jnp.broadcast_to(std, SHAPE)), 2)
    np.testing.assert_allclose(base.apply(variables, z, method="log_prob"), reference.log_prob(z), rtol=1e-12)


@pytest.mark.parametrize(("base", "variables", "mean", "std"), BASES, ids=IDS)
def test_temperature_scales_the_deviation_from_the_mean(base, variables, mean, std):
    def draw(temperature):
        return base.apply(variables, KEY, (4000,), None, temperature, method="sample")

    assert draw(1.0).shape == (4000, *SHAPE)
    np.testing.assert_allclose(draw(0.0), jnp.broadcast_to(mean, (4000, *SHAPE)))
    np.testing.assert_allclose(draw(0.7) - mean, 0.7 * (draw(1.0) - mean), atol=1e-12)
    np.testing.assert_allclose((draw(1.0) - mean).std(axis=0), jnp.broadcast_to(std, SHAPE), rtol=0.1)


def test_narrow_latents_keep_a_float32_density():
    z = jnp.ones((5, *SHAPE), jnp.bfloat16)
    assert StandardNormal(SHAPE).apply({}, z, method="log_prob").dtype == jnp.float32


def test_a_base_must_be_whole():
    class Half(Base):
        event_shape: tuple = ()

        def log_prob(self, z, context=None):
            return z

    with pytest.raises(TypeError, match="abstract"):
        Half()

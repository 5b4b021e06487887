"""What a temperature does exactly: for which flows the density of samples is a power of the density itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import jflows
from jflows.flows import Flow
from jflows.testing.common import perturb

KEY, HEAT = jax.random.key(0), 0.7
FLOWS = {  # name: options of glow, and whether the density of samples is proportional to p(x)^(1/T^2)
    "additive": ({"coupling": "additive"}, True),
    "affine": ({"coupling": "affine"}, False),
    "additive, with a learned prior": ({"coupling": "additive", "num_levels": 2}, False),
    "additive, on logit pixels": ({"coupling": "additive", "preprocess": "logit", "alpha": 1e-6}, False),
}


def spread(options: dict) -> float:
    """The deviation of log p_T(x) - log p(x) / T^2 over samples x at temperature T, in nats; 0 if p_T ~ p^(1/T^2)."""
    flow = jflows.glow((4, 4, 1), **{"num_levels": 1, "num_steps": 1, "width": 2, "permutation": "reverse", **options})
    variables = flow.init(KEY, np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1)))
    return float(_spread(flow, perturb(variables, 0, 0.1)))


def _spread(flow: Flow, variables) -> jax.Array:
    @jax.jit
    def run(e):
        decode = lambda e: flow.decode(variables, HEAT * e)[0].reshape(-1)
        log_det = jnp.linalg.slogdet(jax.vmap(jax.jacfwd(decode))(e))[1]
        x = flow.decode(variables, HEAT * e)[0]
        apart = norm.logpdf(e).sum(-1) - log_det - flow.log_prob(variables, x) / HEAT**2
        return jnp.nanstd(jnp.where(jnp.isfinite(apart), apart, jnp.nan))  # pixels at an end of the range have no slope

    return run(flow.sample_latent(variables, KEY, (16,)))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.by_default("additive", "affine")
def test_the_density_of_samples_is_a_power_only_where_volume_is_preserved(name):
    options, is_power = FLOWS[name]
    assert (spread(options) < 1e-3) if is_power else (spread(options) > 0.1)


def test_a_temperature_scales_the_latents_that_samples_are_decoded_from():
    flow = jflows.realnvp((3,), 2, (4,))
    variables = flow.init(KEY, np.random.default_rng(0).normal(size=(32, 3)))
    z, cold = flow.sample_latent(variables, KEY, (5,)), flow.sample_latent(variables, KEY, (5,), temperature=HEAT)
    np.testing.assert_allclose(cold, HEAT * z, rtol=1e-6)
    np.testing.assert_allclose(flow.sample(variables, KEY, (5,), temperature=HEAT), flow.decode(variables, cold)[0])

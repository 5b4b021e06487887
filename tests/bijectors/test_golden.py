"""Pointwise maps against the independent ones of TensorFlow Probability, which distrax stands on."""

import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b

pytest.importorskip("distrax")
from tensorflow_probability.substrates import jax as tfp

Z = np.array([[-3.0, -0.4, 1e-3], [0.2, 1.7, 6.0]])
PAIRS = {
    "exp": (b.Exp(), tfp.bijectors.Exp(), Z),
    "softplus": (b.Softplus(), tfp.bijectors.Softplus(), Z),
    "sigmoid": (b.Sigmoid(), tfp.bijectors.Sigmoid(), Z),
    "logit": (b.Logit(), tfp.bijectors.Invert(tfp.bijectors.Sigmoid()), 1 / (1 + np.exp(-Z))),
    "tanh": (b.Tanh(), tfp.bijectors.Tanh(), Z),
    "softsign": (b.Softsign(), tfp.bijectors.Softsign(), Z),
    "power": (b.Power(exponent=1.5), tfp.bijectors.Power(1.5), np.abs(Z)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_tensorflow_probability(name):
    ours, theirs, z = PAIRS[name]
    z = jnp.asarray(z)
    x, log_det = ours.apply({}, z, method="forward_and_log_det")
    np.testing.assert_allclose(x, theirs.forward(z), rtol=1e-12)
    np.testing.assert_allclose(log_det, theirs.forward_log_det_jacobian(z, event_ndims=1), rtol=1e-11)
    back, back_log_det = ours.apply({}, x, method="inverse_and_log_det")
    np.testing.assert_allclose(back, z, rtol=1e-9)
    np.testing.assert_allclose(back_log_det, theirs.inverse_log_det_jacobian(x, event_ndims=1), rtol=1e-9)

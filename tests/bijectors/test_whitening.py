"""`ActNorm`, `Standardize` and `StandardizeContext`: columns of any unit, constant ones, statistics that are given."""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.bijectors.actnorm import warn_of_constant_channels
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError

KEY = jax.random.key(0)
NOISE = np.random.default_rng(0).standard_normal((200, 3))
X = np.asarray(NOISE * [1e-9, 2.0, 0.0] + [0.0, 5000.0, 7.0], np.float32)
INVERSE, FORWARD = "inverse_and_log_det", "forward_and_log_det"


@pytest.mark.parametrize("bijector", [b.ActNorm(), b.Standardize()])
def test_columns_of_any_unit_are_whitened_in_float32_and_come_back(bijector):
    (z, log_det), variables = bijector.init_with_output(KEY, X, method=INVERSE)
    np.testing.assert_allclose(np.asarray(z, np.float64).mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(z, np.float64).std(axis=0), [1, 1, 0], atol=1e-3)
    np.testing.assert_allclose(log_det, -np.log(1e-9) - np.log(2), atol=0.2)
    x, back = bijector.apply(variables, z, method=FORWARD)
    np.testing.assert_allclose(x, X, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(back, -log_det, rtol=1e-6)


def test_actnorm_whitens_x_in_the_direction_of_sampling():
    (x, _), _ = b.ActNorm().init_with_output(KEY, X, method=FORWARD)
    np.testing.assert_allclose(np.asarray(x, np.float64).std(axis=0), [1, 1, 0], atol=1e-3)


def test_standardize_is_the_identity_in_the_direction_of_sampling():
    (x, log_det), variables = b.Standardize().init_with_output(KEY, X, method=FORWARD)
    assert jnp.array_equal(x, X) and not log_det.any()
    assert jax.tree.map(jnp.shape, variables) == {"constants": {"shift": (3,), "log_scale": (3,)}}


class Parent(b.Bijector):
    """Hands known statistics on, as a flow does."""

    child: b.Standardize
    x_event_ndims = z_event_ndims = 1

    def _with_statistics(self, dtype):
        if self.is_initializing():
            self.child.use(np.array([1e-3, 2.0, 3.0]), np.array([1e-9, 4.0, 0.0]), dtype)

    def _forward_and_log_det(self, z, context):
        self._with_statistics(z.dtype)
        return self.child.forward_and_log_det(z)

    def _inverse_and_log_det(self, x, context):
        self._with_statistics(x.dtype)
        return self.child.inverse_and_log_det(x)


@pytest.mark.parametrize("method", [INVERSE, FORWARD])
def test_statistics_that_are_given_come_before_those_of_the_batch(method):
    constants = Parent(b.Standardize()).init(KEY, X, method=method)["constants"]["child"]
    assert {leaf.dtype for leaf in jax.tree.leaves(constants)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(constants["shift"], [-1e-3, -2, -3])
    np.testing.assert_allclose(constants["log_scale"], [-np.log(1e-9), -np.log(4), 0], rtol=1e-6)


class TestContexts:
    def test_contexts_of_any_unit_are_whitened(self):
        y, variables = nn.StandardizeContext().init_with_output(KEY, X)
        np.testing.assert_allclose(np.asarray(y, np.float64).std(axis=0), [1, 1, 0], atol=1e-3)
        assert jax.tree.map(jnp.shape, variables) == {"constants": {"mean": (3,), "log_scale": (3,)}}
        np.testing.assert_allclose(nn.StandardizeContext().apply(variables, X[0]), y[0])

    def test_statistics_that_are_given_come_first(self):
        def init(module, x):
            module.use(np.array([1.0, 2.0, 3.0]), np.array([0.5, 4.0, 0.0]), x.dtype)
            return module(x)

        y, _ = nn.StandardizeContext().init_with_output(KEY, X, method=init)
        np.testing.assert_allclose(y, (X - np.array([1, 2, 3])) * np.array([2, 0.25, 1]), rtol=1e-6)

    def test_labels_and_other_sizes_are_refused(self):
        with pytest.raises(InvalidTypeError, match="StandardizeContext: `context` must hold floating .*Use ClassEmbed"):
            nn.StandardizeContext().init(KEY, jnp.arange(3))
        variables = nn.StandardizeContext().init(KEY, X)
        with pytest.raises(InvalidValueError, match=r"must have 3 features, as at `init`; got shape \(2, 4\)"):
            nn.StandardizeContext().apply(variables, jnp.ones((2, 4)))


def flow_of(bijector: b.Bijector) -> jflows.Flow:
    return jflows.Flow(bijector, StandardNormal((3,)), (3,))


class TestWarning:
    def test_one_warning_names_where_and_how_many(self):
        flow = flow_of(b.Chain((b.ActNorm(), b.Repeat(b.Chain((b.Reverse(), b.ActNorm())), 4))))
        message = r"Flow.init: channels are constant .* scale 1: 1 of layers_0/ActNorm, 1 of layers_1/layers/layers_1/"
        with pytest.warns(UserWarning, match=message) as found:
            variables = flow.init(KEY, X)
        assert len(found) == 1 and found[0].filename == __file__
        assert np.sum(variables["params"]["bijector"]["layers_0"]["log_scale"] == 0) == 1

    def test_components_of_mixtures_warn_too(self):
        mixture = jflows.mixture_of_flows(flow_of(b.ActNorm()), None, 2)
        with pytest.warns(UserWarning, match=r"MixtureOfFlows.init: channels are constant .*: 1 of ActNorm\.") as found:
            mixture.init(KEY, X)
        assert len(found) == 1

    def test_silent_without_constants_or_values(self):
        flow = flow_of(b.ActNorm())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flow.init(KEY, X[:, :2].repeat(2, axis=1)[:, :3])
            jax.eval_shape(flow.init, KEY, X)
            jax.jit(flow.init)(KEY, X)
        with pytest.warns(UserWarning, match="here: channels are constant"):
            warn_of_constant_channels("here", flow.bijector, jax.jit(flow.init)(KEY, X)["params"]["bijector"])


WITHOUT_X64 = """
import warnings
warnings.simplefilter("error")
import jax, numpy as np
import jflows
from jflows import bijectors as b, nn
from tests.cases import CASES
assert not jax.config.jax_enable_x64
key = jax.random.key(0)
count = 0
for case in CASES:
    if case.slow or case.requires:
        continue
    bijector, random = case.make(), np.random.default_rng(0)
    shape = case.options.get("context_shape")
    x = random.uniform(0.2, 0.8, (4, *case.x_event_shape))
    context = None if shape is None else random.uniform(0.2, 0.8, (4, *shape))
    noise = {"noise": key} if bijector.needs_key else {}

    def run(key):
        for method in ("inverse_and_log_det", "forward_and_log_det"):
            values = x if method[0] == "i" else np.zeros((4, *bijector.z_event_shape(case.x_event_shape)))
            variables = bijector.init({"params": key, **noise}, values, context, method=method)
            out = bijector.apply(variables, values, context, method=method, rngs=noise)
            assert out[0].dtype == out[1].dtype == np.float32, case.name

    jax.eval_shape(run, key)
    count += 1
x, context = np.ones((4, 3)), np.ones((4, 2))
for preset in (jflows.realnvp, jflows.maf):
    flow = preset((3,), 1, (4,), context_dim=2)
    jax.eval_shape(lambda key: flow.log_prob(flow.init(key, x, context), x, context), key)
for network in (nn.MLP((4,)), nn.ResidualMLP(4, 1), nn.MADE((4,))):
    jax.eval_shape(lambda key: network.init(key, x, 6, context), key)
print(count)
"""


def test_float64_data_without_x64_are_taken_as_float32_without_a_warning():
    code = [sys.executable, "-c", WITHOUT_X64]
    done = subprocess.run(code, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 20


@pytest.mark.parametrize(
    "layer", [b.ActNorm(), b.Standardize(), nn.StandardizeContext()], ids=lambda m: type(m).__name__
)
def test_scales_at_the_ends_of_float32(layer):
    """1 / 1e38 is 0 for XLA, the sum of columns of 1e38 is infinite, and 1e-45 is 0: a constant."""
    x = np.asarray(NOISE[:, :1] * [1e-35, 1e37, 1e-45] + [0.0, 1e38, 0.0], np.float32)
    found, variables = jax.jit(layer.init_with_output)(KEY, x)
    z = np.asarray(found[0] if isinstance(found, tuple) else found)
    np.testing.assert_allclose(z[:, :2].std(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(z[:, :2].mean(axis=0), 0, atol=2e-3)  # a mean of 1e-38 is 0
    np.testing.assert_array_equal(z[:, 2], 0)
    if isinstance(found, tuple):
        np.testing.assert_allclose(found[1], -np.log(1e-35) - np.log(1e37), atol=0.2)
        back, _ = jax.jit(lambda v, z: layer.apply(v, z, method=FORWARD))(variables, z)
        np.testing.assert_allclose(back[:, :2], x[:, :2], rtol=1e-5, atol=1.2e-38)

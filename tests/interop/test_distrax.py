"""Flows, bases and bijectors in distrax, and distrax distributions under flows."""

import functools
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

distrax = pytest.importorskip("distrax")

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError
from jflows.interop.distrax import as_distrax, as_distrax_bijector, from_distrax
from jflows.nn import MLP, ClassEmbed, ConvNet, LipschitzMLP
from jflows.testing.common import perturb
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
Z = np.linspace(-2, 2, 10).reshape(5, 2)


def make_flow(**options) -> tuple[jflows.Flow, dict]:
    bijector = b.Chain((b.Coupling(MLP((4,), "tanh"), b.Affine()), b.Reverse(), b.ActNorm()))
    flow = jflows.Flow(bijector, d.DiagonalNormal((2,)), (2,), **options)
    context = jnp.zeros(5, int) if options else None
    return flow, filled(jax.eval_shape(flow.init, KEY, jax.device_put(Z), context), 0)


def part(variables: dict, name: str) -> dict:
    return {collection: tree[name] for collection, tree in variables.items() if name in tree}


def test_a_flow_is_a_distribution():
    flow, variables = make_flow()
    density = as_distrax(flow, variables)
    assert (density.event_shape, density.batch_shape) == ((2,), ())
    score = jax.jit(flow.log_prob)
    np.testing.assert_allclose(density.log_prob(Z), score(variables, jax.device_put(Z)), rtol=1e-12)
    x, log_prob = density.sample_and_log_prob(seed=KEY, sample_shape=(3, 2))
    assert x.shape == (3, 2, 2)
    np.testing.assert_allclose(log_prob, score(variables, x), rtol=1e-10)
    assert density.sample(seed=7).shape == (2,)  # a raw key, which distrax makes of an int
    np.testing.assert_allclose(jax.jit(lambda density, x: density.log_prob(x))(density, Z), density.log_prob(Z))
    with pytest.raises(NotImplementedError, match="mean"):
        density.mean()


@pytest.mark.slow
def test_a_conditional_flow_has_a_batch():
    flow, variables = make_flow(embed=ClassEmbed(3), context_shape=())
    density = as_distrax(flow, variables, [0, 1, 2])
    assert density.batch_shape == (3,)
    assert density.sample(seed=KEY, sample_shape=4).shape == (4, 3, 2)
    one = density.log_prob(Z[0])
    assert one.shape == (3,)
    for label in range(3):
        np.testing.assert_allclose(one[label], flow.log_prob(variables, jax.device_put(Z[0]), label), rtol=1e-12)
    assert len(set(one.tolist())) == 3


def test_bases_with_and_without_context():
    base, params = d.DiagonalNormal((2,)), {"mean": np.array([1.0, 2.0]), "log_std": np.array([0.0, 1.0])}
    ours = as_distrax(base, {"params": params})
    theirs = distrax.MultivariateNormalDiag(params["mean"], jnp.exp(params["log_std"]))
    np.testing.assert_allclose(ours.log_prob(Z), theirs.log_prob(Z), rtol=1e-12)
    np.testing.assert_array_equal(ours.mean(), theirs.mean())
    np.testing.assert_array_equal(ours.mode(), theirs.mode())
    conditional = {"params": {"mean": np.array([[3.0], [-3.0]]), "log_std": jnp.zeros((2, 1))}}
    density = as_distrax(d.ClassConditionalNormal((1,)), conditional, jnp.eye(2))
    assert density.batch_shape == (2,)
    assert density.sample(seed=KEY, sample_shape=(4,)).shape == (4, 2, 1)
    np.testing.assert_array_equal(density.mean(), [[3], [-3]])
    np.testing.assert_allclose(density.log_prob(np.array([3.0])), [-0.5 * np.log(2 * np.pi), -18.918938533], rtol=1e-9)


def test_a_bijector_serves_distrax():
    flow, variables = make_flow()
    bijector = as_distrax_bijector(flow.bijector, part(variables, "bijector"))
    transformed = distrax.Transformed(as_distrax(flow.base, part(variables, "base")), bijector)
    np.testing.assert_allclose(transformed.log_prob(Z), flow.log_prob(variables, jax.device_put(Z)), rtol=1e-10)
    x, log_det = distrax.Inverse(bijector).inverse_and_log_det(Z)
    back, back_log_det = bijector.inverse_and_log_det(x)
    np.testing.assert_allclose(back, Z, rtol=1e-10)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-10)
    squeeze = as_distrax_bijector(b.Squeeze(), {})
    assert (squeeze.event_ndims_in, squeeze.event_ndims_out) == (3, 3)
    with pytest.raises(ValueError, match="event_ndims_in"):
        squeeze.forward(jnp.ones((2, 2)))


def test_a_conditional_bijector_broadcasts():
    flow, variables = make_flow(embed=ClassEmbed(3), context_shape=())
    inner = part(variables, "bijector")
    z, log_det = as_distrax_bijector(flow.bijector, inner, jnp.eye(3)).inverse_and_log_det(jax.device_put(Z[0]))
    assert (z.shape, log_det.shape) == ((3, 2), (3,))
    x = jax.device_put(Z[:1])
    wanted = flow.bijector.apply(inner, x, jnp.eye(3)[1:2], method="inverse_and_log_det")
    np.testing.assert_allclose(z[1], wanted[0][0], rtol=1e-12)


def test_a_keyed_bijector_runs_with_the_key_it_was_given():
    keyed = b.Residual(LipschitzMLP((4,), coefficient=0.5), "roulette")
    variables = filled(jax.eval_shape(keyed.init, KEY, jax.device_put(Z)), 0)
    theirs = as_distrax_bijector(keyed, variables, key=KEY)
    wanted = keyed.apply(variables, jax.device_put(Z), rngs={"noise": KEY})
    for found in (theirs.inverse_and_log_det(Z), jax.jit(lambda t, z: t.inverse_and_log_det(z))(theirs, Z)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), found, wanted)
    flow = jflows.Flow(keyed, d.StandardNormal((2,)), (2,))
    of_flow = {collection: {"bijector": tree} for collection, tree in variables.items()}
    log_prob = as_distrax(flow, of_flow, key=KEY).log_prob(Z)
    np.testing.assert_allclose(log_prob, flow.log_prob(of_flow, jax.device_put(Z), key=KEY), rtol=1e-10)
    for call in (lambda: as_distrax_bijector(keyed, variables), lambda: as_distrax(flow, of_flow)):
        with pytest.raises(InvalidValueError, match="`key` must be given, as the log-det is estimated. Pass key="):
            call()


def test_a_context_may_be_an_image():
    coupling = b.Coupling(ConvNet(2), b.Affine(), event_ndims=3)
    image, context = jnp.ones((2, 2, 2)), jax.device_put(np.random.default_rng(0).normal(size=(3, 2, 2, 1)))
    variables = perturb(coupling.init(KEY, jnp.stack([image] * 3), context), 1, 0.3, jnp.float64)
    theirs = as_distrax_bijector(coupling, variables, context, context_ndims=3)
    z, log_det = theirs.inverse_and_log_det(image)
    wanted = coupling.apply(variables, jnp.stack([image] * 3), context)
    np.testing.assert_allclose(z, wanted[0], rtol=1e-10)
    np.testing.assert_allclose(log_det, wanted[1], rtol=1e-10)
    with pytest.raises(InvalidValueError, match="as_distrax_bijector: `context_ndims` must be at least 1; got 0"):
        as_distrax_bijector(coupling, variables, context, context_ndims=0)


def test_a_distrax_distribution_is_a_base():
    theirs = distrax.MultivariateNormalDiag(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    flow = jflows.Flow(b.ActNorm(), from_distrax(theirs), (2,))
    variables = flow.init(KEY, jax.device_put(Z))
    z, log_det = flow.encode(variables, jax.device_put(Z))
    log_prob = jax.jit(flow.log_prob)(variables, jax.device_put(Z))
    np.testing.assert_allclose(log_prob, theirs.log_prob(z) + log_det, rtol=1e-12)
    assert flow.sample(variables, KEY, (3,)).shape == (3, 2)
    cold = flow.decode(variables, theirs.mean())[0]
    np.testing.assert_allclose(flow.sample(variables, KEY, (), temperature=0.0), cold, rtol=1e-12)
    np.testing.assert_array_equal(flow.base.mode(), theirs.mode())
    assert from_distrax(theirs).log_prob(jnp.ones((3, 2), jnp.bfloat16)).dtype in (jnp.float32, jnp.float64)


def test_what_a_distrax_base_cannot_do_is_said():
    normal = distrax.Normal(jnp.zeros(2), jnp.ones(2))
    rule = (
        r"from_distrax: `distribution` must have no batch axes; got batch_shape \(2,\). Use distrax.Independent\(distri"
    )
    with pytest.raises(InvalidValueError, match=rule):
        from_distrax(normal)
    with pytest.raises(InvalidTypeError, match="from_distrax: `distribution` must be a distribution; got int"):
        from_distrax(3)
    warped = distrax.Transformed(distrax.Independent(normal, 1), distrax.Block(distrax.Tanh(), 1))
    base = from_distrax(warped)
    assert base.sample(KEY, (3,)).shape == (3, 2)
    with pytest.raises(InvalidValueError, match="DistraxBase: `mean` has no closed form"):
        base.sample(KEY, (3,), None, 0.5)
    with pytest.raises(InvalidValueError, match="DistraxBase: `mode` is not unique or has no closed form"):
        base.mode()
    rule = "to_spec: `DistraxBase.distribution` must hold int, .*; got Held. Keep arrays in variables."
    with pytest.raises(InvalidTypeError, match=rule):
        jflows.to_spec(base)


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidTypeError, match="as_distrax: `model` must be a Flow or a Base; got Reverse"):
        as_distrax(b.Reverse(), {})
    with pytest.raises(InvalidTypeError, match="as_distrax_bijector: `bijector` must be a jflows bijector; got int"):
        as_distrax_bijector(3, {})
    glow = jflows.glow((4, 4, 1), 1, 1, 4)
    with pytest.raises(
        InvalidValueError, match="as_distrax: `model` must not dequantize; got UniformDequantize. Build"
    ):
        as_distrax(glow, {})


def test_a_broken_tfp_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distrax", None)  # makes `import distrax` fail
    monkeypatch.delitem(sys.modules, "jflows.interop.distrax")
    rule = (
        "jflows.interop.distrax: `distrax` must be importable; got .* Run `pip install --force-reinstall --no-deps tfp-"
    )
    with pytest.raises(ImportError, match=rule) as caught:
        importlib.import_module("jflows.interop.distrax")
    assert isinstance(caught.value, JflowsError)

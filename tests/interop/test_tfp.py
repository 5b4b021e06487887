"""TFP's bijector properties for every exported family: round trips, log-dets, gradients, batch shapes and slices.

TFP's own test utility is not in its wheel; the properties here are the ones that it states.
"""

import importlib
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

tfp = pytest.importorskip("tensorflow_probability.substrates.jax")
tfb, tfd = tfp.bijectors, tfp.distributions
distrax = pytest.importorskip("distrax")

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError
from jflows.interop.distrax import from_distrax, from_distrax_bijector
from jflows.interop.tfp import as_tfp_bijector
from jflows.nn import LipschitzMLP
from jflows.testing import check_bijector
from jflows.testing.bijector_suite import Draws, drawn_variables
from tests.cases import CASES

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
EXACT = [case for case in CASES if not case.make().needs_key]
LARGEST_JACOBIAN = 16  # entries of an event, up to which the log-det is compared with autodiff
NUM = 3


def drawn(case) -> tuple:
    """A bijector, two sets of variables stacked, rows of x, and a context for each member or None."""
    options = case.options
    events = options.get("draw")
    draw = Draws(options.get("context_shape"), 0, options.get("domain"), 2.0, events)
    bijector = case.make()
    one, two = (drawn_variables(bijector, case.x_event_shape, draw, seed, 0.1) for seed in (0, 1))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)
    return bijector, stacked, draw.data(NUM, case.x_event_shape), draw.context(2)


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case.name)
@pytest.mark.by_default("coupling_tanh", "exp", "conditioned")
def test_every_family_keeps_the_properties_of_tfp(case):
    if case.requires:
        pytest.importorskip(case.requires)
    bijector, variables, rows, context = drawn(case)
    options = dict(context_ndims=len(case.options.get("context_shape") or (1,)), num_members=2)
    theirs = as_tfp_bijector(bijector, variables, context, **options)
    x_ndims, z_ndims = bijector.x_event_ndims, bijector.z_event_ndims
    assert tuple(theirs.experimental_batch_shape(y_event_ndims=x_ndims)) == (2,)
    z_event = bijector.z_event_shape(case.x_event_shape)
    assert tuple(theirs.inverse_event_shape(case.x_event_shape)) == z_event
    assert tuple(theirs.forward_event_shape(z_event)) == case.x_event_shape

    @jax.jit
    def both_ways(context, x):
        made = as_tfp_bijector(bijector, variables, context, **options)
        z = made.inverse(x)
        found = dict(z=z, inverse=made.inverse_log_det_jacobian(x, x_ndims))
        found |= dict(x=made.forward(z), forward=made.forward_log_det_jacobian(z, z_ndims))
        again = as_tfp_bijector(bijector, variables, context, **options)  # without what TFP has cached
        return found | dict(fresh=again.forward(z + 0.0), again=again.inverse(found["x"] + 0.0))

    x = jnp.broadcast_to(rows[:, None], (NUM, 2, *case.x_event_shape))
    found = both_ways(context, x)
    assert found["inverse"].shape == found["forward"].shape == (NUM, 2)
    close = lambda got, wanted: np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
    close(found["fresh"], x)
    close(found["again"], found["z"])
    close(found["forward"], -found["inverse"])

    # A slice is the bijector of that member, with its own context.
    for member in range(2):
        sliced = theirs[member]
        assert tuple(sliced.experimental_batch_shape(y_event_ndims=x_ndims)) == ()
        z, log_det = bijector.apply(
            jax.tree.map(lambda leaf: leaf[member], variables),  # noqa: B023
            rows,
            None if context is None else jnp.broadcast_to(context[member], (NUM, *context.shape[1:])),
        )
        close(found["z"][:, member], z)
        close(found["inverse"][:, member], log_det)
        if member == 0:
            close(jax.jit(sliced.inverse)(rows), z)

    def objective(variables, x):
        made = as_tfp_bijector(bijector, variables, context, **options)
        return jnp.sum(made.inverse(x) ** 2) + jnp.sum(made.inverse_log_det_jacobian(x, x_ndims))

    learned = {"params": variables["params"]} if "params" in variables else {}
    kept = {name: tree for name, tree in variables.items() if name != "params"}
    slopes = jax.jit(jax.grad(lambda learned, x: objective({**kept, **learned}, x), (0, 1)))(learned, x)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    assert np.any(slopes[1] != 0)

    if math.prod(case.x_event_shape) <= LARGEST_JACOBIAN and "chart" not in case.options:
        flat = lambda row: theirs[0].inverse(row.reshape(case.x_event_shape)).reshape(-1)
        jacobian = jax.jit(jax.jacrev(flat))(rows[0].reshape(-1))
        close(found["inverse"][0, 0], np.linalg.slogdet(jacobian)[1])


def test_a_bijector_serves_a_distribution_of_tfp():
    coupling = b.Chain((b.Elementwise(b.Affine()), b.Exp()))
    variables = coupling.init(KEY, jnp.ones((2, 3)))
    made = as_tfp_bijector(coupling, variables)
    density = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(jnp.zeros(3), jnp.ones(3)), made)
    flow = jflows.Flow(coupling, d.StandardNormal((3,)), (3,))
    of_flow = {name: {"bijector": tree} for name, tree in variables.items()}
    x = density.sample(4, seed=KEY)
    np.testing.assert_allclose(density.log_prob(x), flow.log_prob(of_flow, x), rtol=1e-6)
    np.testing.assert_allclose(tfb.Invert(made).forward(x), flow.encode(of_flow, x)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("theirs", "shape"),
    [
        (tfb.Chain([tfb.Shift(np.array([1.0, 2.0])), tfb.Scale(np.array([0.5, -2.0]))]), (2,)),
        (tfb.SoftmaxCentered(), (3,)),
        (distrax.Block(distrax.Tanh(), 1), (2,)),
    ],
    ids=["tfp", "tfp_other_shape", "distrax"],
)
def test_their_bijectors_become_ours(theirs, shape):
    scalar = isinstance(theirs, tfb.Chain)
    ours = from_distrax_bijector(distrax.Block(theirs, 1) if scalar else theirs)
    assert (ours.x_event_ndims, ours.z_event_ndims) == (1, 1)
    z = jax.device_put(np.random.default_rng(0).normal(size=(4, *ours.z_event_shape(shape))))
    x, log_det = ours.apply({}, z, method="forward_and_log_det")
    assert x.shape == (4, *shape)
    wanted = (
        theirs.forward_log_det_jacobian(z, 1)
        if not isinstance(theirs, distrax.Bijector)
        else theirs.forward_log_det_jacobian(z)
    )
    np.testing.assert_allclose(log_det, jnp.broadcast_to(wanted, (4,)), rtol=1e-6)
    back, back_log_det = ours.apply({}, x)
    np.testing.assert_allclose(back, z, rtol=1e-6)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-6)


def test_their_objects_make_a_flow():
    bijector = b.Chain((from_distrax_bijector(distrax.Block(tfb.Softplus(), 1)), b.Elementwise(b.Affine())))
    base = from_distrax(tfd.MultivariateNormalDiag(jnp.zeros(2, jnp.float64), jnp.ones(2, jnp.float64)))
    flow = jflows.Flow(bijector, base, (2,))
    variables = flow.init(KEY)
    x, log_prob = flow.sample_and_log_prob(variables, KEY, (3,))
    np.testing.assert_allclose(flow.log_prob(variables, x), log_prob, rtol=1e-6)


@pytest.mark.slow
def test_their_bijector_keeps_our_contract():
    held = from_distrax_bijector(distrax.Block(distrax.ScalarAffine(0.5, 2.0), 1))
    check_bijector(held, (3,), skip=("spec", "dtypes", "float32"))


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidTypeError, match="as_tfp_bijector: `bijector` must be a jflows bijector; got int"):
        as_tfp_bijector(3, {})
    keyed = b.Residual(LipschitzMLP((4,)), "roulette")
    with pytest.raises(InvalidValueError, match="as_tfp_bijector: `bijector` must have an exact log-det; got an est"):
        as_tfp_bijector(keyed, {})
    rule = r"as_tfp_bijector: `variables` must hold arrays with num_members=3 in front; got shape \(2, 3\). Stack them"
    with pytest.raises(InvalidValueError, match=rule):
        as_tfp_bijector(b.Exp(), {"params": jnp.ones((2, 3))}, num_members=3)
    with pytest.raises(InvalidTypeError, match="from_distrax_bijector: `bijector` must be a bijector; got int"):
        from_distrax_bijector(3)


def test_a_broken_tfp_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_probability.substrates", None)  # makes the import fail
    monkeypatch.delitem(sys.modules, "jflows.interop.tfp")
    rule = (
        "jflows.interop.tfp: `tfp-nightly` must be importable; got .* Run `pip install --force-reinstall --no-deps tfp-"
    )
    with pytest.raises(ImportError, match=rule) as caught:
        importlib.import_module("jflows.interop.tfp")
    assert isinstance(caught.value, JflowsError)

"""What comes to the door of a flow: types, ranks, batches of none, one row with many contexts, and no arrays at all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow, flow_matching_loss
from tests.presets import PRESETS, build, data_of, filled

KEY = jax.random.key(0)
TASKS = ("init", "log_prob", "sample", "grad")


def in_type(tree, dtype):
    """NumPy's arrays in another floating type."""
    to_type = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    return jax.tree.map(to_type, jax.device_get(tree))


def run(task, density, variables, x):
    key = KEY if density.needs_key else None
    if task == "init":
        return density.init(KEY, x)
    if task == "sample":
        return density.sample(variables, KEY, (3,))
    if task == "log_prob":
        return density.log_prob(variables, x, key=key)
    loss = lambda params: -jnp.sum(density.apply_loss({**variables, "params": params}, x, key=key)[0])
    return jax.grad(loss)(variables["params"])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.by_default("realnvp_invertible", "iaf", "nsf_coupling", "flow_gmm")
def test_promotion_may_be_strict_and_ranks_must_not_be_promoted(name):
    """Tracing shows it, backward passes too; `test_strict_programs_run` compiles them."""
    density, x = build(name), data_of(build(name), 4)
    x = x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x  # beside parameters in float64
    variables = jax.eval_shape(density.init, KEY, data_of(density, 4))
    wanted = [jax.eval_shape(functools.partial(run, task, density), variables, x) for task in TASKS]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = [jax.eval_shape(functools.partial(run, task, density), variables, x) for task in TASKS]
    assert found == wanted


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.slow
def test_strict_programs_run(name):
    density, x = build(name), data_of(build(name), 4)
    variables = jax.jit(density.init)(KEY, x)
    for task in TASKS:
        wanted = jax.jit(functools.partial(run, task, density))(variables, x)
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            found = jax.jit(functools.partial(run, task, density))(variables, x)
            run(task, density, variables, x)  # without jit, other code of JAX decides
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), found, wanted)


@functools.cache
def conditional(preset=jflows.realnvp, **options):
    """A flow with a context, its variables, x [4, 3] and context [4, 2]."""
    flow = preset((3,), 2, (4,), context_dim=2, **options)
    x, context = (np.random.default_rng(0).normal(size=(4, size)) for size in (3, 2))
    return flow, filled(jax.eval_shape(flow.init, KEY, x, context), 1), x, context


@pytest.mark.parametrize("preset", [jflows.iaf, jflows.nsf_coupling], ids=lambda preset: preset.__name__)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.by_default("float16-iaf", "float32-iaf")
def test_narrow_data_are_widened_to_the_parameters(preset, dtype):
    flow, variables, x, context = conditional(preset)
    narrow = x.astype(dtype)
    log_prob = jax.jit(flow.log_prob)
    found = log_prob(variables, narrow, context)
    assert found.dtype == jnp.float64
    np.testing.assert_array_equal(found, log_prob(variables, narrow.astype(np.float64), context))
    born = jax.eval_shape(flow.init, KEY, narrow, context.astype(dtype))
    assert all(leaf.dtype != dtype or dtype == jnp.float32 for leaf in jax.tree.leaves(born))  # never in half precision


def test_wide_data_widen_narrow_parameters_and_leave_batch_statistics_their_type():
    flow, variables, x, context = conditional(norm="batchnorm")
    narrow, apply_loss = in_type(variables, np.float32), jax.jit(flow.apply_loss)
    log_prob, updates = apply_loss(narrow, x, context)
    np.testing.assert_array_equal(log_prob, apply_loss(in_type(narrow, np.float64), x, context)[0])
    same = jax.tree.map(lambda new, old: new.dtype == old.dtype, updates, {"batch_stats": narrow["batch_stats"]})
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.by_default("iaf", "glow_invertible", "vmonf")
def test_no_example_gives_no_result(name):
    density, key = build(name), KEY if build(name).needs_key else None
    x = data_of(density, 4)
    shapes = jax.eval_shape(density.init, KEY, x)
    variables, none = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes), x[:0]
    assert density.log_prob(variables, none, key=key).shape == (0,)  # also outside of any program

    @jax.jit
    def zeros(variables, none):
        """What must be 0; shapes are compared while this is traced."""
        keys = None if key is None else jax.random.split(KEY, 4)[:0]
        for given in (key, keys):
            assert density.log_prob(variables, none, key=given).shape == (0,)
            assert density.bits_per_dim(variables, none, key=given, num_draws=1).shape == (0,)
        assert density.log_prob(variables, x[:, None][:, :0], key=key).shape == (4, 0)
        assert density.sample(variables, KEY, (0,)).shape == (0, *density.event_shape)
        assert density.sample(variables, KEY, (2, 0)).shape == (2, 0, *density.event_shape)
        loss = lambda params: jnp.sum(density.apply_loss({**variables, "params": params}, none, key=key)[0])
        found = jax.grad(loss)(variables["params"]), density.activations(variables, none, key=key)
        if isinstance(density, Flow):
            z, log_det = density.encode(variables, none, key=key)
            assert z.shape == (0, *density.latent_shape) and log_det.shape == (0,)
            assert density.decode(variables, z, key=key)[0].shape == (0, *density.event_shape)
            return found, density.reconstruction_error(variables, none)
        assert density.predict(variables, none, key=key).shape == (0,)
        assert density.elbo(variables, none, key=key).shape == (0,)
        return found

    assert not any(np.any(leaf) for leaf in jax.device_get(jax.tree.leaves(zeros(variables, none))))
    with pytest.raises(InvalidValueError, match=r"init: `x` must hold at least one example; got batch shape \(0,\)"):
        density.init(KEY, none)


def test_batch_statistics_survive_a_batch_of_none():
    flow, variables, x, context = conditional(norm="batchnorm")
    log_prob, updates = jax.jit(flow.apply_loss)(variables, x[:0], context[:0])
    assert log_prob.shape == (0,)
    jax.tree.map(np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"])


def test_x_and_context_broadcast_to_each_other():
    flow, variables, x, context = conditional()
    log_prob = jax.jit(flow.log_prob)
    every = log_prob(variables, jnp.repeat(x, 4, axis=0), jnp.tile(context, (4, 1))).reshape(4, 4)
    np.testing.assert_allclose(log_prob(variables, x[0], context), every[0])
    np.testing.assert_allclose(log_prob(variables, x[:1], context), every[0])
    np.testing.assert_allclose(log_prob(variables, x, context[1]), every[:, 1])
    np.testing.assert_allclose(log_prob(variables, x[:, None], context), every)
    z, log_det = jax.jit(flow.encode)(variables, x[0], context)
    assert z.shape == (4, 3) and log_det.shape == (4,)
    back, _ = jax.jit(flow.decode)(variables, z[:, None], context)
    np.testing.assert_allclose(back[jnp.arange(4), jnp.arange(4)], jnp.tile(x[0], (4, 1)), atol=1e-9)
    assert log_prob(variables, x[0], context[:0]).shape == (0,)


def test_x_and_context_of_a_mixture_broadcast_to_each_other():
    component = functools.partial(jflows.realnvp, num_layers=1, hidden_sizes=(4,), context_dim=2)
    density = jflows.vmonf((3,), 2, component)
    _, _, x, context = conditional()
    variables = filled(jax.eval_shape(density.init, KEY, x, context), 0)
    run = jax.jit(lambda x, context: (density.log_prob(variables, x, context), density.elbo(variables, x, context)))
    for found, wanted in zip(run(x[0], context), run(jnp.tile(x[0], (4, 1)), context), strict=True):
        np.testing.assert_allclose(found, wanted)
    assert jax.eval_shape(run, x[:, None], context)[1].shape == (4, 4)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda x: x.tolist(), "must be an array; got list"),
        (lambda x: 1.5, "must be an array; got float"),
        (lambda x: x.astype(str), "must hold floats or integers; got <U32"),
        (lambda x: x.astype(object), "must hold floats or integers; got object"),
        (lambda x: x.astype(complex), "must hold floats or integers; got complex128"),
        (lambda x: x > 0, "must hold floats or integers; got bool"),
        (lambda x: x.astype("datetime64[s]"), r"must hold floats or integers; got datetime64\[s\]"),
        (lambda x: x.astype("timedelta64[s]"), r"must hold floats or integers; got timedelta64\[s\]"),
        (lambda x: jax.random.split(KEY, x.shape), "must hold floats or integers; got key<fry>"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(make, got):
    flow, variables, x, context = conditional()
    bad = make(np.asarray(x))
    bad_context = make(np.asarray(context))
    for call, argument in (
        (lambda: flow.log_prob(variables, bad, context), "Flow: `x`"),
        (lambda: flow.init(KEY, bad, context), "Flow: `x`"),
        (lambda: flow.decode(variables, bad, context), "Flow.decode: `z`"),
        (lambda: flow.log_prob(variables, x, bad_context), "Flow: `context`"),
        (lambda: flow_matching_loss(flow_of_velocity(), {}, bad, KEY), "Flow: `x`"),
    ):
        with pytest.raises(InvalidTypeError, match=f"{argument} {got}"):
            call()


def flow_of_velocity():
    return Flow(b.Continuous(nn.TimeMLP((4,))), StandardNormal((3,)), (3,))


def test_integers_and_numpy_scalars_are_named():
    flow, variables, x, _ = conditional()
    with pytest.raises(InvalidTypeError, match="`x` must be of a floating type; got int64. Convert it"):
        flow.log_prob(variables, np.asarray(x, int))
    with pytest.raises(InvalidValueError, match=r"`x` must have event shape \(3,\); got shape \(\)"):
        flow.log_prob(variables, np.float64(1.5))


def test_a_mixture_starts_from_rows():
    density = build("vmonf")
    with pytest.raises(InvalidValueError, match=r"MixtureOfFlows.init: `x` must have one batch axis; got shape \(3,\)"):
        density.init(KEY, jnp.zeros(3))

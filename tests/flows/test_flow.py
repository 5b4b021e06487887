"""The `Flow` facade: initialisation, transforms, context, keys, samples, latents, messages."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows import nn as networks
from jflows.distributions import ClassConditionalNormal, DiagonalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow, UniformDequantize
from jflows.testing import check_flow
from jflows.testing.common import perturb
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default


def vector_flow(dim: int = 3, context_shape=None, base=StandardNormal) -> Flow:
    coupling = b.Coupling(networks.MLP((8,), activation="tanh"), b.Affine())
    bijector = b.Chain((b.ActNorm(), coupling, b.InvertibleLinear()))
    return Flow(bijector, base((dim,)), (dim,), context_shape=context_shape)


@functools.cache
def prepared(flow: Flow, count: int = 16):
    x = 2 + 3 * np.random.default_rng(0).normal(size=(count, *flow.event_shape))
    context = None if flow.context_shape is None else jnp.ones((count, *flow.context_shape))
    return filled(jax.eval_shape(flow.init, KEY, x, context), 0), x


def test_methods_are_consistent():
    check_flow(vector_flow(base=DiagonalNormal), np.random.default_rng(0).normal(size=(8, 3)))
    context = np.random.default_rng(1).normal(size=(8, 2))
    check_flow(vector_flow(context_shape=(2,)), np.random.default_rng(0).normal(size=(8, 3)), context=context)


def test_init_whitens_in_the_direction_it_runs():
    flow = Flow(b.ActNorm(), StandardNormal((3,)), (3,))
    x = 2 + 3 * np.random.default_rng(0).normal(size=(256, 3))
    z, _ = flow.encode(flow.init(KEY, x), x)
    np.testing.assert_allclose(np.std(z, axis=0), 1, atol=1e-6)
    from_base = flow.init(KEY)["params"]["bijector"]
    assert np.max(np.abs(from_base["log_scale"])) < 0.2  # base samples are white already
    assert np.any(from_base["log_scale"])
    data = flow.init(KEY, x)["params"]["bijector"]
    np.testing.assert_allclose(data["log_scale"], -np.log(3), atol=0.2)


def test_init_from_the_base_takes_any_context():
    flow = vector_flow(context_shape=(2,))
    contexts = [jax.ShapeDtypeStruct((*batch, 2), float) for batch in ((), (1,), (5,))]
    shapes = [jax.tree.map(jnp.shape, jax.eval_shape(flow.init, KEY, None, context)) for context in contexts]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.slow
def test_log_prob_under_transforms():
    flow = vector_flow()
    variables, x = prepared(flow)
    wanted = flow.log_prob(variables, x)
    np.testing.assert_allclose(jax.jit(flow.log_prob)(variables, x), wanted, rtol=1e-12)
    scored = jax.jit(Flow.log_prob, static_argnums=0)(flow, variables, x)  # a flow is hashable
    np.testing.assert_allclose(scored, wanted, rtol=1e-12)
    members = [perturb(variables, seed, 0.1) for seed in range(3)]
    ensemble = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    log_probs = jax.jit(jax.vmap(flow.log_prob, in_axes=(0, None)))(ensemble, x)
    assert log_probs.shape == (3, 16)
    np.testing.assert_allclose(log_probs[1], flow.log_prob(members[1], x), rtol=1e-10)
    assert len(np.unique(log_probs[:, 0])) == 3


def test_shapes_are_known_without_computing():
    flow = jflows.glow((8, 8, 1), 2, 2, width=4)
    x = jax.ShapeDtypeStruct((5, 8, 8, 1), jnp.uint8)
    variables = jax.eval_shape(flow.init, KEY, x)
    assert jax.eval_shape(flow.log_prob, variables, x, None, KEY).shape == (5,)
    assert jax.eval_shape(functools.partial(flow.sample, sample_shape=(2, 3)), variables, KEY).shape == (2, 3, 8, 8, 1)


def test_temperature_shrinks_samples_but_not_the_model():
    flow = vector_flow()
    variables, _ = prepared(flow)
    draw = jax.jit(functools.partial(flow.sample_and_log_prob, sample_shape=(50,)))
    log_prob_of, encode = jax.jit(flow.log_prob), jax.jit(flow.encode)
    x, log_prob = draw(variables, KEY, temperature=0.5)
    np.testing.assert_allclose(log_prob, log_prob_of(variables, x), rtol=1e-9)
    z, z_full = (encode(variables, sample)[0] for sample in (x, draw(variables, KEY, temperature=1.0)[0]))
    np.testing.assert_allclose(z, 0.5 * z_full, atol=1e-9)
    cold, _ = draw(variables, KEY, temperature=0.0)
    np.testing.assert_allclose(cold, np.broadcast_to(cold[0], cold.shape), atol=1e-12)


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
@pytest.mark.by_default("batch0", "batch3")
def test_context_batches_come_after_the_sample_shape(batch):
    flow = vector_flow(context_shape=(2,))
    variables, _ = prepared(flow, 4)
    context = jax.device_put(np.random.default_rng(0).standard_normal((*batch, 2)))

    @jax.jit
    def there_and_back(variables, context):
        x, log_prob = flow.sample_and_log_prob(variables, KEY, (5,), context)
        z, _ = flow.encode(variables, x, context)
        return x, log_prob, flow.log_prob(variables, x, context), flow.decode(variables, z, context)[0]

    x, log_prob, log_prob_of_x, back = there_and_back(variables, context)
    assert x.shape == (5, *batch, 3)
    assert log_prob.shape == (5, *batch)
    np.testing.assert_allclose(log_prob_of_x, log_prob, rtol=1e-9)
    np.testing.assert_allclose(back, x, atol=1e-9)


@pytest.mark.slow
def test_one_context_serves_a_batch_of_data():
    flow = vector_flow(context_shape=(2,))
    variables, x = prepared(flow, 4)
    context = np.random.default_rng(0).normal(size=(2,))
    wanted = flow.log_prob(variables, x, jnp.broadcast_to(context, (4, 2)))
    np.testing.assert_allclose(flow.log_prob(variables, x, context), wanted, rtol=1e-12)
    assert np.max(np.abs(flow.log_prob(variables, x, context + 1) - wanted)) > 1e-3


def test_labels_change_the_density_of_a_class_conditional_glow():
    flow = jflows.glow((4, 4, 1), 1, 1, width=4, num_classes=3)
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1))
    labels = jnp.arange(6) % 3
    variables = flow.init(KEY, x, labels)
    score = jax.jit(flow.log_prob)
    initial = [score(variables, x, (labels + shift) % 3) for shift in (0, 1)]
    np.testing.assert_allclose(*initial, rtol=1e-12)  # class effects start at zero
    variables = perturb(variables, 1, 0.1)
    right, wrong = (score(variables, x, (labels + shift) % 3) for shift in (0, 1))
    assert np.min(np.abs(right - wrong)) > 1e-4
    for context, shape in ((np.array([0, 2]), (2, 2, 4, 4, 1)), (1, (2, 4, 4, 1))):  # a plain int serves
        sample = functools.partial(flow.sample, sample_shape=(2,), context=context)
        assert jax.eval_shape(sample, variables, KEY).shape == shape
    with pytest.raises(InvalidTypeError, match="ClassEmbed: `context` must hold integer class labels; got float64"):
        flow.log_prob(variables, x, labels.astype(float))


def test_activations_are_recorded_by_path():
    flow = jflows.glow((4, 4, 1), 1, 3, width=4)
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1))
    variables = flow.init(KEY, x)
    recorded = jax.jit(flow.activations)(variables, x)
    steps = [value for path, value in recorded.items() if path.endswith("layers_0/layers/max_abs")]
    assert [value.shape for value in steps] == [(3,)]
    assert recorded["bijector/max_abs"] == pytest.approx(np.max(np.abs(jax.jit(flow.encode)(variables, x)[0])))


@pytest.mark.slow
def test_each_sample_may_have_a_key_of_its_own():
    """Then it is the same whatever it is drawn with; here with a base that has parameters and a context."""
    flow = vector_flow(context_shape=(2,), base=ClassConditionalNormal)
    variables, _ = prepared(flow)
    keys = jax.random.split(jax.random.key(0), (4, 5))  # those of `KEY` draw otherwise in other company
    context = np.random.default_rng(0).normal(size=(5, 2))
    sample = jax.jit(flow.sample_and_log_prob, static_argnums=2)
    x, log_prob = sample(variables, keys, (4,), context)
    some, some_log_prob = sample(variables, keys[1:3, 2:4], (2,), context[2:4])
    np.testing.assert_allclose(some, x[1:3, 2:4], rtol=1e-12)
    np.testing.assert_allclose(some_log_prob, log_prob[1:3, 2:4], rtol=1e-12)
    np.testing.assert_allclose(jax.jit(flow.log_prob)(variables, x, context), log_prob, rtol=1e-9)
    assert len(np.unique(x)) == x.size


def test_apply_loss_has_nothing_to_update_without_batch_statistics():
    flow = vector_flow()
    variables, x = prepared(flow)
    log_prob, updates = flow.apply_loss(variables, x)
    np.testing.assert_array_equal(log_prob, flow.log_prob(variables, x))
    assert updates == {}


def test_a_flow_is_rebuilt_from_json_with_the_same_variables():
    flow = vector_flow(context_shape=(2,))
    variables, x = prepared(flow, 4)
    rebuilt = jflows.from_spec(json.loads(json.dumps(jflows.to_spec(flow))))
    assert rebuilt == flow
    context = jnp.ones(2)
    np.testing.assert_array_equal(rebuilt.log_prob(variables, x, context), flow.log_prob(variables, x, context))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Flow(b.ActNorm(), StandardNormal((4,)), (3,)),
            r"Flow: `base` must have event_shape \(3,\), the bijector's latent shape for \(3,\); got \(4,\)",
        ),
        (
            lambda: Flow(b.ActNorm(), StandardNormal((4, 4, 1)), (4, 4, 1)),
            r"Flow: `bijector` must have x_event_ndims=3, .*; got ActNorm with x_event_ndims=1. Set event_ndims=3.",
        ),
        (
            lambda: Flow(b.ActNorm(), StandardNormal((3,)), (3,), preprocess=b.CentredPixels()),
            r"Flow: `preprocess` must have x_event_ndims=1, .*; got CentredPixels with x_event_ndims=3",
        ),
        (lambda: UniformDequantize(0), "UniformDequantize: `num_bits` must be 1 to 16; got 0"),
        (lambda: UniformDequantize(8, -1), "UniformDequantize: `padding` must be at least 0; got -1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_parts_of_the_wrong_type_are_refused():
    with pytest.raises(InvalidTypeError, match="Flow: `bijector` must be a Bijector; got MLP"):
        Flow(networks.MLP(), StandardNormal((3,)), (3,))


def test_arguments_of_the_wrong_type_are_refused():
    flow = vector_flow()
    variables, x = prepared(flow)
    checks = [
        (lambda: flow.log_prob(variables["params"], x), r"`variables` must hold the collections that `init` returned"),
        (lambda: flow.log_prob(KEY, x), r"`variables` must hold the collections"),
        (lambda: flow.log_prob(variables, x.tolist()), r"Flow: `x` must be an array; got list. Wrap it in jnp.asarray"),
        (lambda: flow.log_prob(variables, x, key=0), r"Flow: `key` must be a typed key; got int. Use jax.random.key"),
        (lambda: flow.sample(variables, jax.random.PRNGKey(0)), r"Flow.sample: `key` must be a typed key; got uint32"),
        (lambda: flow.sample(variables, KEY, 2), r"`sample_shape` must be a tuple of ints; got 2. Write \(2,\)."),
        (
            lambda: flow.sample(variables, KEY, (2.0,)),
            r"`sample_shape` must be a tuple of ints; got \(2.0,\). Write it",
        ),
        (lambda: flow.sample(variables, KEY, (True,)), r"`sample_shape` must be a tuple of ints; got \(True,\)"),
        (
            lambda: flow.sample(variables, KEY, (2,), temperature="1"),
            "`temperature` must be a number or an array; got str",
        ),
    ]
    for call, message in checks:
        with pytest.raises(InvalidTypeError, match=message):
            call()
    with pytest.raises(InvalidValueError, match=r"`key` must be one key, or one per sample of shape \(2,\); got shape"):
        flow.sample(variables, jax.random.split(KEY, 3), (2,))
    with pytest.raises(InvalidValueError, match=r"`temperature` must be one number where each sample has a key; got"):
        flow.sample(variables, jax.random.split(KEY, 2), (2,), temperature=jnp.ones((2, 1)))
    with pytest.raises(InvalidValueError, match="`temperature` must be at least 0, and finite; got -1.0"):
        flow.sample(variables, KEY, (2,), temperature=-1.0)
    with pytest.raises(
        InvalidValueError, match=r"Flow.sample: `sample_shape` must not hold a negative size; got \(-1,\)"
    ):
        flow.sample(variables, KEY, (-1,))


def test_arguments_of_the_wrong_shape_are_refused():
    flow, conditional = vector_flow(), vector_flow(context_shape=(2,))
    variables, x = prepared(flow)
    checks = [
        (
            lambda: flow.log_prob(variables, x[:, :2]),
            r"Flow: `x` must have event shape \(3,\); got .* Give the 3 columns",
        ),
        (lambda: flow.init(KEY, x[:, :2]), r"Flow: `x` must have event shape \(3,\)"),
        (lambda: flow.decode(variables, x[:, :2]), r"Flow.decode: `z` must have event shape \(3,\).* Use flow.latent"),
        (lambda: flow.log_prob(variables, x, x), r"`context` must be None; got shape \(16, 3\). Build the flow with"),
        (
            lambda: flow.sample(variables, KEY, (2,), 0.7),
            "Flow: `context` must be None; got float. Build the flow with",
        ),
        (lambda: conditional.log_prob({}, x), r"Flow: `context` must have event shape \(2,\); got None"),
        (lambda: conditional.log_prob({}, x, x), r"Flow: `context` must have event shape \(2,\); got shape \(16, 3\)"),
        (
            lambda: conditional.log_prob({}, x, jnp.ones((5, 2))),
            r"`context` must have leading axes that broadcast with the batch shape \(16,\); got shape \(5, 2\)",
        ),
    ]
    for call, message in checks:
        with pytest.raises(InvalidValueError, match=message):
            call()
    with pytest.raises(InvalidTypeError, match="Flow.latents: `bijector` must be a MultiScale; got Chain. Use encode."):
        flow.latents(variables, x)

"""Mixtures of flows: density, bound and responsibilities against their parts; samples, starts, context, messages."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import TableData
from jflows.distributions import DiagonalNormal, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow, MixtureOfFlows, mixture_of_flows, with_mixture_base
from jflows.nn import MLP, ConvClassifier, ConvNet, LipschitzMLP
from jflows.testing import integrate_density
from jflows.testing.common import perturb
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")
QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def small(**options) -> Flow:
    return jflows.realnvp((2,), 1, (4,), **{"standardize": False} | options)


def normal(**options) -> Flow:
    """A normal that whitens its first batch."""
    return Flow(b.ActNorm(), StandardNormal((2,)), (2,), **options)


MIXTURES = {
    "stacked": mixture_of_flows(small(), MLP((8,)), 3, weights="learned"),
    "different": mixture_of_flows((small(), normal()), MLP((8,)), weights=(0.3, 0.7), trunk=small(norm="actnorm")),
    "flow_gmm": with_mixture_base(small(), 3, weights=(0.2, 0.3, 0.5)),
}
every_mixture = pytest.mark.parametrize("name", MIXTURES)


def flat_images() -> Flow:
    return jflows.glow((4, 4, 1), 1, 1, width=4)


def x(num=6):
    return np.random.default_rng(0).normal(size=(num, 2))


@functools.cache
def measured(name: str):
    """Variables away from their start, and what the methods say of x, from one program."""
    mixture = MIXTURES[name]
    variables = filled(jax.eval_shape(mixture.init, KEY, x(32)), seed=1)

    @QUICK
    def measure(variables, x):
        def loss(params):
            return jnp.mean(mixture.elbo({**variables, "params": params}, x))

        return {
            "log_joint": mixture.log_joint(variables, x),
            "log_prob": mixture.log_prob(variables, x),
            "apply_loss": mixture.apply_loss(variables, x)[0],
            "elbo": mixture.elbo(variables, x),
            "q": mixture.responsibilities(variables, x),
            "hot_q": jnp.exp(mixture.log_q(variables, x, temperature=3.0)),
            "posterior": mixture.responsibilities(variables, x, exact=True),
            "predicted": mixture.predict(variables, x),
            "samples": mixture.sample(variables, KEY, (4, 5)),
            "by_component": mixture.sample_by_component(variables, KEY, (4,)),
            "gradient": jax.grad(loss)(variables["params"]),
        }

    return variables, jax.tree.map(np.asarray, measure(variables, x()))


@every_mixture
def test_density_bound_and_responsibilities_agree(name):
    found = measured(name)[1]
    joint, q, posterior = found["log_joint"], found["q"], found["posterior"]
    num_components = MIXTURES[name].num_components
    assert joint.shape == q.shape == posterior.shape == (6, num_components)
    np.testing.assert_allclose(found["log_prob"], np.log(np.exp(joint).sum(1)), rtol=1e-10)
    np.testing.assert_allclose(found["apply_loss"], found["log_prob"], rtol=1e-12)
    np.testing.assert_allclose(posterior, np.exp(joint - found["log_prob"][:, None]), rtol=1e-10)
    divergence = (q * np.log(q / posterior)).sum(1)
    np.testing.assert_allclose(found["elbo"], found["log_prob"] - divergence, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found["predicted"], q.argmax(1))
    hot = q ** (1 / 3)
    np.testing.assert_allclose(found["hot_q"], hot / hot.sum(1, keepdims=True), rtol=1e-9)
    if MIXTURES[name].encoder is None:
        np.testing.assert_allclose(q, posterior, rtol=1e-9)
    else:
        assert np.all(divergence > 1e-3)


@every_mixture
def test_every_parameter_gets_a_gradient(name):
    for path, gradient in jax.tree_util.tree_leaves_with_path(measured(name)[1]["gradient"]):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient), path


@every_mixture
def test_samples_have_the_shape_of_the_data(name):
    found = measured(name)[1]
    assert found["samples"].shape == (4, 5, 2)
    assert found["by_component"].shape == (MIXTURES[name].num_components, 4, 2)


@every_mixture
def test_survives_json(name):
    mixture = MIXTURES[name]
    rebuilt = jflows.from_spec(json.loads(json.dumps(jflows.to_spec(mixture))))
    assert rebuilt == mixture
    assert hash(rebuilt) == hash(mixture)
    assert (rebuilt.event_shape, rebuilt.num_dims, rebuilt.needs_key) == ((2,), 2, False)


def test_components_are_the_flows_they_are_made_of():
    variables, found = measured("stacked")
    params = jax.device_get(variables["params"])
    log_weights = params["log_weights"] - np.log(np.sum(np.exp(params["log_weights"])))
    log_prob = QUICK(small().log_prob)
    for k in range(3):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], {"params": params["components"]})
        np.testing.assert_allclose(found["log_joint"][:, k], log_prob(own, x()) + log_weights[k], rtol=1e-10)
    variables, found = measured("different")

    @QUICK
    def second(params, x):
        inner, log_det = MIXTURES["different"].trunk.encode({"params": params["trunk"]}, x)
        return normal().log_prob({"params": params["components"]["1"]}, inner) + log_det + np.log(0.7)

    np.testing.assert_allclose(found["log_joint"][:, 1], second(variables["params"], x()), rtol=1e-10)


def test_density_integrates_to_one():
    mixture, (variables, _) = MIXTURES["stacked"], measured("stacked")
    np.testing.assert_allclose(integrate_density(mixture, variables, num_points=201), 1.0, atol=1e-3)


def test_equal_flows_are_stacked_and_compile_as_one():
    def size(num_components: int) -> int:
        mixture = mixture_of_flows([small()] * num_components, MLP((8,)))
        assert (len(mixture.components), mixture.num_components) == (1, num_components)
        variables = jax.eval_shape(lambda: mixture.init(KEY, x()))
        return len(str(jax.make_jaxpr(jax.grad(lambda v: mixture.elbo(v, x()).sum()))(variables)).splitlines())

    assert size(2) == size(7)


def test_samples_come_from_the_components_by_their_weights():
    mixture = MIXTURES["flow_gmm"]
    means = np.array([[-40.0, 0.0], [0.0, 0.0], [40.0, 0.0]])
    shapes = jax.eval_shape(mixture.init, KEY, x())
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)  # its trunk is a reversal of coordinates
    variables["params"]["components"]["base"]["mean"] = means

    @QUICK
    def draw(variables):
        each = mixture.sample_by_component(variables, KEY, (500,), temperature=0.5)
        return mixture.sample(variables, KEY, (2000,)), each

    samples, each = map(np.asarray, draw(variables))
    share = np.bincount(np.round(samples[:, 1] / 40).astype(int) + 1, minlength=3) / 2000
    np.testing.assert_allclose(share, [0.2, 0.3, 0.5], atol=0.04)
    np.testing.assert_allclose(each.mean(axis=1), means[:, ::-1], atol=0.1)
    np.testing.assert_allclose(each.std(axis=1), 0.5, rtol=0.15)


def test_normals_of_a_flow_gmm_start_apart():
    means = MIXTURES["flow_gmm"].init(KEY, x())["params"]["components"]["base"]["mean"]
    assert means.shape == (3, 2)
    assert len(np.unique(means)) == 6


def blobs():
    centres = np.array([[-8.0, 0.0], [8.0, 8.0], [0.0, -8.0]])
    cluster = np.repeat(np.arange(3), 50)
    return centres, cluster, jax.device_put(centres[cluster] + np.random.default_rng(0).standard_normal((150, 2)))


@pytest.mark.parametrize("start", ["same", "kmeans", "assignment"])
def test_components_start_at_their_clusters(start):
    centres, cluster, points = blobs()
    given = start == "assignment"
    mixture = mixture_of_flows(normal(), MLP((4,)), 3, start="same" if given else start)
    variables = mixture.init(KEY, points, assignment=jax.device_put(cluster) if given else None)
    found = -np.asarray(variables["params"]["components"]["bijector"]["shift"])
    if start == "same":
        np.testing.assert_allclose(found, np.tile(points.mean(axis=0), (3, 1)), rtol=1e-6)
        return
    order = [int(np.argmin(np.sum((found - centre) ** 2, axis=1))) for centre in centres]
    assert sorted(order) == [0, 1, 2]
    assert not given or order == [0, 1, 2]
    np.testing.assert_allclose(found[order], centres, atol=0.6)


def test_an_empty_cluster_starts_from_all_rows():
    mixture = mixture_of_flows(normal(), None, 3)
    variables = mixture.init(KEY, x(64), assignment=jnp.zeros(64, jnp.int32))
    found = -np.asarray(variables["params"]["components"]["bijector"]["shift"])
    np.testing.assert_allclose(found, np.tile(x(64).mean(axis=0), (3, 1)), atol=0.6)


@pytest.mark.slow
def test_batch_statistics_of_every_part_are_updated():
    mixture = mixture_of_flows(small(norm="batchnorm"), None, 2, trunk=small(norm="batchnorm"))
    variables = mixture.init(KEY, x(16))
    _, updates = mixture.apply_loss(variables, 3 + 2 * x(16))
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, {"batch_stats": variables["batch_stats"]})
    moved = jax.tree.map(lambda new, old: np.any(new != old), updates["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
def test_activations_name_their_part():
    variables, _ = measured("different")
    sizes = MIXTURES["different"].activations(variables, x())
    assert {path.split("/")[0] for path in sizes} == {"trunk", "components"}
    assert {path.split("/")[1] for path in sizes if path.startswith("components")} == {"0", "1"}
    stacked = MIXTURES["stacked"].activations(measured("stacked")[0], x())
    assert all(size.shape[0] == 3 for size in stacked.values())


def test_images_are_taken_as_flows_take_them():
    flow = jflows.glow((4, 4, 1), 1, 1, width=4)
    mixture = mixture_of_flows(flow, ConvNet(4), 2)
    images = np.zeros((5, 4, 4, 1), np.uint8)
    assert mixture.needs_key and mixture.dequantize == flow.dequantize

    def run():
        variables = mixture.init(KEY, images)
        q = mixture.responsibilities(variables, images)
        return q, mixture.bits_per_dim(variables, images, key=KEY, num_draws=2), mixture.sample(variables, KEY, (3,))

    q, bits, samples = jax.eval_shape(run)
    assert (q.shape, bits.shape, samples.shape, samples.dtype) == ((5, 2), (5,), (3, 4, 4, 1), jnp.uint8)
    dense = mixture_of_flows(flow, MLP((4,)), 2)
    encoder = jax.eval_shape(lambda: dense.init(KEY, images))["params"]["encoder"]
    assert encoder["network"]["hidden_0"]["kernel"].shape == (16, 4)
    gmm = with_mixture_base(flow, 3)
    assert jax.eval_shape(lambda: gmm.sample(gmm.init(KEY, images), KEY, (3,))).shape == (3, 4, 4, 1)
    with pytest.raises(InvalidValueError, match="MixtureOfFlows.bits_per_dim: `key` must be given, as this flow deq"):
        mixture.bits_per_dim({}, images)


def test_presets_of_images_make_mixtures_of_images():
    glow = functools.partial(jflows.glow, num_levels=1, num_steps=1, width=4, num_bits=5)
    mixture = jflows.vmonf((4, 4, 1), 2, glow, encoder_sizes=(3, 5), activation="tanh", start="kmeans")
    assert mixture.components == (glow((4, 4, 1)),) and mixture.encoder == ConvClassifier((3, 5), "tanh")
    assert (str(mixture.reading.kind), mixture.reading.num_bits, mixture.reading.num_classes) == ("images", 5, 2)
    images = np.zeros((6, 4, 4, 1), np.uint8)
    shapes = jax.eval_shape(lambda: mixture.init(KEY, images))
    q = jax.eval_shape(lambda v: mixture.responsibilities(v, images), shapes)
    assert q.shape == (6, 2) and shapes["params"]["encoder"]["network"]["output"]["kernel"].shape == (5, 2)
    assert jflows.flow_gmm((4, 4, 1), 3, glow).trunk == glow((4, 4, 1))
    with pytest.raises(InvalidValueError, match=r"vmonf: `event_shape` must be \(dim,\); got \(4, 4\)"):
        jflows.vmonf((4, 4))
    with pytest.raises(InvalidValueError, match=r"flow_gmm: `flow` must be a preset of flows of images.*flow=glow"):
        jflows.flow_gmm((4, 4, 1))
    with pytest.raises(InvalidValueError, match=r"realnvp: `event_shape` must have at least 2 dimensions"):
        jflows.vmonf((1,))
    with pytest.raises(InvalidValueError, match=r"glow: `num_levels` must leave a height and width"):
        jflows.vmonf((6, 6, 1), 2, functools.partial(glow, num_levels=2))


def test_copies_of_flows_of_images_are_those_of_their_own():
    glow = functools.partial(jflows.glow, num_levels=1, num_steps=1, width=2)
    mixture, images = (
        mixture_of_flows(glow((2, 2, 1)), None, 2),
        np.random.default_rng(0).integers(0, 256, (3, 2, 2, 1)),
    )
    variables = jax.device_get(filled(jax.eval_shape(mixture.init, KEY, images), seed=3))
    joint = np.asarray(QUICK(lambda v: mixture.log_joint(v, images, key=KEY))(variables))
    log_prob = QUICK(lambda v: glow((2, 2, 1)).log_prob(v, images, key=KEY))
    for k in range(2):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], {name: tree["components"] for name, tree in variables.items()})
        np.testing.assert_allclose(joint[:, k], log_prob(own) - np.log(2), rtol=1e-5)  # with the same noise
    assert np.all(np.abs(joint[:, 0] - joint[:, 1]) > 1e-3)


def test_keys_reach_parts_whose_log_det_is_estimated():
    residual = Flow(b.Residual(LipschitzMLP((4,)), "truncated"), StandardNormal((2,)), (2,))
    for mixture in (with_mixture_base(residual, 2), mixture_of_flows(residual, MLP((4,)), 2)):
        assert mixture.needs_key and mixture.estimates_log_det
        variables = jax.eval_shape(lambda mixture=mixture: mixture.init(KEY, x()))

        def scores(variables, mixture=mixture):
            exact = mixture.responsibilities(variables, x(), key=KEY, exact=True)
            return mixture.elbo(variables, x(), key=KEY), mixture.responsibilities(variables, x(), key=KEY), exact

        assert [score.shape for score in jax.eval_shape(scores, variables)] == [(6,), (6, 2), (6, 2)]
        with pytest.raises(InvalidValueError, match="Flow: `key` must be given, as the log-det is estimated"):
            jax.eval_shape(lambda v, mixture=mixture: mixture.log_prob(v, x()), variables)


@pytest.mark.slow
def test_conditional_components_hand_the_context_on():
    mixture = mixture_of_flows(small(context_dim=3), MLP((4,)), 2)
    context = np.random.default_rng(0).normal(size=(6, 3))
    variables = perturb(mixture.init(KEY, x(), context), seed=0, noise=0.3)
    assert mixture.context_shape == (3,)
    both = [mixture.log_q(variables, x(), c)[:, 0] for c in (context, -context)]
    assert np.all(np.abs(both[0] - both[1]) > 1e-6)
    assert mixture.log_prob(variables, x(), context).shape == (6,)
    assert mixture.sample(variables, KEY, (2,), context).shape == (2, 6, 2)


def test_labels_do_not_change_a_density():
    variables, found = measured("stacked")
    labels = np.array([0, 1, 2, -1, 0, 0])
    log_prob = QUICK(MIXTURES["stacked"].log_prob)(variables, x(), labels)
    np.testing.assert_allclose(log_prob, found["log_prob"], rtol=1e-10)


WEIGHTS_RULE = "`weights` must be 2 positive numbers that sum to one, or 'uniform' or 'learned'; got"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixture_of_flows(small(), None, 1), "`num_components` must be at least 2; got 1."),
        (lambda: mixture_of_flows([small()], None), "`num_components` must be at least 2; got 1."),
        (
            lambda: mixture_of_flows([small(), normal()], None, 3),
            "mixture_of_flows: `num_components` must be the number of flows, 2; got 3. Leave it out.",
        ),
        (
            lambda: mixture_of_flows([small(), jflows.realnvp((3,), 1, (4,))], None),
            r"`components` must all have event_shape \(2,\); got \(3,\)",
        ),
        (
            lambda: mixture_of_flows(small(), None, 2, trunk=jflows.realnvp((3,), 1, (4,))),
            r"`components` must all have event_shape \(3,\), the trunk's latent shape; got \(2,\)",
        ),
        (
            lambda: mixture_of_flows([small(), small(context_dim=2)], None),
            r"`components` must all have context_shape None; got \(2,\)",
        ),
        (
            lambda: MixtureOfFlows((small(), normal()), 3),
            "`components` must be one flow, or one for each of num_components=3; got 2 flows",
        ),
        (
            lambda: mixture_of_flows([jflows.glow((4, 4, 1), 1, 1, width=4)] * 2, None, trunk=flat_images()),
            r"`components` must all have event_shape \(16,\)",
        ),
        (lambda: mixture_of_flows(small(), None, 2, weights=(0.5, 0.6)), rf"{WEIGHTS_RULE} \(0.5, 0.6\) with sum 1.1"),
        (lambda: mixture_of_flows(small(), None, 2, weights=(0.0, 1.0)), rf"{WEIGHTS_RULE} \(0.0, 1.0\) with sum 1"),
        (lambda: mixture_of_flows(small(), None, 2, weights=(1.0,)), rf"{WEIGHTS_RULE} \(1.0,\) with sum 1"),
        (
            lambda: mixture_of_flows(small(), None, 2, weights="equal"),
            "`weights` must be one of 'uniform', 'learned'; got 'equal'",
        ),
        (lambda: mixture_of_flows(small(), None, 2, start="em"), "`start` must be one of 'same', 'kmeans'; got 'em'"),
        (lambda: DiagonalNormal((2,), -1.0), "DiagonalNormal: `spread` must be at least 0; got -1.0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixture_of_flows([small(), 3], None), "`components` must be a tuple of Flows; got"),
        (lambda: MixtureOfFlows(small(), 2), "`components` must be a tuple of Flows; got Flow"),
        (lambda: mixture_of_flows(small(), MLP, 2), r"`encoder` must be a network .*; got the class MLP; write MLP"),
        (lambda: mixture_of_flows(small(), 3), "`encoder` must be a network .*; got int"),
        (lambda: mixture_of_flows(small(), None, "3"), "`num_components` must be an int or None; got '3'"),
        (
            lambda: mixture_of_flows(small(), None, 2, weights=None),
            "`weights` must be a str or a tuple of numbers; got None",
        ),
    ],
)
def test_bad_types(make, message):
    with pytest.raises(InvalidTypeError, match=f"(MixtureOfFlows|mixture_of_flows): {message}"):
        make()


def test_bad_arguments():
    mixture = MIXTURES["stacked"]
    rule = (
        r"MixtureOfFlows.init: `labels` must lie in -1..2 \(-1 for none\); got 3 in row 1 \(2 bad rows\). Set num_com"
    )
    with pytest.raises(InvalidValueError, match=rule):
        mixture.init(KEY, x(3), np.array([0, 3, -2]))
    with pytest.raises(InvalidValueError, match=r"init: `assignment` must lie in 0..2; got -1 in row 0 \(1 bad rows\)"):
        mixture.init(KEY, x(3), assignment=np.array([-1, 2, 0]))
    with pytest.raises(InvalidValueError, match=r"`assignment` must be integers of shape \(3,\), one for each row"):
        mixture.init(KEY, x(3), assignment=np.array([0, 1]))
    rule = r"`variables` must be those of 3 components, as init gives them; got .*\. Pass {"
    of_four = mixture_of_flows(small(), MLP((8,)), 4, weights="learned")
    other = filled(jax.eval_shape(of_four.init, KEY, x(8)), seed=0)
    for wrong in (other, other["params"]):
        with pytest.raises(InvalidValueError, match=rule):
            mixture.log_prob(wrong, x())
    with pytest.raises(InvalidTypeError, match="with_mixture_base: `flow` must be a Flow; got MixtureOfFlows"):
        with_mixture_base(mixture, 2)
    with pytest.raises(InvalidTypeError, match="mixture_of_flows: `components` must be a Flow, or a list or tuple"):
        mixture_of_flows(b.Identity(), None, 2)
    with pytest.raises(InvalidValueError, match="`components` must hold at least one flow; got none"):
        mixture_of_flows([], None, 2)
    with pytest.raises(InvalidValueError, match="MixtureOfFlows.init: `x` must be given. Components start from data."):
        mixture.init(KEY, None)
    rule = r"`context` must be None, or integer labels of shape \(6,\) \(-1 for none\); got float64 of shape \(6, 1\)"
    with pytest.raises(InvalidValueError, match=rule):
        mixture.log_prob({}, x(), jnp.ones((6, 1)))
    with pytest.raises(InvalidTypeError, match="MixtureOfFlows.init: `key` must be a typed key"):
        mixture.init(0, x(8))
    with pytest.raises(InvalidTypeError, match="MixtureOfFlows.sample: `key` must be a typed key"):
        mixture.sample({}, 3)


def test_an_encoder_sees_columns_and_contexts_in_no_unit():
    flow = jflows.realnvp((2,), 1, (4,), context_dim=1)
    mixture = mixture_of_flows(flow, MLP((4,)), 3)
    rows = np.random.default_rng(0).normal(size=(32, 3))
    x, context, key = rows[:, :2], rows[:, 2:], jax.random.key(1)
    statistics = TableData("rows", np.asarray(x), context=np.asarray(context)).statistics()
    variables = perturb(mixture.init(key, x, context, statistics), seed=0, noise=0.5)
    log_q = jax.jit(mixture.log_q)
    wanted = log_q(variables, x, context)
    size, offset = np.array([1e4, 1e-3]), np.array([5e4, 2.0])
    other, other_context = x * size + offset, context * 100 + 5000
    statistics = TableData("rows", np.asarray(other), context=np.asarray(other_context)).statistics()
    moved = mixture.init(key, other, other_context, statistics)
    same = {**moved, "params": {**moved["params"], "encoder": variables["params"]["encoder"]}}
    assert float(jnp.abs(wanted - wanted[:1]).max()) > 0.1
    np.testing.assert_allclose(log_q(same, other, other_context), wanted, atol=1e-4)


def test_components_read_data_alike():
    flows = [jflows.glow((4, 4, 1), 1, 1, width=4, num_bits=bits) for bits in (8, 5)]
    with pytest.raises(
        InvalidValueError, match="`components` must all read data alike, as .*Give all the same num_bits"
    ):
        mixture_of_flows(flows, None)


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, float("nan"), "a"])
def test_temperatures_are_positive(temperature):
    mixture = MIXTURES["stacked"]
    with pytest.raises((InvalidValueError, InvalidTypeError), match="MixtureOfFlows.log_q: `temperature` must be "):
        mixture.log_q(measured("stacked")[0], x(), temperature=temperature)


def test_one_context_for_all_rows_and_variables_without_an_encoder():
    flow = jflows.realnvp((2,), 1, (4,), context_dim=2)
    mixture = mixture_of_flows(flow, MLP((4,)), 2)
    variables = jax.eval_shape(lambda: mixture.init(KEY, x(), jnp.arange(2.0)))
    alike = jax.eval_shape(lambda: mixture.init(KEY, x(), jnp.tile(jnp.arange(2.0), (6, 1))))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, alike)
    real = mixture.init(KEY, x(), jnp.ones((6, 2)) * jnp.arange(6.0)[:, None])
    for broken in ({"params": real["params"]}, {**real, "params": {"components": real["params"]["components"]}}):
        with pytest.raises((InvalidValueError, InvalidTypeError), match="variables"):
            mixture.log_q(broken, x(), jnp.ones((6, 2)))
    with pytest.raises(InvalidTypeError, match="`variables` must hold the collections that `init` returned"):
        mixture.log_q(None, x(), jnp.ones((6, 2)))

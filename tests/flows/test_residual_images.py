"""Residual flows on images: the published size, norms by power iteration as state of a run, and messages."""

import dataclasses
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jflows import bijectors as b
from jflows.data import ImageData
from jflows.errors import InvalidValueError
from jflows.flows import residual_images
from jflows.ops.lipschitz import power_iteration, squared_norm_bound
from jflows.runs import RunDirectory, load
from jflows.runs.configs import find_recipe
from jflows.testing import check_flow
from jflows.testing.common import perturb
from jflows.train import NegativeLogLikelihood, TrainConfig, fit, fit_ensemble
from jflows.train.sharding import Runner
from jflows.train.step import init_state, make_train_step
from jflows.typing import Batch

KEY = jax.random.key(0, impl="unsafe_rbg")
SHAPE = (4, 4, 1)
CONFIG = TrainConfig(
    steps=4, batch_size=8, learning_rate=1e-2, log_every=2, checkpoint_every=2, init_batch=16, parallel="none"
)


def images(num: int = 16, shape=SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *shape)).astype(np.uint8)


def small(shape=SHAPE, **options):
    """One scale of one block without dense blocks, so that it compiles fast."""
    return residual_images(shape, **dict(num_scales=1, num_blocks=1, width=4, dense_blocks=0) | options)


def test_the_published_size_for_cifar10():
    flow = find_recipe("residual_cifar10_published")[1].flow((32, 32, 3))
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8))
    # The published code holds 25,174,233: two unused numbers of each of 52 blocks more, and one activation less.
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 25_174_233 - 2 * 52 + 1
    scales = [part for part in flow.bijector.levels[0].layers if isinstance(part, b.Repeat)]
    assert [part.num_layers for part in scales] == [4, 16, 16, 16]


OPTIONS = [
    ((2, 2, 1), {"num_classes": 3, "num_bits": 5}),
    ((4, 2, 1), {"num_scales": 2, "dense_blocks": 1, "dense_width": 3}),
    ((4, 4, 1), {"num_scales": 2, "factor_out": True, "dense_blocks": 1, "backprop": "remat", "num_blocks": 2}),
    ((4, 4, 1), {"squeeze_first": True, "factor_out": True, "num_scales": 2, "dense_blocks": 1}),
    ((2, 2, 1), {"preprocess": "centred", "padding": 1, "squeeze_first": True}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "options"), OPTIONS)
def test_options(shape, options):
    flow = small(shape, estimator="exact", coefficient=0.5, **options)
    context = jnp.arange(16) % 3 if "num_classes" in options else None
    check_flow(flow, jax.device_put(images(shape=shape)) % 2 ** options.get("num_bits", 8), context=context)


def test_programs_do_not_grow_with_depth():
    def length(num_blocks: int) -> int:
        flow = small(num_blocks=num_blocks)
        x = jax.ShapeDtypeStruct((2, *SHAPE), jnp.uint8)
        variables = jax.eval_shape(flow.init, KEY, x)
        loss = lambda v, x: jnp.sum(flow.apply_loss(v, x, key=KEY)[0])
        return str(jax.make_jaxpr(jax.grad(loss, allow_int=True))(variables, x)).count("\n")

    assert length(2) == length(8)


def leaves(state):
    return jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))


def train(directory, resume: bool = False, **options):
    open_run = RunDirectory.resume if resume else RunDirectory.create
    run = open_run(directory, small(), dataclasses.asdict(CONFIG))
    return fit(small(), ImageData("random", images()), CONFIG, run=run, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    return directory, train(directory)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(finished, tmp_path):
    stop = threading.Event()
    first = train(tmp_path, callback=lambda metrics: stop.set(), stop=stop)
    assert first.interrupted and int(first.state.step) == 2
    second = train(tmp_path, resume=True)
    for found, wanted in zip(*map(leaves, (second.state, finished[1].state)), strict=True):
        np.testing.assert_array_equal(found, wanted)
    vectors = [jax.tree.leaves(r.state.extra["singular_vectors"]) for r in (first, second)]
    assert any(np.any(a != b) for a, b in zip(*vectors, strict=True))  # they moved after the checkpoint too


@pytest.mark.slow
def test_a_run_is_scored_with_exact_norms_and_its_vectors_stay(finished):
    flow, variables = load(finished[0])
    random = jax.tree.map(jnp.ones_like, variables["singular_vectors"])
    score = jax.jit(lambda v: flow.log_prob(v, jax.device_put(images(3)), key=KEY))
    np.testing.assert_array_equal(score(variables), score({**variables, "singular_vectors": random}))
    exact = small(norms="exact")
    again = exact.log_prob({"params": variables["params"]}, jax.device_put(images(3)), key=KEY)
    np.testing.assert_allclose(again, score(variables), rtol=1e-5)


def steps(parallel: str, num: int = 3):
    """The state after some steps of SGD, and the first one."""
    flow, optimizer = small(estimator="exact"), optax.sgd(1e-4)  # an estimate has other noise on other devices
    make_step = functools.partial(make_train_step, flow, optimizer, NegativeLogLikelihood())
    runner = Runner(make_step, parallel, batch_size=16, steps_per_call=num)
    variables = perturb(flow.init(KEY, jax.device_put(images(64, seed=9))), 0, 0.3)
    start = init_state(jax.tree.map(jnp.copy, variables), optimizer, jax.random.key(1))  # donated
    x, index = images(num * 16).reshape(num, 16, *SHAPE), np.arange(num * 16, dtype=np.uint32).reshape(num, 16)
    state, _ = runner.run(runner.put_state(start), Batch(x, None, np.ones((num, 16), np.float32), index))
    return runner.get_state(state), variables


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "fsdp", "pmap", "shard_map"])
def test_vectors_are_alike_on_all_devices(parallel):
    (found, _), (wanted, start) = steps(parallel), steps("none")
    for a, c in zip(*(jax.tree.leaves((s.params, s.extra)) for s in (found, wanted)), strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-7, atol=1e-9)
    moved = zip(*map(jax.tree.leaves, (wanted.extra["singular_vectors"], start["singular_vectors"])), strict=True)
    assert any(np.any(a != c) for a, c in moved)  # those of a single channel stay


@pytest.mark.slow
def test_members_of_an_ensemble_have_vectors_of_their_own():
    config = dataclasses.replace(CONFIG, steps=2)
    found = fit_ensemble(small(), ImageData("random", images()), config, 2)
    for leaf in jax.tree.leaves([result.state.extra["singular_vectors"] for result in found]):
        assert np.all(np.isfinite(leaf))
    first, second = (jax.tree.leaves(result.state.extra["singular_vectors"]) for result in found)
    assert all(np.any(a != c) for a, c in zip(first, second, strict=True))


@pytest.mark.slow
def test_estimates_follow_the_norms_through_training():
    """After 100 large steps, what they were in the last one falls short by 2 % at most."""
    flow, optimizer = small(num_blocks=2, width=16), optax.adam(1e-2)
    x = jax.device_put(images(32))
    variables = jax.jit(flow.init)(KEY, x)
    step = jax.jit(make_train_step(flow, optimizer, NegativeLogLikelihood()))
    state = init_state(variables, optimizer, jax.random.key(1))
    for _ in range(100):
        state, _ = step(state, Batch(x, None, jnp.ones(32), jnp.arange(32)))
    params = state.params["bijector"]["levels_0"]["layers_0"]["layers"]["layers_1"]["network"]
    vectors = state.extra["singular_vectors"]["bijector"]["levels_0"]["layers_0"]["layers"]["layers_1"]["network"]
    for name in ("hidden_0", "hidden_1", "output"):
        for kernel, vector in zip(params[name]["kernel"], vectors[name]["vectors"], strict=True):
            estimate, _ = power_iteration(kernel, vector, 0)
            assert 0.98 < np.sqrt(estimate / squared_norm_bound(kernel)) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_scales": 4},
            r"residual_images: `num_scales` must leave a height and width, \(4, 4\) with padding, that are multiples "
            r"of 8; got \(4, 4, 1\), squeezed 3 times by num_scales and squeeze_first. Lower",
        ),
        ({"shape": (5, 4, 1), "num_scales": 2}, "Set num_scales=1 without squeeze_first, or crop the images"),
        ({"norms": "frobenius"}, "residual_images: `norms` must be one of 'exact', 'power'; got 'frobenius'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InvalidValueError, match=message):
        small(**options)

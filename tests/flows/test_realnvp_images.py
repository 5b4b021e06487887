"""RealNVP on images: the paper's setting and formula, its scales, normalisation on many devices, messages."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows.data import ImageData
from jflows.errors import InvalidValueError
from jflows.flows import realnvp_images
from jflows.testing import check_flow
from jflows.train import NegativeLogLikelihood, Runner, init_state, make_train_step
from jflows.typing import Batch
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
SHAPE = (4, 4, 3)


def images(num: int = 8, shape=SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *shape)).astype(np.uint8)


def small(shape=SHAPE, num_scales: int = 2, **options):
    """One residual block of four maps, and one coupling of each kind in each scale."""
    return realnvp_images(shape, num_scales, 1, 4, **{"num_couplings": 1} | options)


@functools.cache
def perturbed():
    flow = small()
    return flow, filled(jax.eval_shape(flow.init, KEY, jax.device_put(images())), 0)


def test_the_papers_setting_for_cifar10():
    flow = realnvp_images((32, 32, 3))
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 18_424_204
    assert flow.bijector.latent_shapes() == ((16, 16, 6), (16, 16, 6))
    first, last = flow.bijector.levels
    by_channel, _, boards = first.layers
    assert (by_channel.num_layers, boards.num_layers, last.num_layers) == (3, 3, 4)
    widths = [part.layer.layers[-1].conditioner.width for part in (boards, by_channel, last)]
    assert widths == [64, 128, 128] and first.layers[0].layer.layers[-1].conditioner.num_blocks == 8


def test_bits_per_dim_are_those_of_the_papers_formula():
    """By hand: with y the logits of x, b(x) = -log p(y) / (D log 2) + c(alpha) + mean of log2 of sigmoid terms.

    c(alpha) = 8 - log2(1 - alpha), and the terms are log2 sigmoid(y) + log2(1 - sigmoid(y)): Papamakarios et al. 2017,
    section E.2, print this formula of Dinh et al. 2017 with lambda for alpha.
    """
    flow, variables = perturbed()
    alpha, x = 0.05, images() + np.random.default_rng(1).random((8, *SHAPE))
    p = alpha + (1 - alpha) * x / 256
    y = np.log(p) - np.log1p(-p)
    z, log_det = jax.jit(flow.bijector.apply)({k: v["bijector"] for k, v in variables.items()}, jnp.asarray(y))
    log_p_y = np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi), axis=-1) + log_det
    sigmoid, dims = 1 / (1 + np.exp(-y)), math.prod(SHAPE)
    c = 8 - math.log2(1 - alpha)
    terms = np.mean(np.log2(sigmoid) + np.log2(1 - sigmoid), axis=(1, 2, 3))
    by_hand = -np.asarray(log_p_y) / (dims * math.log(2)) + c + terms
    ours = jax.jit(flow.bits_per_dim)(variables, jnp.asarray(x), key=KEY)
    np.testing.assert_allclose(ours, by_hand, rtol=0, atol=1e-6)


OPTIONS = [  # and whether the case is left to the slow set
    ((2, 4, 1), {"num_scales": 1, "num_classes": 3, "num_bits": 5, "sides": "two", "alpha": 0.01}, False),
    ((4, 4, 2), {"num_couplings": 2, "norm": "actnorm", "backprop": "invertible"}, True),
    ((4, 2, 1), {"num_couplings": 3, "backprop": "remat"}, True),  # of the last scale, the width is odd
]


@pytest.mark.parametrize(
    ("shape", "options"),
    [pytest.param(shape, options, marks=[pytest.mark.slow] if slow else []) for shape, options, slow in OPTIONS],
)
def test_options(shape, options):
    flow = small(shape, **options)
    context = jnp.arange(8) % 3 if "num_classes" in options else None
    check_flow(flow, jax.device_put(images(shape=shape)) % 2 ** options.get("num_bits", 8), context=context)


@pytest.mark.parametrize("shape", [(2, 4, 1), (2, 3, 2)], ids=["even width", "odd width"])
@pytest.mark.by_default("odd width")
def test_checkerboards_change_every_pixel(shape):
    flow = small(shape, num_scales=1, norm="actnorm")
    variables = filled(jax.eval_shape(flow.init, KEY, jax.device_put(images(64, shape))), 0)
    x = images(1, shape)[0] + 0.5
    jacobian = np.abs(jax.jit(jax.jacobian(lambda x: flow.encode(variables, x)[0]))(x)).reshape(math.prod(shape), -1)
    assert np.all((jacobian > 1e-12).sum(axis=0) > 1)  # else a pixel went through alone, scaled


def batches(steps: int = 3, size: int = 16) -> Batch:
    index = np.arange(steps * size, dtype=np.uint32).reshape(steps, size)
    x = images(steps * size).reshape(steps, size, *SHAPE)
    return Batch(x, None, np.ones((steps, size), np.float32), index)


@functools.cache
def trained(parallel: str):
    """The first variables; parameters, running statistics and losses after three steps of SGD."""
    flow, optimizer = small(num_scales=1), optax.sgd(1e-3)
    make_step = functools.partial(make_train_step, flow, optimizer, NegativeLogLikelihood())
    runner = Runner(make_step, parallel, batch_size=16, steps_per_call=3)
    variables = flow.init(KEY, jax.device_put(images(64, seed=9)))
    start = init_state(jax.tree.map(jnp.copy, variables), optimizer, jax.random.key(1))  # donated
    state, metrics = runner.run(runner.put_state(start), batches())
    state = runner.get_state(state)
    return variables, state.params, state.extra["batch_stats"], metrics["loss"]


@pytest.mark.parametrize("parallel", ["jit", "pmap", "shard_map"])
@pytest.mark.by_default("pmap")
def test_statistics_of_batches_are_those_of_all_devices(parallel):
    (_, *wanted), (_, *found) = trained("none"), trained(parallel)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_training_moves_all_running_statistics_and_scores_only_read_them():
    variables, _, moved, _ = trained("none")
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (moved, variables["batch_stats"])), strict=True))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(moved)[0]]
    assert any("conditioner" in path for path in paths) and any("conditioner" not in path for path in paths)
    flow, x = small(num_scales=1), jax.device_put(images())
    each = jax.jit(flow.log_prob)(variables, x)
    np.testing.assert_allclose(each[:3], jax.jit(flow.log_prob)(variables, x[:3]), rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(num_scales=4), r"`num_scales` must leave a height and width, \(4, 4\), that are multiples of 2"),
        (lambda: small((6, 4, 1), 3), r"`num_scales` must leave .*, \(6, 4\), .* got 3. Lower num_scales"),
        (lambda: small(num_scales=3), "`num_scales` must leave .* and two pixels; got 3"),
        (lambda: small(num_scales=0), "`num_scales` must be at least 1; got 0"),
        (lambda: small((48,)), r"`event_shape` must be \(height, width, channels\); got \(48,\)"),
        (lambda: small(num_bits=9), "`num_bits` must be 1 to 8; got 9"),
        (
            lambda: small(alpha=1e-8),
            r"LogitPixels: `alpha` must be at least 2\^-24 = 6e-8 with sides=one, .* got 1e-08",
        ),
        (lambda: small(sides="both"), "`sides` must be one of 'one', 'two'; got 'both'"),
        (lambda: small(norm="layer"), "`norm` must be one of 'batchnorm', 'actnorm'; got 'layer'"),
        (lambda: small(backprop="invertible"), "`backprop` must not be 'invertible' with norm=batchnorm, .*remat"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_the_advice_of_errors_holds():
    for made in (small(alpha=1e-7), small(alpha=1e-8, sides="two"), small(norm="actnorm", backprop="invertible")):
        assert made.event_shape == SHAPE
    assert small(backprop="remat").bijector.levels[1].backprop == "remat"


def test_images_of_other_bits_or_size_are_refused_before_compilation():
    flow, config = small(num_bits=5), jflows.TrainConfig(steps=1, batch_size=8)
    with pytest.raises(jflows.JflowsError, match="4, 4, 3"):
        jflows.fit(flow, ImageData("wide", images(16, (4, 8, 3))), config, progress=False)
    with pytest.raises(jflows.JflowsError, match="bits"):
        jflows.fit(flow, ImageData("coarse", images(16) // 64, num_bits=2), config, progress=False)

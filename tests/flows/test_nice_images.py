"""NICE on images: the paper's size, odd and even pixels, whitening by statistics of all training images, messages."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import ImageData
from jflows.distributions import StandardLogistic, StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows import nice_images
from jflows.testing import check_flow
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default


def images(num: int, shape=(2, 3, 1), seed: int = 0, levels: int = 256) -> np.ndarray:
    """Correlated integers: every pixel has half of its value from one that all of an image share."""
    random = np.random.default_rng(seed)
    own, shared = random.integers(0, levels, (num, *shape)), random.integers(0, levels, (num, 1, 1, 1))
    return ((own + shared) // 2).astype(np.uint8)


def test_the_papers_size_for_mnist():
    flow = nice_images((28, 28, 1))
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.uint8))
    network = 392 * 1000 + 4 * 1000**2 + 1000 * 392 + 5 * 1000 + 392
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 4 * network + 4 * 784
    stacked = variables["params"]["bijector"]["layers_1"]["layers"]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(stacked)} == {2}  # two pairs of layers, one scanned step


def test_networks_stay_alive_where_most_pixels_are_black():
    """Without the scaling before them, the last hidden units of one are all dead after these steps."""
    shown = np.zeros((4, 6, 1), bool)
    shown[1:3, 2:4] = True
    x = jax.device_put(np.where(shown, images(64, (4, 6, 1)), 0).astype(np.uint8))
    flow = nice_images((4, 6, 1), 2, (16,) * 3)
    variables = jax.jit(flow.init)(KEY, x)
    optimizer = optax.adam(1e-2)

    def step(carry, key):
        loss = lambda params: -jnp.mean(flow.log_prob({**variables, "params": params}, x, key=key))
        updates, state = optimizer.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    start = variables["params"], optimizer.init(variables["params"])
    (params, _), _ = jax.jit(functools.partial(jax.lax.scan, step))(start, jax.random.split(KEY, 300))
    latent = lambda x: flow.encode({**variables, "params": params}, x)[0]
    jacobian = jax.jit(jax.vmap(jax.jacobian(latent)))(x[:16] + 0.5).reshape(16, 24, 24)
    even, odd = jacobian[:, :12, 1::2], jacobian[:, 12:, ::2]  # how each half of the latent depends on the other pixels
    assert np.all(np.any(even != 0, axis=0)) and np.all(np.any(odd != 0, axis=0))


@pytest.mark.parametrize("num_layers", [2, 3])
def test_pixels_at_even_and_at_odd_positions_shift_each_other(num_layers):
    """Of an odd number of pixels too: the pattern of the Jacobian of the first two layers, without the scaling."""
    flow = nice_images((3, 3, 1), num_layers, (8,))
    variables = filled(jax.eval_shape(flow.init, KEY, jax.device_put(images(64, (3, 3, 1)))), 0)
    x = images(1, (3, 3, 1))[0] + 0.5
    jacobian, log_det = jax.jit(jax.jacobian(functools.partial(flow.encode, variables), has_aux=True))(x)
    jacobian = jacobian.reshape(9, 9)
    even, odd = np.arange(0, 9, 2), np.arange(1, 9, 2)
    if num_layers == 2:  # even pixels are shifted first, by odd ones
        assert np.allclose(jacobian[:5][:, even] - np.diag(np.diag(jacobian[:5][:, even])), 0)
        assert np.all(jacobian[:5][:, odd] != 0) and np.all(jacobian[5:][:, even] != 0)
    assert np.linalg.slogdet(jacobian)[1] == pytest.approx(float(log_det), rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 3, "base": "normal", "num_bits": 5, "num_classes": 3},
        pytest.param({"num_layers": 4, "whitening": "zca", "backprop": "invertible"}, marks=pytest.mark.slow),
    ],
)
def test_options(options):
    flow = nice_images((2, 3, 1), hidden_sizes=(4,), activation="tanh", **options)
    context = jnp.arange(8) % 3 if "num_classes" in options else None
    check_flow(flow, jax.device_put(images(8, levels=2 ** options.get("num_bits", 8))), context=context)
    assert isinstance(flow.base, StandardNormal if "base" in options else StandardLogistic)


@functools.cache
def whitening():
    return nice_images((2, 3, 1), 2, (4,), whitening="zca")


def whitened(flow, variables, x):
    """What the couplings see: dequantized pixels after ZCA."""
    return np.asarray(flow.preprocess.apply({"constants": variables["constants"]["preprocess"]}, x)[0])


class TestZca:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_statistics_are_those_of_all_training_images_by_their_weights(self, weighted):
        x, flow = images(400), whitening()
        weight = np.random.default_rng(1).integers(0, 4, 400) if weighted else None
        data = ImageData("made", x, weight=weight)
        found = data.statistics(flow.before_standardizing, flow.whitens)
        rows = np.repeat(x, 1 if weight is None else weight, axis=0).reshape(-1, 6) + 0.5
        np.testing.assert_allclose(found.event_mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), rtol=1e-9)
        variables = flow.init(KEY, jnp.asarray(x[:16] + 0.5), statistics=found)
        z = whitened(flow, variables, rows.reshape(-1, 2, 3, 1)).reshape(-1, 6)
        wanted = np.eye(6) - np.linalg.inv(np.cov(rows.T, bias=True) + np.eye(6) / 12) / 12  # without the noise
        np.testing.assert_allclose(np.cov(z.T, bias=True), wanted, atol=1e-9)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)

    def test_the_map_is_symmetric_and_its_log_det_exact(self):
        x, flow = images(400), whitening()
        statistics = ImageData("made", x).statistics(flow.before_standardizing, flow.whitens)
        variables = flow.init(KEY, jnp.asarray(x[:16] + 0.5), statistics=statistics)
        matrix = jax.jacobian(lambda x: whitened_in(flow, variables, x))(x[0] + 0.5).reshape(6, 6)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        log_det = flow.preprocess.apply({"constants": variables["constants"]["preprocess"]}, jnp.asarray(x[0] + 0.5))[1]
        np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], rtol=1e-10)
        np.testing.assert_allclose(log_det, -0.5 * np.linalg.slogdet(statistics.covariance + np.eye(6) / 12)[1])

    def test_of_a_constant_pixel_only_the_noise_is_stretched(self):
        x, flow = images(64), whitening()
        x[:, 0, 0] = 7
        variables = flow.init(KEY, jnp.asarray(x), statistics=ImageData("made", x).statistics(None, True))
        assert np.max(np.exp(variables["constants"]["preprocess"]["log_scale"])) <= math.sqrt(12) * (1 + 1e-6)

    def test_without_data_it_is_the_identity(self):
        variables = jax.jit(whitening().init)(KEY)
        constants = variables["constants"]["preprocess"]
        np.testing.assert_array_equal(constants["axes"], np.eye(6))
        assert not constants["log_scale"].any() and not constants["mean"].any()

    def test_without_statistics_those_of_the_batch_serve(self):
        x, flow = images(200), whitening()
        variables = flow.init(KEY, jnp.asarray(x + 0.5))
        z = whitened(flow, variables, x + 0.5).reshape(-1, 6)
        np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(6), atol=1e-3)

    def test_training_asks_for_the_covariance_of_its_rows(self, tmp_path):
        x, flow = images(64), whitening()
        config = jflows.TrainConfig(steps=1, batch_size=8)
        fitted = jflows.fit(flow, ImageData("made", x), config, progress=False)
        wanted = np.linalg.eigvalsh(np.cov(x.reshape(64, 6).T, bias=True)) + 1 / 12
        found = np.exp(-2 * np.asarray(fitted.variables["constants"]["preprocess"]["log_scale"]))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)

    def test_statistics_of_other_shapes_are_refused(self):
        layer = b.Whiten()
        with pytest.raises(InvalidValueError, match=r"Whiten.use: `mean, variance, axes` must be \[size\]"):
            layer.init(KEY, np.zeros(3), np.zeros(3), np.eye(2), np.float32, method="use")
        with pytest.raises(InvalidValueError, match="Whiten: `regularization` must be positive; got 0"):
            b.Whiten(regularization=0.0)
        variables = layer.init(KEY, np.asarray(images(9).reshape(9, 6), np.float32))
        with pytest.raises(InvalidValueError, match="must have 6 channels, as at `init`"):
            layer.apply(variables, jnp.zeros((2, 5)))


def whitened_in(flow, variables, x):
    return flow.preprocess.apply({"constants": variables["constants"]["preprocess"]}, jnp.asarray(x))[0].reshape(-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nice_images((1, 1, 1)), r"`event_shape` must have at least 2 numbers, .* got \(1, 1, 1\)"),
        (lambda: nice_images((784,)), r"`event_shape` must be \(height, width, channels\); got \(784,\)"),
        (lambda: nice_images((2, 2, 1), 0), "`num_layers` must be at least 1; got 0"),
        (lambda: nice_images((2, 2, 1), hidden_sizes=()), "`hidden_sizes`"),
        (lambda: nice_images((2, 2, 1), base="uniform"), "`base` must be one of 'logistic', 'normal'; got 'uniform'"),
        (lambda: nice_images((2, 2, 1), whitening="pca"), "`whitening` must be one of 'none', 'zca'; got 'pca'"),
        (lambda: nice_images((2, 2, 1), num_bits=0), "`num_bits` must be 1 to 8; got 0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(jflows.JflowsError, match=message):
        make()

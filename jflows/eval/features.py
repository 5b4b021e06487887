"""`FeatureNetwork`: a small classifier of images, trained in a minute, whose last hidden layer gives features.

Read next: `jflows/eval/fidelity.py`, the distances between sets of features.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jflows.data import Data
from jflows.data.base import NO_LABEL, check_is_data
from jflows.errors import DataError, InvalidValueError, check_choice
from jflows.nn.classifier import halved
from jflows.ops import varying
from jflows.ops.conv import conv2d
from jflows.options import Count, Seed, checked
from jflows.typing import Array, Key, Shape

CHANNELS, HIDDEN = (16, 32, 64), 64
STEPS, BATCH, LEARNING_RATE = 1000, 128, 2e-3
PER_CALL = 50  # steps of one dispatch
CHUNK = 500  # images whose features are computed at once
STD_FLOOR = 1e-6  # of a unit that is the same for all images, which then is 0 for them


class FeatureNetwork(NamedTuple):
    """A trained classifier of images; `features` gives the values of its last hidden layer.

        h = mean_2x2(relu(conv_3x3(h)))          three times, with 16, 32 and 64 channels
        features = (silu(W h + b) - mean) / deviation          64 of them
        logits = a linear map of silu(W h + b)

    Attributes:
      weights: arrays by their names.
      mean, deviation: moments [64] of the hidden units over the training images.
      accuracy: share of labelled test images whose class it finds.
      num_classes: number of classes that it tells apart.
      num_train, num_test: number of labelled images that it was trained and tested on.
      event_shape: shape of an image.
    """

    weights: Mapping[str, np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray
    accuracy: float
    num_classes: int
    num_train: int
    num_test: int
    event_shape: Shape

    def features(self, x: np.ndarray, num_bits: int) -> np.ndarray:
        """The features of images of integers 0..2^num_bits - 1: [num, *event_shape] -> float32 [num, 64].

        Raises:
          InvalidValueError: for no images, images of another shape, or values that such integers do not have.
        """
        check_choice("features", "num_bits", num_bits, range(1, 17))
        shape, kind = np.shape(x), np.asarray(x).dtype.kind
        if shape[1:] != tuple(self.event_shape) or not shape[0] or kind not in "ui":
            rule = f"must be images of integers, of shape {tuple(self.event_shape)}"
            raise InvalidValueError("features", "x", rule, f"{np.asarray(x).dtype} of shape {shape}")
        if np.min(x) < 0 or np.max(x) >= 2**num_bits:
            rule = f"must lie in 0..{2**num_bits - 1} with num_bits={num_bits}"
            raise InvalidValueError("features", "x", rule, f"{np.min(x)} to {np.max(x)}")
        x = np.asarray(x)
        hidden = _in_chunks(_hidden_of, self.weights, x, np.arange(len(x)), num_bits)
        return (hidden - self.mean) / self.deviation


@checked
def train_features(train: Data, test: Data, *, num_steps: Count = STEPS, seed: Seed = 0) -> FeatureNetwork:
    """Trains a `FeatureNetwork` to tell the classes of labelled images apart, by Adam and a cosine schedule.

    The same data and seed give the same network on one machine. Images without a label are left out; weights of images
    play no part.

    Args:
      train: images with labels.
      test: images with labels of the same classes, which give the accuracy.
      num_steps: number of batches of 128 images.
    Raises:
      InvalidTypeError, DataError: if the data are no images, have no labels, or fewer than two classes, or the test
        images have another shape than the training images.
    """
    for argument, data in (("train", train), ("test", test)):
        check_is_data("train_features", argument, data)
        if not data.kind.has_pixels or data.event_shape != train.event_shape:
            got = f"{data.kind.noun} of shape {data.event_shape}"
            raise DataError("train_features", argument, "must be images, of one shape in both", got)
    rows, tested = _labelled(train, "train"), _labelled(test, "test")
    classes = train.num_classes or 0
    weights = jax.jit(_init, static_argnums=(1, 2))(jax.random.key(seed), tuple(train.event_shape), classes)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps))
    state = weights, optimizer.init(weights)
    order, size = np.random.RandomState(seed % 2**32), min(BATCH, len(rows))
    queue = np.empty(0, np.int64)
    for start in range(0, num_steps, PER_CALL):
        needed = min(PER_CALL, num_steps - start) * size
        while len(queue) < needed:
            queue = np.concatenate([queue, order.permutation(rows)])
        index, queue = queue[:needed], queue[needed:]
        x = _centred(np.asarray(train.x[index]), train.num_bits or 8).reshape(-1, size, *train.event_shape)
        label = np.asarray(train.label)[index].reshape(-1, size)
        state = _fit(optimizer, state, x, label)
    trained = jax.tree.map(np.asarray, state[0])
    hidden = _in_chunks(_hidden_of, trained, train.x, rows, train.num_bits or 8)
    logits = _in_chunks(_logits_of, trained, test.x, tested, test.num_bits or 8)
    accuracy = float(np.mean(logits.argmax(axis=1) == np.asarray(test.label)[tested]))
    moments = hidden.mean(axis=0), np.maximum(hidden.std(axis=0), STD_FLOOR)
    return FeatureNetwork(trained, *moments, accuracy, classes, len(rows), len(tested), tuple(train.event_shape))


def weight_shapes(event_shape: Shape, num_classes: int) -> dict[str, Shape]:
    """The shapes of the weights of a network, by their names."""
    made = jax.eval_shape(lambda: _init(jax.random.key(0), event_shape, num_classes))
    return {name: leaf.shape for name, leaf in made.items()}


def _labelled(data: Data, argument: str) -> np.ndarray:
    """The positions of images with a label."""
    label = data.label
    if label is None or (data.num_classes or 0) < 2 or not (label != NO_LABEL).any():
        rule = "must be images with labels of two classes or more, which train the network"
        raise DataError("train_features", argument, rule, f"{data.name!r} without them", "Name other data.")
    return np.flatnonzero(label != NO_LABEL)


def _init(key: Key, event_shape: Shape, num_classes: int) -> dict[str, Array]:
    normal, weights = jax.nn.initializers.lecun_normal(), {}
    (height, width, last), keys = event_shape, jax.random.split(key, len(CHANNELS) + 2)
    for number, channels in enumerate(CHANNELS):
        weights[f"kernel_{number}"] = normal(keys[number], (3, 3, last, channels), jnp.float32)
        weights[f"bias_{number}"] = jnp.zeros(channels, jnp.float32)
        height, width, last = -(-height // 2), -(-width // 2), channels
    for name, one, sizes in (("hidden", -2, (height * width * last, HIDDEN)), ("out", -1, (HIDDEN, num_classes))):
        weights[name] = normal(keys[one], sizes, jnp.float32)
        weights[f"{name}_bias"] = jnp.zeros(sizes[1], jnp.float32)
    return weights


def _hidden(weights: Mapping[str, Array], x: Array) -> Array:
    """Centred images -> the last hidden units: [num, height, width, channels] -> [num, 64]."""
    for number in range(len(CHANNELS)):
        x = halved(jax.nn.relu(conv2d(x, weights[f"kernel_{number}"]) + weights[f"bias_{number}"]))
    return jax.nn.silu(x.reshape(len(x), -1) @ weights["hidden"] + weights["hidden_bias"])


def _logits(weights: Mapping[str, Array], x: Array) -> Array:
    return _hidden(weights, x) @ weights["out"] + weights["out_bias"]


_hidden_of, _logits_of = jax.jit(_hidden), jax.jit(_logits)


@functools.partial(jax.jit, static_argnums=0)
def _fit(optimizer: optax.GradientTransformation, state: Any, x: Array, label: Array) -> Any:
    """One step for each batch: x [num, size, *event_shape], label [num, size]."""

    def loss(weights: Mapping[str, Array], x: Array, label: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(_logits(weights, x), label).mean()

    def step(state: Any, batch: tuple[Array, Array]) -> tuple[Any, None]:
        weights, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(weights, *batch), moments, weights)
        return (optax.apply_updates(weights, updates), moments), None

    return varying.scan(step, state, (x, label))[0]


def _centred(x: np.ndarray, num_bits: int) -> np.ndarray:
    """Integers as the middles of their bins in [-0.5, 0.5), so that images of fewer bits look alike."""
    return (np.asarray(x, np.float32) + 0.5) / 2**num_bits - 0.5


def _in_chunks(
    run: Callable[..., Array], weights: Mapping[str, Any], x: Any, rows: np.ndarray, num_bits: int
) -> np.ndarray:
    """`run(weights, x[rows])`, some images at a time; the last chunk is filled up, as a new shape would compile."""
    found = []
    for start in range(0, len(rows), CHUNK):
        part = _centred(x[rows[start : start + CHUNK]], num_bits)
        filled = np.concatenate([part, np.zeros((CHUNK - len(part), *part.shape[1:]), np.float32)])
        found.append(np.asarray(run(weights, filled))[: len(part)])
    return np.concatenate(found)

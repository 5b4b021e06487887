"""Checks that a sample can fail, each fixed by real rows before any sample is looked at.

    a sample fails  <=>  its score is above the 99 % quantile of scores of real rows that the check was not fitted to

    entropy         of images with labels: the entropy of a classifier of real training images, -sum_c q_c ln q_c
    reconstruction  of images without labels: the distance to the hyperplane of principal components of real training
                    images that hold 95 % of their variance, per pixel
    nearest         of tables: the distance to the nearest real training row, in deviations of the columns

So 1 % of real rows fail, up to the error of the quantile. A check sees one kind of fault: a classifier may be sure of
what is no digit, and a smooth grey image is close to the hyperplane of any images.

Read next: `shells.py`, which counts failures by radius.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from jflows.errors import InvalidValueError
from jflows.eval.nearest import nearest_rows
from jflows.nn.classifier import ConvClassifier
from jflows.options import Count, Fraction, Seed, checked
from jflows.typing import Array, Key, Variables

QUANTILE = 0.99
VARIANCE = 0.95
LEAST_ROWS = 20  # of real rows to fit to, and of those that set the threshold
CHANNELS = (16, 32)
BATCH, STEPS, LEARNING_RATE = 64, 600, 3e-3
ENTRIES_PER_CALL = 2**20


class Check(NamedTuple):
    """A stated check of samples.

    Attributes:
      name: entropy, reconstruction or nearest.
      statement: what is measured and what fails, in a sentence.
      threshold: the score above which a sample fails.
      score: rows [num, *event_shape] -> scores [num]; larger ones are less like real rows.
    """

    name: str
    statement: str
    threshold: float
    score: Callable[[ArrayLike], np.ndarray]

    def fails(self, x: ArrayLike) -> np.ndarray:
        """Which rows fail: bool [num]; scores that are no numbers fail."""
        return ~(self.score(x) <= self.threshold)


@checked
def entropy_check(
    train: ArrayLike,
    label: ArrayLike,
    test: ArrayLike,
    test_label: ArrayLike,
    num_levels: Count = 256,
    seed: Seed = 0,
    steps: Count = STEPS,
) -> Check:
    """The entropy of a classifier of images, fitted to real ones: high where an image is of no class.

    The classifier is `jflows.nn.ConvClassifier` of two convolutions, 600 steps of Adam on batches of 64 images; a few
    seconds on one core for 28x28 pixels.

    Args:
      train, test: integers [num, height, width, channels]; those of `test` set the threshold.
      label, test_label: int [num], from 0.
      num_levels: the number of levels of a pixel.
    Raises:
      InvalidValueError: if there are fewer than 20 images, labels do not fit, or all are of one class.
    """
    own, held_out = _rows("entropy_check", "train", train, 4), _rows("entropy_check", "test", test, 4)
    of_own, of_held_out = np.asarray(label), np.asarray(test_label)
    for name, given, rows in (("label", of_own, own), ("test_label", of_held_out, held_out)):
        if given.shape != rows.shape[:1] or given.dtype.kind not in "ui" or given.min() < 0:
            got = f"{given.dtype} of shape {given.shape}"
            raise InvalidValueError("entropy_check", name, f"must be integers from 0 of shape ({len(rows)},)", got)
    num_classes = int(of_own.max()) + 1
    if len(np.unique(of_own)) < 2:
        raise InvalidValueError("entropy_check", "label", "must be of two classes or more", "one")
    scale = 1.0 / (num_levels - 1)
    network = ConvClassifier(CHANNELS)
    params = _fitted(network, num_classes, own, of_own, scale, jax.random.key(seed), steps)

    def logits(x: ArrayLike) -> np.ndarray:
        return _in_parts(lambda part: _logits(network, num_classes, params, part * scale), np.asarray(x))

    def score(x: ArrayLike) -> np.ndarray:
        log_q = np.asarray(jax.nn.log_softmax(logits(x)), np.float64)
        return -np.sum(np.exp(log_q) * log_q, axis=1)

    accuracy = float(np.mean(logits(held_out).argmax(axis=1) == of_held_out))
    threshold = float(np.quantile(score(held_out), QUANTILE))
    statement = (
        f"A sample fails if a classifier of {len(own):,} real training images, right for {accuracy:.1%} of "
        f"{len(held_out):,} others, is less sure of it than of all but 1 % of those: an entropy above {threshold:.3g} "
        "nats."
    )
    return Check("entropy", statement, threshold, score)


@checked
def reconstruction_check(train: ArrayLike, test: ArrayLike, variance: Fraction = VARIANCE) -> Check:
    """The distance of rows to the principal components of real ones, root mean square over the entries of a row.

    Args:
      train, test: [num, *event_shape]; those of `test` set the threshold.
      variance: the share of the variance of `train` that the components hold; as many are taken as this needs.
    Raises:
      InvalidValueError: if there are fewer than 20 rows, numbers are not finite, or shapes differ.
    """
    own, held_out = _rows("reconstruction_check", "train", train), _rows("reconstruction_check", "test", test)
    mean, axes = _principal(own.reshape(len(own), -1).astype(np.float64), variance)

    def score(x: ArrayLike) -> np.ndarray:
        rest = np.asarray(x).reshape(len(np.asarray(x)), -1).astype(np.float64) - mean
        rest -= (rest @ axes) @ axes.T
        return np.sqrt(np.mean(rest**2, axis=1))

    threshold = float(np.quantile(score(held_out), QUANTILE))
    statement = (
        f"A sample fails if {axes.shape[1]:,} principal components, which hold {variance:.0%} of the variance of "
        f"{len(own):,} real training images, leave out more of it than of all but 1 % of {len(held_out):,} other real "
        f"images: more than {threshold:.3g} levels per pixel."
    )
    return Check("reconstruction", statement, threshold, score)


def nearest_check(train: ArrayLike, test: ArrayLike) -> Check:
    """The distance of rows to the nearest real one, in standard deviations of the columns.

    Args:
      train, test: [num, dim]; those of `test` set the threshold.
    Raises:
      InvalidValueError: if there are fewer than 20 rows, numbers are not finite, or shapes differ.
    """
    own, held_out = _rows("nearest_check", "train", train, 2), _rows("nearest_check", "test", test, 2)
    spread = own.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 0, spread, 1.0)
    scaled = own / scale
    score = lambda x: nearest_rows(np.asarray(x, np.float64) / scale, scaled).distance[:, 0]
    threshold = float(np.quantile(score(held_out), QUANTILE))
    statement = (
        f"A sample fails if it lies further from the nearest of {len(own):,} real training rows than all but 1 % of "
        f"{len(held_out):,} other real rows do: further than {threshold:.3g}, in standard deviations of the columns."
    )
    return Check("nearest", statement, threshold, score)


def _rows(where: str, argument: str, rows: ArrayLike, ndim: int = 0) -> np.ndarray:
    array = np.asarray(rows)
    if len(array) < LEAST_ROWS or (ndim and array.ndim != ndim) or array.dtype.kind not in "fiu":
        rule = f"must be at least {LEAST_ROWS} rows of numbers" + (f" with {ndim} axes" if ndim else "")
        raise InvalidValueError(where, argument, rule, f"{array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidValueError(where, argument, "must be finite", "NaN or infinite entries")
    return array


def _principal(rows: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean [dim] and the fewest principal axes [dim, num_axes] that hold this share of the variance."""
    mean = rows.mean(axis=0)
    centred = rows - mean
    few_rows = len(rows) < rows.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if few_rows else centred.T @ centred)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    held = np.cumsum(values) / max(float(values.sum()), np.finfo(np.float64).tiny)
    num = int(np.searchsorted(held, variance)) + 1
    axes = centred.T @ vectors[:, :num] / np.sqrt(np.maximum(values[:num], 1e-300)) if few_rows else vectors[:, :num]
    return mean, axes


def _in_parts(function: Callable[[Array], Array], x: np.ndarray) -> np.ndarray:
    """Applies a compiled function to rows in parts of one size, the last of which is filled up."""
    size = min(len(x), max(1, ENTRIES_PER_CALL // max(1, int(np.prod(x.shape[1:])))))
    parts = []
    for start in range(0, len(x), size):
        rows = np.arange(start, start + size) % len(x)
        parts.append(np.asarray(function(jnp.asarray(x[rows], jnp.float32)))[: len(x) - start])
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames=("network", "num_classes"))
def _logits(network: ConvClassifier, num_classes: int, params: Variables, x: Array) -> Array:
    return jnp.asarray(network.apply({"params": params}, x, num_classes))


def _fitted(
    network: ConvClassifier, num_classes: int, x: np.ndarray, label: np.ndarray, scale: float, key: Key, steps: int
) -> Variables:
    """The parameters after so many steps; batches are drawn anew from all images."""
    init_key, order_key = jax.random.split(key)
    images, labels = jnp.asarray(x), jnp.asarray(label)
    params = network.init(init_key, jnp.asarray(x[:1], jnp.float32), num_classes)["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def loss(params: Variables, rows: Array) -> Array:
        logits = jnp.asarray(network.apply({"params": params}, images[rows].astype(jnp.float32) * scale, num_classes))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    @jax.jit
    def step(state: tuple, rows: Array) -> tuple:
        params, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(params, rows), moments)
        return optax.apply_updates(params, updates), moments

    state = params, optimizer.init(params)
    batches = np.asarray(jax.random.randint(order_key, (steps, min(BATCH, len(x))), 0, len(x)))
    for rows in batches:
        state = step(state, rows)
    return state[0]

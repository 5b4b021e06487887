"""Distances between features: closed forms, means over draws, and a network that learns, repeats and refuses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.data import ImageData
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import frechet_distance, kernel_distance, train_features


def with_moments(num: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows whose mean and covariance are exactly these."""
    rows = np.random.default_rng(seed).standard_normal((num, len(mean)))
    rows = rows - rows.mean(axis=0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_two_normals_whose_covariances_commute():
    """With equal eigenvectors, d^2 = |m_1 - m_2|^2 + sum_i (s_i - t_i)^2 of the deviations along them."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    one, other = np.array([1.0, 2.0, 0.5]), np.array([0.1, 3.0, 2.0])
    mean = np.array([1.0, -2.0, 0.5])
    x = with_moments(40, mean, turn @ np.diag(one**2) @ turn.T)
    y = with_moments(50, np.zeros(3), turn @ np.diag(other**2) @ turn.T, seed=2)
    wanted = mean @ mean + np.sum((one - other) ** 2)
    np.testing.assert_allclose([frechet_distance(x, y), frechet_distance(y, x)], wanted, rtol=1e-9)


def test_frechet_distance_of_covariances_that_do_not_commute():
    """For 2x2 matrices, tr (A B)^(1/2) = sqrt(tr(A B) + 2 sqrt(det(A B)))."""
    one, other = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.8], [-0.8, 3.0]])
    product = one @ other
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    x, y = (with_moments(30, np.zeros(2), matrix) for matrix in (one, other))
    np.testing.assert_allclose(frechet_distance(x, y), np.trace(one) + np.trace(other) - 2 * root, rtol=1e-9)


def test_frechet_distance_takes_singular_covariances_and_single_features():
    rows = np.random.default_rng(0).standard_normal((10, 1))
    singular = np.concatenate([rows, rows, np.zeros((10, 1))], axis=1)
    assert abs(frechet_distance(singular, singular)) < 1e-7
    np.testing.assert_allclose(frechet_distance(singular, singular + np.array([3, 0, 4])), 25, rtol=1e-7)
    np.testing.assert_allclose(frechet_distance(rows, rows * 3), rows.mean() ** 2 * 4 + rows.var(ddof=1) * 4, rtol=1e-9)


def test_frechet_distance_of_features_that_depend_on_each_other_is_right_to_rounding():
    """Roots of eigenvalues that are 0 but for rounding would be off by 1e-8 each, of which there are 63."""
    random = np.random.default_rng(0)
    line = 3 * random.standard_normal((500, 1)) @ random.standard_normal((1, 64))
    few = random.standard_normal((10, 64))
    for rows in (line, few):
        assert frechet_distance(rows, rows[::-1]) < 1e-20
        np.testing.assert_allclose(
            frechet_distance(rows, 2 * rows + 1), frechet_distance(2 * rows + 1, rows), rtol=1e-12
        )
    wanted = np.sum((2 * line.mean(axis=0) - line.mean(axis=0)) ** 2) + np.trace(np.cov(line, rowvar=False))
    np.testing.assert_allclose(frechet_distance(line, 2 * line), wanted, rtol=1e-12)


def test_distances_take_the_narrow_types_of_accelerators():
    rows = np.random.default_rng(0).integers(-8, 8, (40, 3)).astype(np.float64)
    narrow = jnp.asarray(rows, jnp.bfloat16)
    assert frechet_distance(narrow, rows + 1) == frechet_distance(rows, rows + 1)
    assert kernel_distance(narrow, rows + 1) == kernel_distance(rows, rows + 1)


def test_kernel_distance_of_points_by_hand():
    """Blocks of two equal rows: a = 1 and b = 0 give k(a, a) = 8, k(b, b) = 1 and k(a, b) = 1, so 8 + 1 - 2."""
    found = kernel_distance(np.ones((4, 1)), np.zeros((4, 1)), num_blocks=2)
    assert found == (7.0, 0.0)


def test_kernel_distance_of_equal_distributions_is_0_in_the_mean_and_its_error_is_right():
    random = np.random.default_rng(0)
    found = [kernel_distance(random.standard_normal((40, 3)), random.standard_normal((60, 3))) for _ in range(400)]
    values, errors = np.array(found).T
    spread = values.std()
    assert abs(values.mean()) < 3 * spread / 20 and (values < 0).any()
    assert 0.9 < np.sqrt(np.mean(errors**2)) / spread < 1.1
    biased = np.mean([kernel_distance(x := random.standard_normal((40, 3)), x).value for _ in range(20)])
    assert biased < -3 * spread  # rows that are compared with themselves are no independent draws


def test_distances_grow_with_the_difference():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((2, 500, 4))
    for measure in (frechet_distance, lambda x, y: kernel_distance(x, y).value):
        assert measure(x, y) < measure(x, y + 0.3) < measure(x, y + 1) < measure(x, 2 * y + 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: frechet_distance(x, x[:, :2]),
            r"`others` must be \[num, dim\], of one dim; got shapes \(30, 3\) and",
        ),
        (lambda x: frechet_distance(x[0], x[0]), r"frechet_distance: `features` must be \[num, dim\]"),
        (lambda x: frechet_distance(x, x[:1]), "`others` must have at least 2 rows; got 1"),
        (lambda x: kernel_distance(x[:19], x), "kernel_distance: `features` must have at least 20 rows; got 19"),
        (lambda x: kernel_distance(x, x, 1), "`num_blocks` must be at least 2; got 1"),
        (
            lambda x: frechet_distance(x, np.where(x == 5, np.inf, x)),
            "`others` must hold numbers of size 1e.40 at most; got NaN, infinity or a larger one in row 1",
        ),
    ],
)
def test_bad_features_are_refused(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call(np.arange(90.0).reshape(30, 3))


def stripes(num: int, seed: int, **options) -> ImageData:
    """Images of 5x6 with vertical (class 0) or horizontal (class 1) stripes of random phase, and noise; 4 bits."""
    random = np.random.default_rng(seed)
    label, phase = random.integers(0, 2, (2, num))
    rows, columns = np.indices((5, 6))
    across = np.where(label[:, None, None] == 1, rows, columns) + phase[:, None, None]
    x = np.clip(8 * (across % 2) + random.integers(0, 8, (num, 5, 6)), 0, 15)[..., None]
    return ImageData("stripes", x.astype(np.uint8), **{"label": label, "num_bits": 4} | options)


@functools.cache
def network(seed: int = 0):
    return train_features(stripes(300, 0), stripes(200, 1), num_steps=60, seed=seed)


def test_a_network_learns_classes_and_gives_standard_features():
    found, x = network(), stripes(300, 0).x
    assert found.accuracy > 0.95 and (found.num_train, found.num_test, found.num_classes) == (300, 200, 2)
    features = found.features(x, 4)
    assert features.shape == (300, 64) and features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)
    np.testing.assert_array_equal(found.features(x[:7], 4), features[:7])
    halves = found.features(x // 2, 3)  # of the same images with one bit less
    assert np.corrcoef(halves.ravel(), features.ravel())[0, 1] > 0.95


def test_equal_seeds_give_equal_networks():
    one, again, other = (train_features(stripes(150, 0), stripes(50, 1), num_steps=2, seed=seed) for seed in (0, 0, 1))
    features = [each.features(stripes(9, 2).x, 4) for each in (one, again, other)]
    np.testing.assert_array_equal(features[0], features[1])
    assert np.abs(features[0] - features[2]).max() > 0.1


def test_features_see_what_differs():
    found, real = network(), network().features(stripes(300, 3).x, 4)
    own, noise = stripes(300, 4).x, np.random.default_rng(0).integers(0, 16, (300, 5, 6, 1))
    distances = [frechet_distance(found.features(x, 4), real) for x in (own, noise)]
    assert 3 * distances[0] < distances[1]


def test_images_without_a_label_are_left_out():
    partly = stripes(300, 0)
    label = np.where(np.arange(300) < 100, -1, partly.label)
    partly = dataclasses.replace(partly, label=label, num_classes=2, partly_labelled=True)
    assert train_features(partly, stripes(50, 1), num_steps=1).num_train == 200


def test_images_that_do_not_fit_are_refused():
    plain = stripes(30, 0, label=None)
    with pytest.raises(DataError, match="`train` must be images with labels of two classes .*'stripes' without"):
        train_features(plain, stripes(30, 1))
    with pytest.raises(DataError, match="`test` must be images with labels"):
        train_features(stripes(30, 1), plain)
    with pytest.raises(
        InvalidValueError, match=r"`x` must be images of integers, of shape \(5, 6, 1\); got float64 of"
    ):
        network().features(np.zeros((2, 5, 6, 1)), 4)
    with pytest.raises(InvalidValueError, match=r"`x` must lie in 0..15 with num_bits=4; got 200 to 200"):
        network().features(np.full((2, 5, 6, 1), 200), 4)
    with pytest.raises(DataError, match="`test` must be images, of one shape in both; got images of shape"):
        train_features(stripes(30, 1), dataclasses.replace(stripes(30, 1), x=stripes(30, 1).x[:, :4]))


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (
            np.full((3, 2), 1e200),
            InvalidValueError,
            "`features` must hold numbers of size 1e.40 at most; got .* in row 0",
        ),
        (np.ones((3, 2)) + 1j, InvalidValueError, "`features` must be an array of real numbers.*complex128"),
        ([["a", "b"]], InvalidValueError, "`features` must be an array of real numbers"),
        ([[1.0], [1.0, 2.0]], InvalidValueError, "`features` must be an array of real numbers.*rows of different"),
        (jax.random.key(0), InvalidValueError, "`features` must be an array of real numbers.*no numbers"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(features, error, message):
    with pytest.raises(error, match=message):
        frechet_distance(features, np.ones((3, 2)))


def test_distances_are_not_traced_and_never_negative():
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    assert frechet_distance(rows, rows) >= 0
    with pytest.raises(InvalidTypeError, match="that is there already; got a traced array. Call it outside of jax.jit"):
        jax.jit(frechet_distance)(rows, rows)

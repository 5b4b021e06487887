"""Directions of attributes in latent space, and pictures along them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import LinearSVC

from jflows import DataError, Flow, InvalidValueError, glow
from jflows.bijectors import Affine, Elementwise
from jflows.distributions import StandardNormal
from jflows.eval import (
    captioned_grid,
    decode_data,
    direction,
    edit,
    encode_centres,
    mean_latents,
    svm_normal,
    svm_plane,
)
from tests.presets import filled

jit_edit = jax.jit(edit, static_argnames="flow")
RANDOM = np.random.RandomState(0)
POSITIVE = np.arange(60) % 3 == 0


def clouds(dim, shift, scale=1.0):
    """Two normal clouds, those of `POSITIVE` moved by a shift."""
    return np.random.RandomState(1).randn(60, dim) * scale + np.outer(POSITIVE, shift)


def test_the_mean_direction_is_the_difference_of_means_and_alpha_its_length():
    latents = clouds(12, np.arange(12.0)).reshape(60, 3, 4)
    found = direction(latents, POSITIVE)
    between = latents[POSITIVE].mean(axis=0) - latents[~POSITIVE].mean(axis=0)
    np.testing.assert_allclose(found.shift, between)
    assert found.vector.shape == (3, 4) and abs(np.linalg.norm(found.vector) - 1) < 1e-12
    assert found.accuracy == found.shares(latents, POSITIVE) == 1.0
    assert found.shares(latents[:, ::-1, ::-1], POSITIVE) < 0.9  # other latents, other shares


@pytest.mark.parametrize("by", ["mean", "svm"])
def test_a_step_moves_one_mean_as_far_as_the_other_lies(by):
    latents = clouds(5, [2.0, 0, 0, 0, 0], np.array([0.5, 3, 1, 1, 1]))
    found = direction(latents, POSITIVE, by)
    along = latents @ found.vector
    assert abs(found.step - (along[POSITIVE].mean() - along[~POSITIVE].mean())) < 1e-12
    assert found.step > 0


@pytest.mark.parametrize(
    ("dim", "penalty", "shift"), [(3, 1.0, 1.0), (90, 1.0, 1.0), (20, 0.01, 5.0), (59, 100.0, 0.1)]
)
def test_the_machine_ends_where_the_gradient_of_its_loss_is_zero(dim, penalty, shift):
    """The loss is convex: w = 2 C sum_i a_i y_i x_i and sum_i a_i y_i = 0 with a_i = max(0, 1 - y_i (w.x_i + b))."""
    x, y = clouds(dim, np.full(dim, shift / np.sqrt(dim))), np.where(POSITIVE, 1.0, -1.0)
    w = svm_normal(x, POSITIVE, penalty)
    inside = lambda b: np.maximum(0, 1 - y * (x @ w + b))
    low, high = -100.0, 100.0
    for _ in range(80):  # the derivative by b grows with b
        b = (low + high) / 2
        low, high = (b, high) if y @ inside(b) > 0 else (low, b)
    np.testing.assert_allclose(2 * penalty * (y * inside(b)) @ x, w, atol=1e-6 * np.abs(w).max())
    assert np.linalg.norm(w) > 0


@pytest.mark.parametrize(("dim", "penalty"), [(3, 1.0), (90, 1.0), (20, 0.01)])
def test_the_machine_is_that_of_scikit_learn(dim, penalty):
    """LinearSVC penalises b / intercept_scaling, which vanishes in the limit."""
    x = clouds(dim, np.full(dim, 1.5 / np.sqrt(dim)))
    x -= x.mean(axis=0)
    ours, moved = svm_plane(x, POSITIVE, penalty), svm_plane(x + 3.0, POSITIVE, penalty)
    theirs = LinearSVC(C=penalty, loss="squared_hinge", dual=False, intercept_scaling=100.0, tol=1e-8, max_iter=5000)
    theirs.fit(x, POSITIVE)
    np.testing.assert_allclose(theirs.coef_[0], ours.normal, atol=1e-4 * np.abs(ours.normal).max())
    assert theirs.intercept_[0] == pytest.approx(ours.offset, rel=1e-4, abs=1e-4)
    assert moved.offset == pytest.approx(ours.offset - 3.0 * ours.normal.sum(), rel=1e-6)
    np.testing.assert_array_equal(theirs.predict(x), x @ ours.normal + ours.offset > 0)


def test_the_machine_ignores_what_the_mean_follows():
    """A column of large deviation which happens to differ in mean draws the mean direction aside."""
    latents = clouds(2, [1.0, 0.0], np.array([0.05, 5.0]))
    mean, machine = (np.abs(direction(latents, POSITIVE, by).vector) for by in ("mean", "svm"))
    assert machine[0] > 0.99 > mean[0]


@pytest.mark.parametrize("dim", [4, 100])
def test_separated_classes_end_the_search(dim):
    x = clouds(dim, np.full(dim, 40.0))
    w = svm_normal(x, POSITIVE, 1e4)
    assert (x[POSITIVE] @ w).min() > (x[~POSITIVE] @ w).max()


@pytest.mark.parametrize("by", ["mean", "svm"])
def test_groups_are_compared_with_themselves_only(by):
    """Group 0 lies far off and has more with the attribute; group 2 is of one class, and plays no part."""
    random = np.random.RandomState(2)
    group = np.repeat([0, 1, 2], 20)
    positive = np.concatenate([np.arange(20) < 15, np.arange(20) < 5, np.ones(20, bool)])
    latents = 0.1 * random.randn(60, 3) + np.outer(positive, [1.0, 0, 0])
    latents[group == 0, 1] += 50.0
    latents[group == 2, 2] += 50.0
    assert abs(direction(latents, positive).vector[0]) < 0.1
    found = direction(latents, positive, by, group=group)
    assert found.vector[0] > 0.95 and abs(found.step - 1) < 0.3
    with pytest.raises(DataError, match="`group` must hold a group with images with the attribute and images without"):
        direction(latents, positive, by, group=np.where(positive, 1, 0))


def test_directions_of_one_class_are_refused():
    latents = clouds(3, [0.0, 0, 0])
    with pytest.raises(DataError, match="`positive` must have images with the attribute and .*; got 0 with it of 60"):
        direction(latents, np.zeros(60, bool))
    with pytest.raises(DataError, match="`latents` must differ in mean between the two classes"):
        direction(np.zeros((60, 3)), POSITIVE)
    with pytest.raises(InvalidValueError, match=r"`positive` must be bool of shape \(60,\); got dtype int64"):
        direction(latents, POSITIVE.astype(int))
    with pytest.raises(InvalidValueError, match="`by` must be one of 'mean', 'svm'"):
        direction(latents, POSITIVE, "median")
    with pytest.raises(InvalidValueError, match="`penalty` must be positive"):
        direction(latents, POSITIVE, "svm", 0.0)


def test_mean_latents_of_each_class():
    latents, label = clouds(4, [1.0, 2, 3, 4]).reshape(60, 2, 2), POSITIVE.astype(int)
    means = mean_latents(latents, label, 2)
    np.testing.assert_allclose(means, [latents[~POSITIVE].mean(axis=0), latents[POSITIVE].mean(axis=0)])
    stretched = mean_latents(latents, label, 2, stretch=1.0)[0]
    lengths = np.linalg.norm(latents[~POSITIVE].reshape(40, 4), axis=1)
    assert abs(np.linalg.norm(stretched) - lengths.mean()) < 1e-12
    np.testing.assert_allclose(mean_latents(latents, label, 2, stretch=0.5)[0], (stretched + means[0]) / 2)
    with pytest.raises(DataError, match="must hold an image of each of 3 classes; got none of class 2"):
        mean_latents(latents, label, 3)


@pytest.fixture(scope="module")
def fitted():
    flow = glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_bits=4, num_classes=2)
    x = np.random.default_rng(2).integers(0, 16, (6, 4, 4, 1)).astype(np.uint8)
    label = jnp.arange(6) % 2
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), x, label), 0)
    params = jax.tree.map(lambda leaf: leaf + 0.05, variables["params"])
    return flow, {**variables, "params": params}, x, label


def test_alpha_0_is_the_image_and_log_p_that_of_the_picture(fitted):
    flow, variables, x, label = fitted
    shift = np.random.RandomState(0).randn(6, *flow.latent_shape)
    images, log_prob = jit_edit(flow, variables, x, shift, np.array([-1.0, 0.0, 1.0]), label)
    assert images.shape == (6, 3, 4, 4, 1) and images.dtype == jnp.uint8 and log_prob.shape == (6, 3)
    np.testing.assert_array_equal(images[:, 1], x)
    assert (images[:, 0] != x).any() and (images[:, 2] != images[:, 0]).any()
    score = jax.jit(flow.log_prob)
    for step in range(3):
        np.testing.assert_allclose(log_prob[:, step], score(variables, images[:, step], label), rtol=1e-6)
    one = jit_edit(flow, variables, x, shift[2], np.array([1.0]), label)[0]
    np.testing.assert_array_equal(one[2, 0], images[2, 2])


def test_edits_add_to_the_latent():
    flow = Flow(Elementwise(Affine()), StandardNormal((2,)), (2,))
    variables = flow.init(jax.random.key(0), jnp.ones((1, 2)))
    x, log_prob = edit(flow, variables, np.array([[1.0, 2.0]]), np.array([10.0, 0.0]), np.array([-1.0, 0.5]))
    np.testing.assert_allclose(x, [[[-9, 2], [6, 2]]], rtol=1e-6)
    np.testing.assert_allclose(log_prob[0], [-0.5 * 85 - np.log(2 * np.pi), -0.5 * 40 - np.log(2 * np.pi)], rtol=1e-6)


def test_decoding_ends_the_round_trip(fitted):
    flow, variables, x, label = fitted

    @jax.jit
    def there_and_back(variables):
        z = encode_centres(flow, variables, x, label)
        return *decode_data(flow, variables, z, label), flow.log_prob(variables, x, label)

    back, log_prob, wanted = there_and_back(variables)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_allclose(log_prob, wanted, rtol=1e-6)


def test_the_picture_has_a_text_under_each_image():
    images = np.zeros((2, 3, 4, 4, 1), np.uint8)
    plain = np.asarray(captioned_grid(images, [[""] * 3] * 2))
    grid = np.asarray(captioned_grid(images, [["a", "b", "c"], ["", "", "d\ne"]], headings=["x"] * 3, names=["p", "q"]))
    black = lambda picture: int((picture == 0).all(axis=-1).sum())
    assert black(plain) == black(grid) == 6 * 88**2
    assert (grid == 255).all(axis=-1).sum() < grid.shape[0] * grid.shape[1] - black(grid)  # letters
    with pytest.raises(InvalidValueError, match=r"`captions` must be 2 rows of 3 texts; got 1 rows of \[3\]"):
        captioned_grid(images, [["a", "b", "c"]])
    with pytest.raises(InvalidValueError, match="`images` must be "):
        captioned_grid(images[0], [["a", "b", "c"]])

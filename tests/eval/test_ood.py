"""Measures of rows that are out of distribution: values by hand, the law of latents, and what is refused."""

import zlib

import jax
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import ImageData, TableData, eval_batches
from jflows.distributions import StandardNormal
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import auroc, ood, roc, roc_figure
from jflows.flows import Flow, MixtureOfFlows, UniformDequantize
from jflows.options import settings_of
from tests.presets import filled

INF = np.inf


def test_typicality_is_the_distance_of_the_mean_surprise_from_the_entropy():
    np.testing.assert_allclose(ood.typicality([-3.0, -5.0, -9.0, -INF], 4.0), [1, 1, 5, INF])
    np.testing.assert_allclose(ood.typicality([-3.0, -5.0, -9.0, -7.0, 0.0], 4.0, group=2), [0, 4])


def test_groups_tell_apart_what_single_rows_do_not():
    """Two normals in 200 dimensions, the second narrower: it has the higher likelihood, and is yet out."""
    random = np.random.RandomState(0)
    log_prob = lambda x: -0.5 * (x**2).sum(axis=1)
    own, other = (log_prob(scale * random.randn(600, 200)) for scale in (1.0, 0.95))
    out = lambda group: auroc(*(ood.typicality(rows, 100.0, group) for rows in (other, own))).value
    assert auroc(-other, -own).value < 0.3  # likelihood alone takes the narrower one for the more usual
    assert out(1) > 0.55 and out(10) > 0.95


def test_typicality_takes_the_entropy_from_training_rows_by_their_weights():
    evidence = ood.Evidence(np.array([-2.0, -6.0]), 2, np.array([-1.0, -5.0]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(ood.Typicality()(evidence), [0, 4])
    assert ood.Typicality(group=2, num_train=7).training_rows == 7


def test_ratio_complexity_and_waic_by_hand():
    np.testing.assert_allclose(ood.likelihood_ratio([-3.0, -INF, -1.0], [-1.0, -INF, -INF]), [2, INF, -INF])
    np.testing.assert_allclose(ood.complexity([-8 * np.log(2), -INF], [4.0, 4.0], num_dims=4), [1, INF])
    np.testing.assert_allclose(ood.waic([[-1.0, -2.0, -1.0], [-3.0, -2.0, -INF]]), [4, 2, INF])
    np.testing.assert_allclose(ood.radius([2.0, 5.0, INF], [1.0, 2.0, 3.0]), [0, 3, INF])


@pytest.mark.parametrize("compressor", ["png", "zlib"])
def test_noise_takes_more_bits_than_a_flat_image(compressor):
    noise = np.random.RandomState(0).randint(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    flat, noisy = ood.compressed_bits(np.concatenate([np.zeros_like(noise), noise]), compressor)
    assert flat < noisy / 3 and noisy >= 8 * noise.size
    if compressor == "zlib":
        assert flat == 8 * len(zlib.compress(bytes(noise.size), 9))


def test_the_norm_of_latents_follows_the_law_of_the_base():
    flow = jflows.flows.normal((50,))
    rows = np.random.RandomState(0).randn(2000, 50)
    variables = flow.init(jax.random.key(0), rows)
    key = jax.random.key(1)
    norms = lambda x: np.concatenate(
        [*ood.latent_norms(flow, variables, eval_batches(TableData("rows", x), 1000, flow.reading), key)]
    )
    drawn = ood.base_norms(flow, variables, key, 3000)
    assert drawn.shape == (3000,) and len(np.unique(drawn)) == 3000
    assert abs(drawn.mean() - np.sqrt(50 - 0.5)) < 0.05 and abs(drawn.std() - np.sqrt(0.5)) < 0.03
    usual, near, far = (ood.radius(norms(rows * scale), drawn) for scale in (1.0, 0.3, 2.0))
    assert np.median(usual) < 1 < 4 < min(np.median(near), np.median(far))


def test_the_radius_of_images_counts_their_noise():
    """At the centres of bins, latents of integers would lie too near to the origin."""
    shape = (4, 4, 1)
    scale = b.Elementwise(b.Affine(), event_ndims=3)
    flow = Flow(scale, StandardNormal(shape), shape, UniformDequantize(1), b.CentredPixels(1))
    images = ImageData("noise", np.random.RandomState(0).randint(0, 2, (64, 4, 4, 1)), num_bits=1)
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), images.x), 0)
    batches = lambda: eval_batches(images, 64, flow.reading)
    found = [np.concatenate([*ood.latent_norms(flow, variables, batches(), jax.random.key(k))]) for k in (0, 1)]
    centre = np.linalg.norm(np.asarray(flow.encode(variables, images.x)[0]), axis=-1)
    assert (found[0] != found[1]).all() and found[0].mean() > centre.mean()


def test_a_roc_has_the_area_of_its_auroc():
    random = np.random.RandomState(0)
    s, t = random.randint(0, 9, 40) + 1.0, random.randint(0, 9, 30)
    weights = random.rand(40), random.rand(30)
    curve = roc(s, t, *weights)
    assert np.trapezoid(curve.found, curve.false_alarms) == pytest.approx(auroc(s, t, *weights).value)
    assert (curve.found[0], curve.false_alarms[0]) == (0, 0)
    np.testing.assert_allclose((curve.found[-1], curve.false_alarms[-1]), 1)
    figure = roc_figure({"a": (s, t), "b": (s, s)}, title="two")
    assert [line.get_label()[:1] for line in figure.axes[0].lines[1:]] == ["a", "b"]
    with pytest.raises(InvalidValueError, match="`curves` must hold 1 to 6 curves; got 0"):
        roc_figure({})


def test_measures_state_what_they_are():
    assert list(ood.MEASURES) == ["likelihood", "typicality", "likelihood_ratio", "complexity", "waic", "radius"]
    names = [setting.name for measure in ood.MEASURES.values() for setting in settings_of(measure)]
    assert len(set(names)) == len(names), "the options of all measures share one command"
    assert ood.Complexity().column == "complexity_bits_per_dim" and ood.Waic().column == "waic_nats"
    np.testing.assert_array_equal(ood.Likelihood()(ood.Evidence(np.array([-1.0, -INF]), 1)), [1, INF])


MIXTURE = MixtureOfFlows((jflows.realnvp((2,), 1, (4,)),), 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ood.typicality([np.nan], 1.0), InvalidValueError, r"`log_prob` must be numbers \[num\] without NaN"),
        (lambda: ood.typicality([1.0], INF), InvalidValueError, "`entropy` must be finite; got inf"),
        (lambda: ood.typicality([1.0], 1.0, 2), InvalidValueError, "`group` must be at most 1, the number of rows"),
        (lambda: ood.likelihood_ratio([1.0, 2.0], [1.0]), InvalidValueError, r"`background` must be numbers \[2\]"),
        (lambda: ood.waic([[1.0]]), InvalidValueError, "must be those of at least 2 densities; got 1"),
        (lambda: ood.waic([1.0]), InvalidValueError, r"`log_probs` must be numbers \[models, num\]"),
        (lambda: ood.radius([1.0], [2.0, 2.0]), InvalidValueError, "`base_norms` must vary; got a deviation of 0"),
        (lambda: ood.compressed_bits(np.zeros((1, 2, 2, 1))), DataError, "must be uint8 .*; got float64"),
        (lambda: ood.compressed_bits(np.zeros((1, 2, 2, 2), np.uint8)), DataError, "must have 1 or 3 channels"),
        (lambda: ood.compressed_bits(np.zeros((1, 2, 2, 1), np.uint8), "rar"), InvalidValueError, "'png', 'zlib'"),
        (lambda: ood.Complexity("rar"), InvalidValueError, "`compressor` must be one of 'png', 'zlib'; got 'rar'"),
        (lambda: ood.Typicality(group=0), InvalidValueError, "`group` must be at least 1"),
        (lambda: ood.Typicality(size=3), InvalidTypeError, "has group, num_train"),
        (lambda: ood.Radius().check(MIXTURE), InvalidValueError, "for a mixture of flows, which has no single latent"),
        (
            lambda: ood.Complexity().check(jflows.realnvp((2,), 1)),
            InvalidValueError,
            "must not be 'complexity' for a table",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

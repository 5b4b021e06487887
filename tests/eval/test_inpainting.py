"""Inpainting: it climbs log p to the conditional mode where that is known, and never touches an observed pixel."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import Flow, InvalidTypeError, InvalidValueError, glow, mixture_of_flows
from jflows.bijectors import Affine as AffineMap
from jflows.bijectors import CentredPixels, Elementwise, InvertibleLinear, LogitPixels
from jflows.distributions import StandardNormal
from jflows.eval import hidden_pixels, inpaint, inpainting
from jflows.flows import UniformDequantize
from jflows.flows.dequantize import example_keys
from jflows.testing.common import perturb
from tests.presets import filled

SHAPE = (2, 3, 2)
MASKS = {
    "top": ["##", "##", "..", ".."],
    "bottom": ["..", "..", "##", "##"],
    "odd": ["#.", "#.", "#.", "#."],
    "even": [".#", ".#", ".#", ".#"],
    "left": ["#.", "#.", "#.", "#."],
    "right": [".#", ".#", ".#", ".#"],
    "middle_vertical": ["..", "##", "##", ".."],
}


def normal(preprocess):
    """A flow of images whose two channels are correlated normals, after a fixed map of the pixels."""
    flow = Flow(InvertibleLinear(event_ndims=3), StandardNormal(SHAPE), SHAPE, UniformDequantize(8), preprocess)
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros((4, *SHAPE), jnp.uint8)), 0)
    leaves, treedef = jax.tree.flatten(variables["params"])
    random = np.random.RandomState(3)
    leaves = [leaf + 0.4 * random.standard_normal(leaf.shape) for leaf in leaves]
    return flow, {**variables, "params": jax.tree.unflatten(treedef, leaves)}


@pytest.fixture(scope="module")
def tiny():
    flow = glow((4, 4, 1), num_levels=1, num_steps=2, width=4, num_bits=4, num_classes=3, padding=1)
    x = np.random.default_rng(2).integers(0, 16, (6, 4, 4, 1)).astype(np.uint8)
    label = jnp.arange(6) % 3
    variables = filled(jax.eval_shape(flow.init, jax.random.key(0), x, label), 0)
    return flow, perturb(variables, 1, 0.1), x, label


@pytest.mark.parametrize("preprocess", [CentredPixels(8), LogitPixels(8, 1e-3)], ids=["centred", "logit"])
@pytest.mark.by_default("logit")
def test_without_noise_it_finds_the_mode_given_the_observed_pixels(preprocess):
    flow, variables = normal(preprocess)
    x = np.random.RandomState(0).randint(40, 216, (3, *SHAPE)).astype(np.uint8)
    mask = np.zeros(SHAPE, bool)
    mask[..., 0] = True
    found = inpaint(flow, variables, x, mask, jax.random.key(1), noise=0.0)
    # The channels of a pixel depend on each other alone: every level of the hidden one is tried.
    score, best = jax.jit(lambda v: flow.log_prob(variables, v)), np.empty(x.shape[:-1], int)
    for place in np.ndindex(*SHAPE[:2]):
        tried = np.broadcast_to(x, (256, *x.shape)).copy()
        tried[(slice(None), slice(None), *place, 0)] = np.arange(256)[:, None]
        best[(slice(None), *place)] = np.argmax(score(tried), axis=0)
    assert np.ptp(best) > 10 and best.min() > 0 and best.max() < 255  # a mode inside the range, which x moves
    np.testing.assert_allclose(np.asarray(found.x[..., 0], int), best, atol=1)
    np.testing.assert_array_equal(found.x[..., 1], x[..., 1])


@pytest.mark.parametrize("start", ["noise", "sample"])
@pytest.mark.by_default("noise")
def test_log_p_rises_and_observed_pixels_stay(tiny, start):
    flow, variables, x, label = tiny
    mask = hidden_pixels("random_75", (4, 4, 1), seed=3)
    options = {"context": label, "start": start, "shown": (0, 50, 300)}
    found = inpaint(flow, variables, x, mask, jax.random.key(4), 300, **options)
    assert found.x.shape == x.shape and found.x.dtype == jnp.uint8
    assert found.log_prob.shape == (301, 6) and found.path.shape == (3, *x.shape)
    for images in (found.x, *found.path):
        np.testing.assert_array_equal(np.where(mask, 0, images), np.where(mask, 0, x))
    assert (found.path[0] != found.path[1]).any() and (found.path[2] == found.x).all()
    means = np.asarray(found.log_prob).mean(axis=1)
    assert means[-20:].mean() > means[50:70].mean() > means[0]


@pytest.mark.parametrize("start", ["noise", "sample"])
@pytest.mark.by_default("sample")
def test_log_p_rises_under_every_mask(tiny, start):
    flow, variables, x, label = tiny
    masks = np.repeat(np.stack([hidden_pixels(name, (4, 4, 1)) for name in inpainting.MASKS]), len(x), axis=0)
    xs, labels = jnp.tile(x, (10, 1, 1, 1)), jnp.tile(label, 10)
    found = inpaint(flow, variables, xs, masks, jax.random.key(8), 300, context=labels, start=start)
    first, last = np.asarray(found.log_prob)[[0, -1]].reshape(2, 10, len(x)).mean(axis=2)
    fallen = [name for name, gain in zip(inpainting.MASKS, last - first, strict=True) if not gain > 0]
    assert not fallen


def test_an_image_depends_on_its_own_key_alone(tiny):
    flow, variables, x, label = tiny
    masks = np.stack([hidden_pixels("random_75", (4, 4, 1), seed=seed) for seed in range(6)])
    keys = jax.random.split(jax.random.key(5), 6)
    whole = inpaint(flow, variables, x, masks, keys, 20, context=label)
    before = inpainting._ascend._cache_size()
    for rows in (np.arange(3), np.arange(3, 6)):
        part = inpaint(flow, variables, x[rows], masks[rows], keys[rows], 20, context=label[rows])
        np.testing.assert_array_equal(part.x, whole.x[rows])
        np.testing.assert_allclose(part.log_prob, whole.log_prob[:, rows], rtol=1e-9)
    assert inpainting._ascend._cache_size() == before + 1  # both halves share a program
    content = np.where(masks, 15 - np.asarray(x), x)  # what hidden pixels hold plays no part
    np.testing.assert_array_equal(inpaint(flow, variables, content, masks, keys, 20, context=label).x, whole.x)
    one = inpaint(flow, variables, x, masks, jax.random.key(6), 20, context=label)
    again = inpaint(flow, variables, x, masks, example_keys(jax.random.key(6), jnp.arange(6)), 20, context=label)
    assert (one.x != whole.x).any() and (one.x == again.x).all()


@pytest.mark.slow
def test_mixtures_can_be_inpainted(tiny):
    flow = glow((4, 4, 1), num_levels=1, num_steps=1, width=4, num_bits=4)
    mixture = mixture_of_flows(flow, None, 2)
    x = tiny[2]
    variables = filled(jax.eval_shape(mixture.init, jax.random.key(0), x), 0)
    mask = hidden_pixels("left", (4, 4, 1))
    for start in ("noise", "sample"):
        found = inpaint(mixture, variables, x, mask, jax.random.key(1), 100, start=start)
        assert found.log_prob[-1].mean() > found.log_prob[0].mean()
        np.testing.assert_array_equal(found.x[:, :, 2:], x[:, :, 2:])


def test_densities_of_floats_can_be_inpainted(tiny):
    mask = hidden_pixels("left", (4, 4, 1))
    floats = Flow(Elementwise(AffineMap(), event_ndims=3), StandardNormal((4, 4, 1)), (4, 4, 1))
    real = jnp.asarray(tiny[2], float) / 15
    variables = floats.init(jax.random.key(0), real)
    found = inpaint(floats, variables, real, mask, jax.random.key(1), 2000, noise=0.0, bounds=(-1.0, 1.0))
    np.testing.assert_allclose(found.x[:, :, :2], 0, atol=0.01)  # the mode of N(0, I)
    np.testing.assert_array_equal(found.x[:, :, 2:], real[:, :, 2:])
    np.testing.assert_allclose(found.log_prob[-1], floats.log_prob(variables, found.x), rtol=1e-12)


@pytest.mark.parametrize("name", MASKS)
def test_masks_hide_what_they_say(name):
    hidden = np.array([[cell == "#" for cell in row] for row in MASKS[name]])
    np.testing.assert_array_equal(hidden_pixels(name, (4, 2, 3))[..., 0], hidden)


def test_other_masks():
    np.testing.assert_array_equal(hidden_pixels("middle_horizontal", (1, 8, 1))[0, :, 0].nonzero()[0], [2, 3, 4, 5])
    for name, share in (("random_75", 0.75), ("random_90", 0.9)):
        drawn = [hidden_pixels(name, (10, 10, 1), seed) for seed in (0, 0, 1)]
        assert drawn[0].sum() == 100 * share and (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    assert len(inpainting.MASKS) == 10
    assert all(0.4 < hidden_pixels(name, (28, 28, 1)).mean() < 0.91 for name in inpainting.MASKS)


@pytest.mark.parametrize(
    ("name", "shape", "part"),
    [
        (
            "lef",
            (4, 4, 1),
            "`name` must be one of 'top', 'bottom', 'odd', 'even', 'left', 'right', 'middle_vertical', ",
        ),
        ("top", (4,), "`event_shape` must be (height, width, channels); got (4,)"),
        ("top", (1, 4, 1), "`mask` must hide a part of the image; got one that hides nothing. Hide some of the pixels"),
        ("random_90", (1, 2, 1), "`mask` must hide a part of the image; got one that hides everything."),
    ],
)
def test_errors_of_masks(name, shape, part):
    with pytest.raises(InvalidValueError, match=re.escape(part)):
        hidden_pixels(name, shape)


SOME = hidden_pixels("left", (4, 4, 1))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (
            {"mask": np.zeros((4, 4, 1), bool)},
            "inpaint: `mask` must hide a part of the image; got one that hides nothing",
        ),
        ({"mask": np.stack([SOME] * 5 + [SOME | True])}, "got one that hides everything"),
        (
            {"mask": np.ones((4, 5, 1), bool)},
            "must have the shape of the images, (4, 4, 1), or (4, 4, 1); got shape (4, 5",
        ),
        ({"mask": SOME[..., 0]}, "`mask` must have the shape of the images, (4, 4, 1)"),
        ({"mask": np.stack([SOME] * 4)}, "`mask` must be one, or one for each of 6 images; got shape (4, 4, 4, 1)"),
        ({"mask": SOME.astype(int)}, "`mask` must hold bools; got int64. Give True where a pixel is hidden"),
        ({"x": np.zeros((4, 4, 1), np.uint8)}, "`x` must be images [batch, 4, 4, 1]; got shape (4, 4, 1)"),
        ({"x": np.zeros((0, 4, 4, 1), np.uint8)}, "`x` must be images [batch, 4, 4, 1]; got shape (0, 4, 4, 1)"),
        ({"key": 3}, "`key` must be a typed key; got int"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, "`key` must be one key, or 6, one per image; got shape (2,)"),
        ({"num_steps": 0}, "`num_steps` must be at least 1; got 0"),
        ({"noise": -1.0}, "`noise` must be at least 0; got -1.0"),
        ({"start": "black"}, "`start` must be one of 'noise', 'sample'; got 'black'"),
        ({"shown": (0, 21)}, "`shown` must hold steps from 0 to 20; got (0, 21)"),
        (
            {"bounds": (0.0, 1.0)},
            "`bounds` must be left out, as the pixels of this density are 0 to 2^4; got (0.0, 1.0)",
        ),
        (
            {"flow": jflows.realnvp((2,), 2)},
            "`flow` must be a density of images (height, width, channels); got events of",
        ),
    ],
)
def test_errors(tiny, monkeypatch, settings, part):
    flow, variables, x, label = tiny
    monkeypatch.setattr(inpainting, "_ascend", None)  # all is refused before anything is compiled
    given = {"flow": flow, "variables": variables, "x": x, "mask": SOME, "key": jax.random.key(0), "num_steps": 20}
    with pytest.raises((InvalidValueError, InvalidTypeError), match=re.escape(part)):
        inpaint(**{**given, "context": label, **settings})


def test_a_density_of_floats_needs_bounds():
    floats = Flow(Elementwise(AffineMap(), event_ndims=3), StandardNormal((4, 4, 1)), (4, 4, 1))
    for bounds in (None, (1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(InvalidValueError, match="`bounds` must be the lowest and the highest value of a pixel"):
            inpaint(floats, {}, np.zeros((1, 4, 4, 1)), SOME, jax.random.key(0), bounds=bounds)

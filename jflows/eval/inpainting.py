"""Inpainting: `inpaint` fills in hidden pixels by climbing log p with noise; `hidden_pixels` makes masks by name.

Read next: `jflows/runs/reports/inpainting.py`, which draws the picture of a run.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import InvalidTypeError, InvalidValueError, check_choice, check_key
from jflows.eval.memory import check_memory, least_bytes
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.ops.varying import scan
from jflows.options import Count, Option, Seed, checked
from jflows.typing import Array, Key, Shape, Variables

STARTS = ("noise", "sample")
START_TEMPERATURE = 0.7  # of samples, as in the pictures of Kingma and Dhariwal 2018
STEP_FACTOR, STEP_DELAY = 10.0, 100.0  # a_i = 10 / (100 + i)
SQUARE_DECAY = 0.99  # of the running mean of squared gradients: it forgets within about a hundred steps
NO_GRADIENT = 1e-20  # added to that mean, so that a pixel on which log p does not depend has no direction
LEVELS_OF_FLOATS = 256  # into which the range of pixels is divided where the data are floats
START_STREAM = 0x73746172  # folded into the key of an example for where it starts; steps fold in their number

_Fractions = Mapping[str, float]
RANDOM: _Fractions = MappingProxyType({"random_75": 0.75, "random_90": 0.90})
"""The masks that are drawn at random, with the share of pixels that they hide."""


def _rows(start: float, stop: float) -> Callable[[int, int], np.ndarray]:
    return lambda height, width: np.repeat(_between(height, start, stop)[:, None], width, axis=1)


def _columns(start: float, stop: float) -> Callable[[int, int], np.ndarray]:
    return lambda height, width: np.repeat(_between(width, start, stop)[None], height, axis=0)


def _between(size: int, start: float, stop: float) -> np.ndarray:
    places = np.arange(size)
    return (places >= int(start * size)) & (places < int(stop * size))


def _every_other(first: int) -> Callable[[int, int], np.ndarray]:
    return lambda height, width: (np.arange(height * width) % 2 == first).reshape(height, width)


_FIXED: Mapping[str, Callable[[int, int], np.ndarray]] = MappingProxyType(
    {
        "top": _rows(0, 0.5),
        "bottom": _rows(0.5, 1),
        "odd": _every_other(0),
        "even": _every_other(1),
        "left": _columns(0, 0.5),
        "right": _columns(0.5, 1),
        "middle_vertical": _rows(0.25, 0.75),
        "middle_horizontal": _columns(0.25, 0.75),
    }
)
MASKS = (*_FIXED, *RANDOM)
"""The names of the ten masks of the NICE paper, in its order."""


@checked
def hidden_pixels(name: str, event_shape: Shape, seed: Seed = 0) -> np.ndarray:
    """One of the ten masks of the NICE paper, by its name: True where a pixel is hidden and is to be filled in.

    The name says which part is hidden:
      top, bottom, left, right: that half of the image.
      odd, even: every other pixel, counted from 1 along the rows; for an even width these are every other column.
      middle_vertical: the middle half of the rows. middle_horizontal: the middle half of the columns.
      random_75, random_90: that share of the pixels, rounded, drawn by the seed.

    Source: Dinh et al. 2015, arXiv:1410.8516, figure 6. What "middle vertically" and "odd" mean is not said there; we
    follow the script that its authors published. Differs: random masks hide an exact share.

    Args:
      name: one of `MASKS`.
      event_shape: (height, width, channels) of one image.
      seed: seed of the random masks; others ignore it.
    Returns:
      bool [height, width, 1]: all channels of a pixel are hidden together.
    Raises:
      InvalidValueError: for an unknown name, a shape that is not one of images, or an image so small that the mask
        would hide nothing or everything.
    """
    check_choice("hidden_pixels", "name", name, MASKS)
    if len(event_shape) != 3:
        raise InvalidValueError("hidden_pixels", "event_shape", "must be (height, width, channels)", event_shape)
    height, width, _ = event_shape
    if name in RANDOM:
        order = np.random.RandomState(seed % 2**32).permutation(height * width)
        mask = (order < round(RANDOM[name] * height * width)).reshape(height, width)
    else:
        mask = _FIXED[name](height, width)
    return check_mask("hidden_pixels", mask[..., None], event_shape)


def check_mask(where: str, mask: np.ndarray, event_shape: Shape) -> np.ndarray:
    """The mask, or masks, as bool [..., height, width, 1 or channels].

    Raises:
      InvalidTypeError: if it is not of bools.
      InvalidValueError: if its shape does not suit images of `event_shape`, or if it hides nothing or everything.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        fix = "Give True where a pixel is hidden, such as by image >= 128."
        raise InvalidTypeError(where, "mask", "must hold bools", f"{mask.dtype}", fix)
    height, width, channels = event_shape
    if mask.ndim < 3 or mask.shape[-3:-1] != (height, width) or mask.shape[-1] not in (1, channels):
        rule = f"must have the shape of the images, {(height, width, channels)}, or {(height, width, 1)}"
        raise InvalidValueError(where, "mask", rule, f"shape {mask.shape}")
    for wrong, what in ((~mask, "hides nothing"), (mask, "hides everything")):
        if wrong.all(axis=(-3, -2, -1)).any():
            fix = "Hide some of the pixels, and leave others."
            raise InvalidValueError(where, "mask", "must hide a part of the image", f"one that {what}", fix)
    return mask


class Inpainted(NamedTuple):
    """Images whose hidden pixels were filled in.

    Attributes:
      x: the images, [batch, *event_shape], integers if the density dequantizes; observed pixels are unchanged.
      log_prob: log p in nats before the first step, and after each: [num_steps + 1, batch].
      path: the images after the steps of `shown`, in the form of x: [len(shown), batch, *event_shape].
    """

    x: Array
    log_prob: Array
    path: Array


@checked
def inpaint(
    flow: Density,
    variables: Variables,
    x: Array,
    mask: np.ndarray,
    key: Key,
    num_steps: Count = 2000,
    *,
    context: Array | None = None,
    start: str = "noise",
    noise: Annotated[
        float,
        Option(
            "Factor of the noise of each step. More noise leaves more local maxima and ends further below them; 0 "
            "climbs without noise.",
            low=0,
        ),
    ] = 1.0,
    shown: tuple[int, ...] = (),
    bounds: tuple[float, float] | None = None,
) -> Inpainted:
    """Fills in hidden pixels by projected gradient ascent on log p with noise, while observed pixels stay.

        y_h <- clip(y_h + a_i (g / r + noise e)),   g = d log p(x) / d y_h,   e ~ N(0, I),   a_i = 10 / (100 + i)
        y = log(p / (1 - p)),  p = (x - low) / (high - low);   r^2 = running mean of g^2, for each pixel by itself

    Hidden pixels move in logits y of their place p in the pixel range, and stay between the centres of the lowest and
    of the highest level: [0.5, 2^bits - 0.5]. Their gradients count in units of their own size r, over about the last
    hundred steps. So the same steps suit every density, whatever its bits and preprocessing: hidden pixels can cross
    the range, whose logits are -6.2 to 6.2 for 8 bits, and the last of 2,000 steps is 0.005 logits, which is 0.3 levels
    in the middle of the range and 0.002 at its ends. log p is the density of x in levels of a pixel all along. The
    result is one local maximum of many, not a draw from p given the observed pixels: the start decides which.

    Source: Dinh et al. 2015, arXiv:1410.8516, section 5.2. Differs: the paper moves pixels in [0, 1] by g itself, of
    which 0.1 g crosses the whole range where a density is as narrow as one level; the script that its authors
    published takes g / 100 and 112,000 steps. r is that of RMSProp; Li et al.
    2016, arXiv:1512.07666, algorithm 1, use it in this way.

    Args:
      x: images, integers or floats as the density takes them; what they hold where they are hidden plays no part.
      mask: True where a pixel is hidden, see `hidden_pixels`; not traced, so that it can be checked.
      key: one key, from which image i has fold_in(key, i), or one key for each image. An image depends on its own
        key alone, so they may come in any batches; only noise of an estimated log-det is drawn for the whole batch.
      num_steps: number of steps.
      context: [batch, *context_shape] or None.
      start: where hidden pixels start: "noise" is uniform over the pixel range, as in the script of the authors;
        "sample" takes them from a draw of the density at temperature 0.7, from which flows with many local maxima get
        to more likely images.
      noise: factor of the noise.
      shown: steps after which images are returned in `path`; 0 is the start.
      bounds: low and high end of the pixel range of a density of floats; None for one that dequantizes, whose range is
        0 to 2^bits.
    Shapes:
      x: [batch, height, width, channels]; mask: [height, width, 1 or channels], or one for each image.
    Raises:
      InvalidTypeError, InvalidValueError: if the density is not one of images, shapes do not fit, a mask hides nothing
        or everything, or the bounds are missing or superfluous; before anything is compiled.
    """
    check_choice("inpaint", "start", start, STARTS)
    low, high, levels = _range(flow, bounds)
    check_mask("inpaint", mask, flow.event_shape)
    _check_given(flow, x, mask, key)
    if any(not 0 <= step <= num_steps for step in shown):
        raise InvalidValueError("inpaint", "shown", f"must hold steps from 0 to {num_steps}", repr(shown))
    keys = key if key.ndim else example_keys(key, jnp.arange(len(x)))
    hidden = np.broadcast_to(mask, np.shape(x))
    rows = (jnp.asarray(x), hidden, keys, context)
    given = (flow, variables, *rows, noise, num_steps, start, shown, (low, high, levels))
    least = least_bytes(_ascend.trace(*given).jaxpr)
    check_memory("inpaint", "x", least, "the images", f"{len(x)} images", "Give fewer at once.")
    return _ascend(*given)


def _check_given(flow: Density, x: Array, mask: np.ndarray, key: Key) -> None:
    """Raises unless images, masks and keys belong together, and to the density."""
    if np.ndim(x) != 4 or np.shape(x)[1:] != tuple(flow.event_shape) or not len(x):
        rule = f"must be images [batch, {', '.join(map(str, flow.event_shape))}]"
        raise InvalidValueError("inpaint", "x", rule, f"shape {np.shape(x)}")
    if np.ndim(mask) > 3 and np.shape(mask)[:-3] not in ((1,), (len(x),)):
        rule = f"must be one, or one for each of {len(x)} images"
        raise InvalidValueError("inpaint", "mask", rule, f"shape {np.shape(mask)}")
    check_key("inpaint", key)
    if key.ndim and key.shape != (len(x),):
        raise InvalidValueError("inpaint", "key", f"must be one key, or {len(x)}, one per image", f"shape {key.shape}")


def _range(flow: Density, bounds: tuple[float, float] | None) -> tuple[float, float, int]:
    """The pixel range of a density, and the number of levels in it."""
    bits = None if flow.dequantize is None else flow.dequantize.bits
    if len(flow.event_shape) != 3 or (flow.dequantize is not None and bits is None):
        got = f"events of shape {flow.event_shape}"
        raise InvalidValueError("inpaint", "flow", "must be a density of images (height, width, channels)", got)
    if bits is not None:
        if bounds is not None:
            rule = f"must be left out, as the pixels of this density are 0 to 2^{bits}"
            raise InvalidValueError("inpaint", "bounds", rule, repr(bounds))
        return 0.0, 2.0**bits, 2**bits
    if bounds is None or not -np.inf < bounds[0] < bounds[1] < np.inf:
        rule = "must be the lowest and the highest value of a pixel, as this density is one of floats"
        raise InvalidValueError("inpaint", "bounds", rule, repr(bounds))
    return float(bounds[0]), float(bounds[1]), LEVELS_OF_FLOATS


@functools.partial(jax.jit, static_argnames=("flow", "num_steps", "start", "shown", "pixels"))
def _ascend(
    flow: Density,
    variables: Variables,
    x: Array,
    hidden: Array,
    keys: Key,
    context: Array | None,
    noise: Array | float,
    num_steps: int,
    start: str,
    shown: tuple[int, ...],
    pixels: tuple[float, float, int],
) -> Inpainted:
    low, high, levels = pixels
    observed = x if flow.dequantize is None else flow.dequantize.crop(flow.dequantize.dequantize(x, None)[0])
    end = float(np.log(2 * levels - 1))  # the logit of the centre of the highest level

    def filled(y: Array) -> Array:
        return jnp.where(hidden, low + (high - low) * jax.nn.sigmoid(y), observed)

    def log_prob(y: Array, step: Array | int) -> tuple[Array, Array]:
        # Of an estimated log-det, the noise is drawn anew for each step; other densities take no key for floats.
        key = jax.random.fold_in(keys[0], step) if flow.estimates_log_det else None
        found = flow.log_prob(variables, filled(y), context, key)
        return jnp.sum(found), found

    def climb(carry: tuple[Array, Array, Array], step: Array) -> tuple[tuple[Array, Array, Array], Array]:
        y, square, path = carry
        path = jnp.where(at.reshape(-1, 1, 1, 1, 1) == step, y, path)
        (_, found), gradient = jax.value_and_grad(log_prob, has_aux=True)(y, step)
        square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * gradient**2
        size = jnp.sqrt(square / (1 - SQUARE_DECAY ** (step + 1.0)) + NO_GRADIENT)  # the mean began at 0
        drawn = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, step), y.shape[1:], y.dtype))(keys)
        move = STEP_FACTOR / (STEP_DELAY + step) * (gradient / size + noise * drawn)
        return (jnp.clip(y + move, -end, end), square, path), found

    y, at = _started(flow, variables, keys, context, start, pixels, observed), jnp.asarray(shown, jnp.int32)
    path = jnp.broadcast_to(y, (len(shown), *y.shape))
    (y, _, path), found = scan(climb, (y, jnp.zeros_like(y), path), jnp.arange(num_steps))
    path = jnp.where(at.reshape(-1, 1, 1, 1, 1) == num_steps, y, path)
    found = jnp.concatenate([found, log_prob(y, num_steps)[1][None]])
    form = (lambda v: v) if flow.dequantize is None else flow.dequantize.quantize
    return Inpainted(form(filled(y)), found, form(filled(path)))


def _started(
    flow: Density,
    variables: Variables,
    keys: Key,
    context: Array | None,
    start: str,
    pixels: tuple[float, float, int],
    like: Array,
) -> Array:
    """The logits of all pixels before the first step: [batch, *event_shape]."""
    low, high, levels = pixels
    keys = jax.vmap(lambda key: jax.random.fold_in(key, START_STREAM))(keys)
    if start == "noise":
        part = jax.vmap(lambda key: jax.random.uniform(key, like.shape[1:], like.dtype))(keys)
    else:
        if flow.takes_keys:
            drawn = flow.sample(variables, keys, keys.shape if context is None else (), context, START_TEMPERATURE)
        else:
            one = lambda key, context: flow.sample(variables, key, (), context, START_TEMPERATURE)
            drawn = jax.vmap(one, in_axes=(0, None if context is None else 0))(keys, context)
        centres = drawn if flow.dequantize is None else flow.dequantize.crop(flow.dequantize.dequantize(drawn, None)[0])
        part = ((centres - low) / (high - low)).astype(like.dtype)
    part = jnp.clip(part, 0.5 / levels, 1 - 0.5 / levels)
    return jnp.log(part / (1 - part))

"""Every preset as a tiny density, for tests that try all of them: a new preset is one line of `PRESETS`.

`build(name, width, depth)` gives a flow, or a mixture, whose networks have `width` units a layer and whose stacks have
`depth` steps. Activations are smooth where a preset lets one choose, so that derivatives equal differences.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

import jflows
from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.flows.density import Density
from jflows.flows.presets import spline_glow
from jflows.typing import Array

DIM = 3
IMAGE = (4, 4, 1)
Build = Callable[[int, int], Density]


def vector(preset: Callable[..., Density], **options) -> Build:
    return lambda width, depth: preset((DIM,), depth, (width,), activation="tanh", **options)


def glow(**options) -> Build:
    return lambda width, depth: jflows.glow(IMAGE, 1, depth, width, **options)


def splined(**options) -> Build:
    return lambda width, depth: spline_glow(IMAGE, 1, depth, width, 1, num_bins=3, **options)


def residual_images(**options) -> Build:
    exact = dict(estimator="exact", coefficient=0.5, dense_blocks=1, dense_width=4, factor_out=True)
    return lambda width, depth: jflows.flows.residual_images(IMAGE, 2, depth - 1, width, **exact | options)


def by_hand(make_step: Callable[[int], b.Bijector]) -> Build:
    return lambda width, depth: jflows.Flow(b.Repeat(make_step(width), depth), StandardNormal((DIM,)), (DIM,))


def mixture(preset: Callable[..., Density], **options) -> Build:
    def make(width: int, depth: int) -> Density:
        of_realnvp = dict(num_layers=depth, hidden_sizes=(width,), activation="tanh", norm="actnorm")
        return preset((DIM,), 2, functools.partial(jflows.realnvp, **of_realnvp), **options)

    return make


PRESETS: Mapping[str, Build] = {
    "nice": vector(jflows.nice),
    "realnvp": vector(jflows.realnvp, norm="actnorm"),
    "realnvp_invertible": vector(jflows.realnvp, permutation="linear", backprop="invertible"),
    "maf": vector(jflows.maf),
    "iaf": vector(jflows.iaf),
    "nsf_coupling": vector(jflows.nsf_coupling, num_bins=3),
    "nsf_autoregressive": vector(jflows.nsf_autoregressive, num_bins=3),
    "made": lambda width, depth: jflows.made((DIM,), depth, (width,), activation="tanh"),
    "normal": lambda width, depth: jflows.normal((DIM,)),
    "glow": glow(),
    "glow_remat": glow(backprop="remat"),
    "glow_invertible": glow(backprop="invertible"),
    "glow_anchored": glow(backprop="invertible", anchor_every=1),
    "flow_plus_plus": lambda width, depth: jflows.flow_plus_plus(
        IMAGE, (depth, 0, 0), 1, width, num_heads=2, num_components=2, dequantize="uniform"
    ),
    "nice_images": lambda width, depth: jflows.nice_images(IMAGE, 2 * depth, (width,), activation="tanh"),
    "realnvp_images": lambda width, depth: jflows.realnvp_images(IMAGE, 2, depth - 1, width, num_couplings=1),
    "spline_glow": splined(),
    "spline_glow_invertible": splined(backprop="invertible"),
    "waveglow": lambda width, depth: jflows.waveglow((16,), 2, depth, width, num_layers=2, group=4, num_out=1),
    "waveglow_invertible": lambda width, depth: jflows.waveglow(
        (16,), 2, depth, width, num_layers=2, group=4, num_out=1, backprop="invertible"
    ),
    "vmonf": mixture(jflows.vmonf, encoder_sizes=(4,), activation="tanh"),
    "flow_gmm": mixture(jflows.flow_gmm),
    "residual_images": residual_images(),
    "residual": vector(jflows.residual, coefficient=0.5, norm="none", standardize=False),
    "planar": by_hand(lambda width: b.Planar()),
}


@functools.cache
def build(name: str, width: int = 4, depth: int = 2) -> Density:
    return PRESETS[name](width, depth)


def data_of(density: Density, count: int) -> Array:
    """Rows, or images, as the density reads them."""
    random, reading = np.random.default_rng(0), density.reading
    if reading.num_bits is None:
        return jax.device_put(random.standard_normal((count, *reading.event_shape)))
    return jax.device_put(random.integers(0, 2**reading.num_bits, (count, *reading.event_shape)))


def filled(shapes, seed: int):
    """Float64 numbers for variables of these shapes: a program that makes them by `init` takes seconds to compile.

    By `device_put`, as `jnp.asarray` compiles a program for every shape.
    """
    random = np.random.default_rng(seed)

    def fill(path, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):  # permutations; the same for all members of an ensemble
            return jax.device_put(np.broadcast_to(np.roll(np.arange(leaf.shape[-1]), 1), leaf.shape))
        if path[0].key in ("constants", "batch_stats"):  # signs, scales, variances and vectors of power iterations
            return jax.device_put(np.ones(leaf.shape))
        return jax.device_put(0.3 * random.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes)

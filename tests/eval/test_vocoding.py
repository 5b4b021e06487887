"""Vocoding in chunks: equal to the whole, in windows of one size, from noise that belongs to frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.data.audio.frames import Frames
from jflows.eval.vocoding import latent_of, vocoded
from jflows.flows.presets.waveglow import CONTEXT_RADIUS, radius

FRAMES, HOP, CHANNELS = 24, 8, 3
HALO = -(-radius(2, 1, 2) * 4 // HOP) + CONTEXT_RADIUS
KEY = jax.random.key(0)  # the quicker kinds of keys draw other numbers under `vmap` of other sizes


def build(num_frames):
    options = dict(num_levels=2, num_steps=1, width=3, num_layers=2, group=4, num_out=1, context_width=2)
    return jflows.waveglow((num_frames * HOP,), context_shape=(num_frames, CHANNELS), **options)


class Counted(Frames):
    """Frames that remember what was read."""

    def __init__(self, num_frames):
        self.num_frames, self.sizes = num_frames, []
        self.array = np.random.default_rng(0).normal(size=(num_frames, CHANNELS))

    def read(self, start, stop):
        assert 0 <= start < stop <= self.num_frames
        self.sizes.append(stop - start)
        return self.array[start:stop]


@pytest.fixture(scope="module")
def variables():
    """Random numbers, as the networks of a new flow do nothing; permutations turn the order round."""
    x, context = jax.ShapeDtypeStruct((1, 4 * HOP), float), jax.ShapeDtypeStruct((1, 4, CHANNELS), float)
    random = np.random.default_rng(1)

    def fill(path, leaf):
        if leaf.dtype == np.int32:
            return jax.device_put(np.broadcast_to(np.arange(leaf.shape[-1])[::-1], leaf.shape))
        is_sign = "sign" in jax.tree_util.keystr(path)
        return jax.device_put(np.ones(leaf.shape) if is_sign else 0.3 * random.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(build(4).init, KEY, x, context))


@pytest.fixture(scope="module")
def whole(variables):
    (found,) = vocoded(build, variables, Counted(FRAMES), KEY, halo=HALO, chunk=FRAMES, temperature=0.7)
    assert found.shape == (FRAMES * HOP,)
    return found


@pytest.mark.parametrize("chunk", [5, 6])
def test_chunks_are_those_of_the_whole_and_read_windows_of_one_size(variables, whole, chunk):
    frames = Counted(FRAMES)
    pieces = list(vocoded(build, variables, frames, KEY, halo=HALO, chunk=chunk, temperature=0.7))
    assert [len(piece) for piece in pieces] == [min(chunk, FRAMES - first) * HOP for first in range(0, FRAMES, chunk)]
    assert set(frames.sizes) == {chunk + 2 * HALO} and len(pieces) > 3
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-12)


def test_a_halo_that_is_too_small_is_noticed(variables, whole):
    """That chunks equal the whole is no matter of course."""
    pieces = list(vocoded(build, variables, Counted(FRAMES), KEY, halo=1, chunk=5, temperature=0.7))
    assert np.abs(np.concatenate(pieces) - whole).max() > 1e-6


def test_temperature_scales_noise_that_is_normal(variables):
    flow = build(400)
    z = latent_of(flow, KEY, jnp.arange(400))
    assert z.shape == flow.latent_shape and abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.1
    # A frame has two steps; the first level's latent has one channel, the second's three.
    moved = latent_of(flow, KEY, jnp.arange(400).at[7].set(1000)) != z
    assert np.flatnonzero(moved).tolist() == [14, 15, *range(800 + 42, 800 + 48)]
    cold = next(vocoded(build, variables, Counted(6), KEY, halo=HALO, chunk=9, temperature=0.0))
    decode = jax.jit(lambda z, context: build(6).decode(variables, z, context)[0])
    decoded = decode(jnp.zeros(48), jnp.asarray(Counted(6).array))
    np.testing.assert_allclose(cold, decoded, atol=1e-12)

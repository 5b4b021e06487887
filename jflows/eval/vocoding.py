"""`vocoded`: waveforms of any length from a convolutional flow, in flat memory."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jflows.data.audio.frames import Frames
from jflows.flows.flow import Flow
from jflows.typing import Array, Key, Variables


def vocoded(
    build: Callable[[int], Flow],
    variables: Variables,
    frames: Frames,
    key: Key,
    *,
    halo: int,
    chunk: int,
    temperature: float = 1.0,
) -> Iterator[np.ndarray]:
    """Draws a waveform given frames of features, chunk by chunk.

    A chunk is computed in a window that reaches `halo` frames further on both sides, as far as its samples depend on
    others, and at an end of the waveform ends there: so the chunks are those of the whole waveform, to rounding. The
    noise of a frame depends on the key and the number of the frame alone.

    Args:
      build: gives the flow for so many frames; all flows take the same variables.
      variables: the collections of the flow.
      frames: what the waveform is conditioned on.
      key: key of the noise.
      halo: frames to either side on which samples may depend.
      chunk: frames of one chunk, at least 1; fewer take less memory, and more time for the halos.
      temperature: factor of the noise.
    Yields:
      float32 [num], the samples of one chunk after the other.
    """
    window, num = chunk + 2 * halo, frames.num_frames
    flow = build(min(window, num))
    hop = flow.event_shape[0] // min(window, num)

    @jax.jit
    def draw(variables: Variables, key: Key, start: Array, context: Array) -> Array:
        z = temperature * latent_of(flow, key, start + jnp.arange(len(context)))
        return flow.decode(variables, z, context)[0]

    for first in range(0, num, chunk) if num > window else (0,):
        last = min(first + chunk, num) if num > window else num
        start = min(max(first - halo, 0), max(num - window, 0))
        stop = start + min(window, num)
        samples = draw(variables, key, jnp.asarray(start), jnp.asarray(frames.read(start, stop)))
        yield np.asarray(samples)[(first - start) * hop : (last - start) * hop]


def latent_of(flow: Flow, key: Key, numbers: Array) -> Array:
    """Standard normal noise for the frames of these numbers, laid out as the latent of a flow: [*latent_shape].

    Every level of the latent holds some channels of each step of time, one step after the other.
    """
    (size,) = flow.latent_shape
    per_frame = size // len(numbers)
    noise = jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), (per_frame,)))(numbers)
    sizes = flow.level_sizes
    pieces = jnp.split(noise, np.cumsum([each // len(numbers) for each in sizes])[:-1], axis=-1)
    return jnp.concatenate([piece.ravel() for piece in pieces])

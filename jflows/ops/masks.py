"""Which elements of an event a coupling keeps: static NumPy masks, so that a layer can slice by them while tracing."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from jflows.errors import InvalidValueError, check_choice
from jflows.typing import Array, Shape

MASK_KINDS = ("half", "alternate", "checkerboard", "channel", "random")


def make_mask(kind: str, event_shape: Shape, flip: bool = False, seed: int = 0) -> np.ndarray:
    """A mask over an event: True where an element is kept, False where a coupling changes it.

    | kind | kept, of n elements (or channels) |
    |---|---|
    | "half" | the first n - n // 2 elements, counted row by row: of an image of even height, its upper half |
    | "alternate" | elements 0, 2, 4, ..., counted row by row |
    | "checkerboard" | pixels whose row + column is odd, in all channels; images only |
    | "channel" | the first n - n // 2 channels (last axis), at every position |
    | "random" | n - n // 2 elements drawn with `seed`: the same ones on every platform and version of NumPy |

    Source: Dinh et al. 2014, arXiv:1410.8516, section 5.1 (alternate); Dinh et al. 2017, arXiv:1605.08803, section 3.4
    (checkerboard, channel).

    Args:
      kind: one of the above.
      event_shape: shape of one event, without batch axes.
      flip: swap what is kept and what is changed.
      seed: seed of "random", not negative; other kinds ignore it.
    Shapes:
      -> bool [*event_shape].
    Raises:
      InvalidValueError: for another kind, a shape that the kind cannot divide, or a negative seed.
    Example:
      >>> make_mask("checkerboard", (2, 4, 1))[..., 0].astype(int)
      array([[0, 1, 0, 1],
             [1, 0, 1, 0]])
    """
    check_choice("make_mask", "kind", kind, MASK_KINDS)
    shape = tuple(event_shape)
    if kind == "checkerboard" and len(shape) != 3:
        rule = "must be (height, width, channels) for a checkerboard"
        raise InvalidValueError("make_mask", "event_shape", rule, f"{shape}", 'Use "alternate" or "half".')
    if seed < 0:
        raise InvalidValueError("make_mask", "seed", "must not be negative", repr(seed))
    kept = _kept(kind, shape, seed)
    if kept.all() or not kept.any():
        rule = f"must have something to keep and something to change with kind={kind!r}"
        raise InvalidValueError(
            "make_mask", "event_shape", rule, f"{shape}", "Use another kind, or an elementwise map."
        )
    return ~kept if flip else kept


def cut(values: Array, mask: np.ndarray) -> tuple[Array, Array]:
    """Takes an event apart: the elements where the mask is True, then those where it is False, each row by row.

    Shapes:
      values: [*batch, *event], mask: [*event] -> [*batch, num_true], [*batch, num_false].
    """
    first = _first_of_pairs(mask)
    if first is not None:
        pairs = values.reshape(*values.shape[:-2], mask.shape[1] // 2, 2, mask.shape[2])
        one, other = pairs[..., 0, :], pairs[..., 1, :]
        flat = lambda part: part.reshape(*part.shape[:-3], mask.size // 2)
        return flat(jnp.where(first, one, other)), flat(jnp.where(first, other, one))
    flat = values.reshape(*values.shape[: values.ndim - mask.ndim], mask.size)
    if np.count_nonzero(np.diff(mask.ravel())) == 1:  # two runs, cut at once for the reason that `cut_rows` gives
        end = int(np.argmax(mask.ravel() != mask.flat[0]))
        first, second = lax.split(flat, (end, mask.size - end), axis=flat.ndim - 1)
        return (first, second) if mask.flat[0] else (second, first)
    return take(flat, np.flatnonzero(mask)), take(flat, np.flatnonzero(~mask))


def cut_rows(params: Array, *counts: int) -> list[Array]:
    """Takes parameters apart by rows: [..., sum(counts), dim] into [..., count, dim] each.

    Not by slices: the transpose of a slice is a sum of padded arrays, that of all parts is one concatenation.
    """
    return list(lax.split(params, counts, axis=params.ndim - 2))


def join(kept: Array, changed: Array, mask: np.ndarray) -> Array:
    """The inverse of `cut`.

    Shapes:
      kept: [*batch, num_true], changed: [*batch, num_false] -> [*batch, *event].
    """
    first = _first_of_pairs(mask)
    if first is not None:
        shape = (*kept.shape[:-1], mask.shape[0], mask.shape[1] // 2, mask.shape[2])
        kept, changed = kept.reshape(shape), changed.reshape(shape)
        pairs = jnp.stack([jnp.where(first, kept, changed), jnp.where(first, changed, kept)], axis=-2)
        return pairs.reshape(*kept.shape[:-3], *mask.shape)
    if not mask.flat[0]:  # what comes first goes first: a mask of two runs then needs no gather
        kept, changed, mask = changed, kept, ~mask
    order = np.argsort(np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)]))
    joined = take(jnp.concatenate([kept, changed], axis=-1), order)
    return joined.reshape(*joined.shape[:-1], *mask.shape)


def _first_of_pairs(mask: np.ndarray) -> np.ndarray | None:
    """Whether the first of two neighbours in a row is kept, where a mask of pixels keeps one of two: [h, w / 2, 1].

    Such a mask, as a checkerboard of even width is, takes no gather, whose derivative is a slow scatter on a CPU.
    None for other masks.
    """
    if mask.ndim != 3 or mask.shape[1] % 2 or not np.all(mask == mask[..., :1]):
        return None
    pairs = mask[..., :1].reshape(mask.shape[0], -1, 2, 1)
    return pairs[:, :, 0] if np.all(pairs[:, :, 0] != pairs[:, :, 1]) else None


def take(flat: Array, index: np.ndarray) -> Array:
    """flat[..., index] for an index that is known while tracing; consecutive ones become a slice, which is cheaper.

    Shapes:
      flat: [..., size], index: int [num], num >= 1 -> [..., num].
    """
    start, stop = int(index[0]), int(index[-1]) + 1
    return flat[..., start:stop] if stop - start == len(index) and np.all(np.diff(index) == 1) else flat[..., index]


def _kept(kind: str, shape: Shape, seed: int) -> np.ndarray:
    if kind == "checkerboard":
        row, column, _ = np.indices(shape)
        return (row + column) % 2 == 1
    if kind == "channel":
        channels = shape[-1] if shape else 1
        return np.broadcast_to(np.arange(channels) < channels - channels // 2, shape).copy()
    size = math.prod(shape)
    rank = np.arange(size)
    if kind == "alternate":
        return (rank % 2 == 0).reshape(shape)
    if kind == "random":
        # NumPy promises (NEP 19) the raw bits of a bit generator, but not what a Generator makes of them.
        rank = np.argsort(np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable"), kind="stable")
    return (rank < size - size // 2).reshape(shape)

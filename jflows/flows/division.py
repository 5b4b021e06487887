"""Which axis of each array of a training state is divided among devices: rules on logical axes, and what they give.

Parameters, their moving average and the moments of the optimizer are most of a training state. With `parallel="fsdp"`
each of n devices holds 1/n of them, XLA gathers an array where a step uses it, and the copy is given up after that.

| logical axis | which it is | divided |
|---|---|---|
| step | the first, below `layers`: the steps of a `Repeat` | never |
| copy | the first, below `components`: the copies of one architecture in a mixture | never |
| member | the first of all, where a state holds an ensemble | never |
| own | any other | the largest that the devices divide, the last of equals |

A scan takes one step after the other. If devices held different steps, the one that has the next step would send it to
all the others while they wait; so every device holds a share of every step. Copies and members of flows of images run
one after the other too.

Arrays below 64 KiB stay whole: to gather one takes longer than to read it. So do those of which the devices divide no
axis; they are named by `flow.summary(num_devices=n)` and `jflows info CONFIG --memory`.
Read next: `jflows/train/sharding.py`, which places states by these rules.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jflows.typing import PyTree, Shape

LEAST_BYTES = 64 * 1024
STACKING = ("layers", "components")
"""Names in the path of an array below which it is stacked on an axis of its own, that of steps or of copies."""


class Division(NamedTuple):
    """What the rules make of the arrays of a tree.

    Attributes:
      bytes: the size of all arrays.
      device_bytes: how many of these bytes each device holds.
      whole: the names of arrays of 64 KiB and more that stay whole, since the devices divide none of their axes.
    """

    bytes: int
    device_bytes: int
    whole: tuple[str, ...]


def division_of(tree: PyTree, num_devices: int, stacked: int = 0) -> Division:
    """What the rules make of the arrays of a tree, or of their shapes; see `divided_axis`."""
    total, held, whole = 0, 0, []
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        size, axis = _bytes(leaf), divided_axis(path, leaf, num_devices, stacked)
        total, held = total + size, held + (size if axis is None else size // num_devices)
        if axis is None and num_devices > 1 and size >= LEAST_BYTES:
            whole.append("/".join(_names(path)))
    return Division(total, held, tuple(whole))


def divided_axis(path: Sequence[Any], leaf: Any, num_devices: int, stacked: int = 0) -> int | None:
    """The axis of an array of a training state that is divided among devices, or None if the array stays whole.

    Args:
      path: the path of the array in its tree, as `jax.tree_util.tree_map_with_path` gives it.
      leaf: the array, or its shape and type.
      stacked: the number of leading axes that all arrays have beside their own: 1 for the members of an ensemble.
    """
    if num_devices == 1 or _bytes(leaf) < LEAST_BYTES:
        return None
    shape: Shape = leaf.shape
    divisible = [axis for axis in range(stacked + _stacked_axes(path), len(shape)) if shape[axis] % num_devices == 0]
    return max(divisible, key=lambda axis: (shape[axis], axis), default=None)


def _stacked_axes(path: Sequence[Any]) -> int:
    """The number of axes of steps and copies that an array begins with."""
    names = [*_names(path), ""]
    # Components of several architectures are not stacked, but lie side by side, as components/0, components/1, ...
    return sum(name in STACKING and not after.isdecimal() for name, after in itertools.pairwise(names))


def _names(path: Sequence[Any]) -> list[str]:
    return [jax.tree_util.keystr((entry,), simple=True) for entry in path]


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize

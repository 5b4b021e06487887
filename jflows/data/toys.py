"""Toys: rows drawn by a seed from densities in two dimensions, on which flows are often tried first.

Each function draws `num` independent rows [num, 2] and, where the density has parts, says in `label` from which part a
row comes. The order of draws is fixed, so (num, seed) always gives the same rows. `jflows.data.load("pinwheel")` draws
20,000 rows; "validation" has 5,000 and "test" 10,000, of other seeds. To add a toy, write a function marked `@toy`.
Read next: `jflows/data/known/__init__.py`, which lists these beside all other data sets.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from jflows.data.dataset import TableData
from jflows.data.protocols.drawn import Drawn
from jflows.errors import check_positive

# RandomState everywhere: its stream is frozen for all numpy versions.

_TOYS: dict[str, Drawn] = {}
TOYS: Mapping[str, Drawn] = MappingProxyType(_TOYS)

Draw = TypeVar("Draw", bound=Callable[..., TableData])


def toy(draw: Draw) -> Draw:
    """Makes a data set of a function `draw(num, *, seed)`; the first line of its docstring becomes the title."""
    name, title = draw.__name__, (draw.__doc__ or "").strip().splitlines()[0]
    _TOYS[name] = Drawn(
        name=name,
        title=title,
        licence="The rows are drawn by jflows itself, which is under the Apache licence, version 2.0.",
        credit="No credit is due.",
        draw=draw,
    )
    return draw


@toy
def two_moons(num: int, *, noise: float = 0.1, seed: int = 0) -> TableData:
    """Two half circles of radius 1 that reach into each other.

        label 0: (cos t, sin t),   label 1: (1 - cos t, 1/2 - sin t),   t ~ U(0, pi),   plus N(0, noise^2 I)

    Example:
      >>> two_moons(1000).event_shape
      (2,)
    """
    random, label = _start(num, 2, seed)
    t = np.pi * random.rand(num)
    x = np.stack([np.cos(t), np.sin(t)], axis=-1)
    x[label == 1] = np.array([1.0, 0.5]) - x[label == 1]
    return _finish("two_moons", x, label, noise, random)


@toy
def circles(num: int, *, num_circles: int = 2, noise: float = 0.08, seed: int = 0) -> TableData:
    """Circles around one centre, as many rows on each: label k has radius (k + 1) / num_circles, blurred by noise."""
    random, label = _start(num, num_circles, seed)
    t = 2 * np.pi * random.rand(num)
    x = (label[:, None] + 1) / num_circles * np.stack([np.cos(t), np.sin(t)], axis=-1)
    return _finish("circles", x, label, noise, random)


@toy
def pinwheel(num: int, *, num_wings: int = 5, seed: int = 0) -> TableData:
    """Normals along `num_wings` rays, bent around the centre; the label is the wing.

        x = 2 R(2 pi label / num_wings + exp(r) / 4) (r, s),   r ~ N(1, 0.3^2),   s ~ N(0, 0.1^2),   R(t) turns by t

    Source: Johnson et al. 2016, arXiv:1603.06277, figure 1.
    """
    random, label = _start(num, num_wings, seed)
    r, s = 1 + 0.3 * random.randn(num), 0.1 * random.randn(num)
    t = 2 * np.pi * label / num_wings + np.exp(r) / 4
    x = 2 * np.stack([np.cos(t) * r - np.sin(t) * s, np.sin(t) * r + np.cos(t) * s], axis=-1)
    return _finish("pinwheel", x, label, 0.0, random)


@toy
def spirals(num: int, *, num_arms: int = 2, noise: float = 0.1, seed: int = 0) -> TableData:
    """Arms that turn one and a half times around the centre, out to radius 3; the label is the arm.

    (u cos t, u sin t),   u = 3 sqrt(U(0, 1)),   t = pi u + 2 pi label / num_arms,   plus N(0, noise^2 I)
    """
    random, label = _start(num, num_arms, seed)
    u = 3 * np.sqrt(random.rand(num))
    t = np.pi * u + 2 * np.pi * label / num_arms
    return _finish("spirals", u[:, None] * np.stack([np.cos(t), np.sin(t)], axis=-1), label, noise, random)


@toy
def eight_gaussians(num: int, *, noise: float = 0.3, seed: int = 0) -> TableData:
    """Eight normals with their centres on a circle of radius 3, N(centre, noise^2 I); the label is the centre."""
    random, label = _start(num, 8, seed)
    t = 2 * np.pi * label / 8
    return _finish("eight_gaussians", 3 * np.stack([np.cos(t), np.sin(t)], axis=-1), label, noise, random)


@toy
def checkerboard(num: int, *, seed: int = 0) -> TableData:
    """Uniform on the 8 black squares of a board of 4 by 4 on [-4, 4]^2: log p(x) = -log 32 there. No label."""
    random, square = _start(num, 8, seed)
    column, pair = square % 4, square // 4
    corner = np.stack([column, 2 * pair + column % 2], axis=-1)
    return _finish("checkerboard", 2 * (corner + random.rand(num, 2)) - 4, None, 0.0, random)


@toy
def swiss_roll(num: int, *, noise: float = 0.2, seed: int = 0) -> TableData:
    """One spiral with its density falling outwards. No label.

    (t cos t, t sin t) / 5,   t ~ U(3 pi / 2, 9 pi / 2),   plus N(0, noise^2 I)
    """
    random, _ = _start(num, 1, seed)
    t = 1.5 * np.pi * (1 + 2 * random.rand(num))
    return _finish("swiss_roll", t[:, None] / 5 * np.stack([np.cos(t), np.sin(t)], axis=-1), None, noise, random)


def _start(num: int, num_parts: int, seed: int) -> tuple[np.random.RandomState, np.ndarray]:
    """The source of draws, and the part of each row, all equally likely."""
    check_positive("toys", "num", num)
    check_positive("toys", "number of parts", num_parts)
    random = np.random.RandomState(seed)
    return random, random.randint(num_parts, size=num)


def _finish(
    name: str, x: np.ndarray, label: np.ndarray | None, noise: float, random: np.random.RandomState
) -> TableData:
    num_classes = None if label is None else int(label.max()) + 1
    return TableData(name, x + noise * random.randn(*x.shape), label, num_classes=num_classes)

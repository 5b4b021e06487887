"""Flows with angles among their columns: layers in turn over fixed columns, as a permutation would mix kinds.

An angle stays an angle from data to latent, where it is uniform. Its inner map is a circular spline, and networks see
its cosine and sine. Columns keep their places, so that each layer knows which of them are angles; in the place of a
permutation between layers, the layers differ in what they keep, or in their order.
Read next: `jflows/flows/columns.py`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from jflows.bijectors import (
    Bijector,
    ByColumn,
    Chain,
    Coupling,
    Identity,
    InnerMap,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    Repeat,
    Stack,
)
from jflows.distributions import Base, Product, StandardNormal, UniformAngle
from jflows.errors import InvalidValueError
from jflows.flows.columns import Layout
from jflows.nn import MADE, MLP
from jflows.ops.masks import make_mask

Make = Callable[[], Bijector]


def base_of(columns: Layout) -> Base:
    """N(0, 1) for real numbers, uniform for angles."""
    dim, circles = columns.latent_shape[0], columns.circles
    if not circles:
        return StandardNormal(columns.latent_shape)
    lines = tuple(column for column in range(dim) if column not in circles)
    groups = [(UniformAngle((len(circles),)), circles)] + ([(StandardNormal((len(lines),)), lines)] if lines else [])
    bases, own = zip(*groups, strict=True)
    return Product((dim,), bases, own)


def splines(num_bins: int, bound: float, circles: Sequence[int], columns: Sequence[int]) -> InnerMap:
    """The spline of each of these columns: circular for angles, with linear tails for real numbers."""
    line = RationalQuadraticSpline(num_bins, bound)
    ring = RationalQuadraticSpline(num_bins, math.pi, boundary="circular")
    which = tuple(int(column in circles) for column in columns)
    return ByColumn((line, ring), which) if len(set(which)) == 2 else (line, ring)[which[0]]


def couplings(columns: Layout, network: Callable[..., MLP], num_bins: int, bound: float) -> list[Make]:
    """Couplings that change one half of the columns given the other, then the other way round, then other halves."""
    (dim,) = columns.latent_shape

    def make(kind: str, flip: bool) -> Make:
        kept = make_mask(kind, (dim,), flip)
        angles = tuple(int(index) for index in np.flatnonzero(np.isin(np.flatnonzero(kept), columns.circles)))
        inner = splines(num_bins, bound, columns.circles, np.flatnonzero(~kept).tolist())
        return lambda: Coupling(network(circles=angles), inner, mask=kind, flip=flip)

    kinds = ("half", "alternate") if dim > 2 else ("half",)  # of two columns, both are one
    return [make(kind, flip) for kind in kinds for flip in (False, True)]


def autoregressive(columns: Layout, network: Callable[..., MADE], num_bins: int, bound: float) -> list[Make]:
    """Autoregressive layers in one order of the columns, then in the opposite one."""
    (dim,) = columns.latent_shape
    inner = splines(num_bins, bound, columns.circles, range(dim))

    def make(order: str) -> Make:
        return lambda: MaskedAutoregressive(network(order=order, circles=columns.circles), inner)

    return [make(order) for order in (("natural", "reversed") if dim > 1 else ("natural",))]


def in_turn(
    makes: list[Make], columns: Layout, num_layers: int, permutation: type | None, norm: type | None, backprop: str
) -> Bijector:
    """`num_layers` layers in turn, each followed by a permutation and a normalisation of the real numbers alone.

    Args:
      permutation: makes a map that mixes real numbers; None where the layers' own turns do.
      norm: makes a normalisation; None for none.
    """
    after = [kind for kind in (permutation, norm) if kind is not None and _lines(columns)]

    def step(make: Make) -> tuple[Bijector, ...]:
        return (make(), *(_on_lines(kind(), columns) for kind in after))

    rounds, rest = divmod(num_layers, len(makes))
    found: tuple[Bijector, ...] = ()
    if rounds:
        found = (Repeat(Chain(tuple(part for make in makes for part in step(make))), rounds, backprop),)
    if rest:
        found += (Repeat(Chain(tuple(part for make in makes[:rest] for part in step(make))), 1, backprop),)
    return Chain(found)


def check_no_circles(where: str, columns: Layout, fix: str) -> None:
    """Raises `InvalidValueError` if a column is an angle, for presets whose maps are not those of a circle."""
    if columns.circles and columns.domains is not None:
        named = ", ".join(repr(entry[0]) for entry in columns.domains.circle)
        rule = f"is not for {where}, as its maps are not those of a circle"
        raise InvalidValueError(where, "circle", rule, f"column {named}", fix)


def _lines(columns: Layout) -> tuple[int, ...]:
    return tuple(column for column in range(columns.latent_shape[0]) if column not in columns.circles)


def _on_lines(bijector: Bijector, columns: Layout) -> Bijector:
    lines, circles = _lines(columns), columns.circles
    return Stack((bijector, Identity()), (len(lines), len(circles)), (*lines, *circles))

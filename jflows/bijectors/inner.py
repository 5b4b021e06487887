"""Inner maps, elementwise bijections with parameters from outside, and `Elementwise`, which learns those of one.

An inner map knows nothing of networks or of the part of an event that it changes; `Coupling` does. To write one, say
how many parameters an element takes, and write the two directions.
"""

import abc
import functools
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.bijectors.base import METHODS, SameShape
from jflows.errors import InvalidTypeError, InvalidValueError, check_choice, kind_of
from jflows.modules import Module
from jflows.ops.affine import SCALE_KINDS, bounded_log_scale, shifted_and_scaled
from jflows.ops.blocks import in_blocks
from jflows.ops.masks import cut_rows, take
from jflows.ops.numerics import promoting, sum_event
from jflows.ops.primitives import as_computed
from jflows.options import Ndims, Option, Positive
from jflows.typing import Array


class InnerMap(Module, abc.ABC):
    """A bijection x <-> z of single elements, each with `num_params` parameters.

    Shapes:
      x, z, log_det: [..., dim]; params: [..., num_params, dim]. The dimension is last, so that every operation of a
      spline runs over a contiguous axis. Parameters [..., dim, num_params] go through `side_by_side`.
    """

    # What errors say where one is given in place of a bijector.
    belongs: ClassVar[str] = "An inner map goes into Elementwise(inner) or Coupling(conditioner, inner)."
    allows_invertible_backprop: ClassVar[bool] = True  # False where one of the directions is solved numerically
    # True where it has Flax parameters beside `params`: one instance then serves one place only.
    owns_params: ClassVar[bool] = False
    by_column: ClassVar[bool] = False  # True where columns are mapped differently, and `forward_at` must be told which

    @property
    @abc.abstractmethod
    def num_params(self) -> int:
        """Number of parameters per element; zeros must give a well-behaved map, as conditioners start at zero."""

    @abc.abstractmethod
    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        """Maps z to x, with the elementwise log|dx/dz|."""

    @abc.abstractmethod
    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        """Maps x to z, with the elementwise log|dz/dx|."""

    def forward_at(self, z: Array, params: Array, column: Array) -> tuple[Array, Array]:
        """`forward_and_log_det` of some columns, whose numbers [n] may be traced.

        Shapes:
          z: [..., n], params: [..., num_params, n], column: int [n].
        """
        del column
        return self.forward_and_log_det(z, params)


def side_by_side(inner: InnerMap, method: str, values: Array, params: Array) -> tuple[Array, Array]:
    """Runs an inner map on parameters with those of one element side by side, as they come from other libraries.

    On a CPU, they are brought into the order of the map block by block. To move all of them first takes new memory for
    a second copy, and longer than a spline. A map inside of a Linen module gets them moved first.

    Args:
      inner: an inner map.
      method: "forward_and_log_det" or "inverse_and_log_det".
      values: any reals.
      params: the parameters of each of them.
    Shapes:
      values: [*batch, dim], params: [*batch, dim, num_params] -> [*batch, dim] twice.
    Raises:
      InvalidTypeError: if `inner` is no inner map.
      InvalidValueError: for another method, or if there are not `num_params` parameters for each value.
    Example:
      >>> x, log_slope = side_by_side(Affine(), "forward_and_log_det", jnp.ones((5, 3)), jnp.zeros((5, 3, 2)))
      >>> float(x[0, 0])
      1.0
    """
    if not isinstance(inner, InnerMap):
        raise InvalidTypeError("side_by_side", "inner", "must be an inner map, such as Affine()", kind_of(inner))
    check_choice("side_by_side", "method", method, METHODS)
    wanted = (*jnp.shape(values), inner.num_params)
    if len(wanted) < 2 or jnp.shape(params) != wanted:
        rule = f"must be [*batch, dim] and [*batch, dim, {inner.num_params}]"
        got = f"{jnp.shape(values)} and {jnp.shape(params)}"
        raise InvalidValueError("side_by_side", ("values", "params"), rule, got)
    values, params = jnp.asarray(values), jnp.asarray(params)
    if inner.scope is not None:  # what it reads or writes there, no rule of derivatives sees
        return getattr(inner, method)(values, params.swapaxes(-1, -2))
    return _side_by_side(inner, method, values, params)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _side_by_side(inner: InnerMap, method: str, values: Array, params: Array) -> tuple[Array, Array]:
    run = getattr(inner, method)
    return in_blocks(lambda values, params: run(values, _in_order(params)), values, params)


@_side_by_side.defjvp
@promoting
def _side_by_side_jvp(inner, method, primals, tangents):
    def pushed(values: Array, params: Array, values_dot: Array, params_dot: Array) -> tuple[Array, Array]:
        return jax.jvp(getattr(inner, method), (values, _in_order(params)), (values_dot, params_dot))[1]

    (values, params), (values_dot, params_dot) = primals, tangents
    # Gradients are put down block by block in the order of the map, and moved at the end: a loop that writes into a
    # stack across its rows does not vectorise.
    tangent = in_blocks(pushed, values, params, values_dot, params_dot.swapaxes(-1, -2))
    return _side_by_side(inner, method, values, params), tangent


def _in_order(params: Array) -> Array:
    """[..., dim, num_params] -> [..., num_params, dim]."""
    return as_computed(params.swapaxes(-1, -2))


class Shift(InnerMap):
    """z = x + shift; the additive coupling of NICE.

    Source: Dinh et al. 2014, arXiv:1410.8516, eq. 8.
    """

    @property
    def num_params(self) -> int:
        return 1

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        return z - params[..., 0, :], jnp.zeros_like(z)

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        return x + params[..., 0, :], jnp.zeros_like(x)


class Affine(InnerMap):
    """z = (x + shift) * scale, with the scale in a stated interval.

    Source: Dinh et al. 2017, arXiv:1605.08803, eq. 8; scale of Glow by `scale="sigmoid"`. Differs: the default scale
    is bounded on both sides, so that neither direction can blow up.

    Args:
      scale: the range of scales: "tanh" for [exp(-m), exp(m)] with m = max_log_scale, "sigmoid" for (0, 1), "exp" for
        (0, inf).
      max_log_scale: m > 0, in nats per element; only "tanh" uses it.
    Raises:
      InvalidValueError: for another `scale`, or if max_log_scale is not positive.
    """

    scale: Annotated[str, Option(choices=SCALE_KINDS)] = "tanh"
    max_log_scale: Positive = 2.0

    @property
    def num_params(self) -> int:
        return 2

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(params)
        return z * jnp.exp(-log_scale) - shift, -log_scale

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        shift, log_scale = self._shift_and_log_scale(params)
        return shifted_and_scaled(x, shift, log_scale), log_scale

    def _shift_and_log_scale(self, params: Array) -> tuple[Array, Array]:
        shift, raw = (jnp.squeeze(row, axis=-2) for row in cut_rows(params, 1, 1))
        return shift, bounded_log_scale(raw, self.scale, self.max_log_scale)


class PReLU(InnerMap):
    """z = x for x >= 0, slope * x below, with slope = exp(raw) learned and always positive; the identity at zero.

    Source: He et al. 2015, arXiv:1502.01852, eq. 1, with the slope kept positive so that the map is invertible.
    """

    @property
    def num_params(self) -> int:
        return 1

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        return self._bend(z, -params[..., 0, :])

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        return self._bend(x, params[..., 0, :])

    def _bend(self, values: Array, log_slope: Array) -> tuple[Array, Array]:
        log_slope = jnp.where(values < 0, log_slope, 0)
        return values * jnp.exp(log_slope), log_slope


Inner = Annotated[
    InnerMap,
    Option(noun="an inner map such as Affine()", fix="Bijectors, such as Exp(), are listed in a Chain."),
]
"""The type of a field that holds an inner map."""


class ByColumn(InnerMap):
    """Different inner maps for different columns, in one coupling or autoregressive layer.

        z_i = g_k(x_i; params_i),  k = which[i]

    A table with a number and an angle needs a spline of the line for the one and of the circle for the other. Each
    column gets as many parameters as the map that takes the most; the others leave some unused.

    Args:
      inners: inner maps, two or more.
      which: for each column that is mapped, the number of its inner map, from 0.
    Shapes:
      x, z, log_det: [..., dim]; params: [..., num_params, dim], with dim the length of `which`.
    Raises:
      InvalidValueError: if `which` holds the number of no map, or the map is given another number of columns.
    """

    inners: Annotated[tuple[InnerMap, ...], Option(noun="a tuple of inner maps", fewest=1)]
    which: Annotated[tuple[int, ...], Option(low=0, fewest=1)]

    by_column: ClassVar[bool] = True

    def _check(self) -> None:
        if max(self.which) >= len(self.inners):
            rule = f"must hold numbers of inner maps, 0 to {len(self.inners) - 1}"
            raise InvalidValueError("ByColumn", "which", rule, repr(self.which))

    @property
    def num_params(self) -> int:
        return max(inner.num_params for inner in self.inners)

    @property
    def allows_invertible_backprop(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(inner.allows_invertible_backprop for inner in self.inners)

    @property
    def owns_params(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(inner.owns_params for inner in self.inners)

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        return self._run("forward_and_log_det", z, params)

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        return self._run("inverse_and_log_det", x, params)

    def _run(self, method: str, values: Array, params: Array) -> tuple[Array, Array]:
        if values.shape[-1] != len(self.which):
            rule = f"must have {len(self.which)} columns, as `which` has"
            raise InvalidValueError("ByColumn", "x", rule, f"shape {values.shape}", "Correct which.")
        columns = [np.flatnonzero(np.equal(self.which, number)) for number in range(len(self.inners))]
        used = [(inner, own) for inner, own in zip(self.inners, columns, strict=True) if len(own)]
        mapped = [
            getattr(inner, method)(take(values, own), take(params, own)[..., : inner.num_params, :])
            for inner, own in used
        ]
        order = np.argsort(np.concatenate([own for _, own in used]))
        joined = [take(jnp.concatenate(parts, axis=-1), order) for parts in zip(*mapped, strict=True)]
        return joined[0], joined[1]

    def forward_at(self, z: Array, params: Array, column: Array) -> tuple[Array, Array]:
        which = jnp.asarray(self.which)[column]
        mapped = [inner.forward_and_log_det(z, params[..., : inner.num_params, :]) for inner in self.inners]
        x, log_det = mapped[0]
        for number, (other, other_log_det) in enumerate(mapped[1:], 1):
            x, log_det = jnp.where(which == number, other, x), jnp.where(which == number, other_log_det, log_det)
        return x, log_det


class Elementwise(SameShape):
    """Maps every element by an inner map with parameters that are learned per channel, and depend on the context.

        z = g(x; params + W context)
        log_det = sum_i log|dg/dx_i|                         [nats per event]

    `Elementwise(Affine())` is a learned diagonal scale and shift, `Elementwise(PReLU())` a learned slope,
    `Elementwise(RationalQuadraticSpline())` a learned marginal. With a context it makes one-dimensional data
    conditional, where a `Coupling` has nothing to condition on. As the last prior of Glow it is the learned,
    class-conditional top prior that leaves the base at N(0, I) (Kingma and Dhariwal 2018, arXiv:1807.03039, published
    code).

    Args:
      inner: the elementwise map g. Its parameters start at zero, and so does W.
      event_ndims: 1 for vectors, 3 for images; the last axis is the channel.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch]; context: [*batch, context_dim], an image of
      the event's height and width, or None.
      `params`: raw [num_params * channels].
    """

    inner: Inner
    event_ndims: Ndims = 1

    @nn.compact
    def _params(self, values: Array, context: Array | None) -> Array:
        """-> [*batch or nothing, 1.., num_params, channels], to be broadcast over the positions of an image."""
        zeros, size = nn.initializers.zeros, self.inner.num_params * values.shape[-1]
        raw = self.param("raw", zeros, (size,), values.dtype)
        if context is not None:
            dense = nn.Dense(size, use_bias=False, kernel_init=zeros, param_dtype=values.dtype)
            raw = raw + dense(context.astype(values.dtype))
            raw = raw.reshape(*raw.shape[:-1], *(1,) * (values.ndim - raw.ndim), size)
        return raw.reshape(*raw.shape[:-1], self.inner.num_params, values.shape[-1])

    def _log_det(self, values: Array, log_slope: Array) -> Array:
        return sum_event(jnp.broadcast_to(log_slope, values.shape), self.event_ndims)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_slope = self.inner.forward_and_log_det(z, self._params(z, context))
        return x, self._log_det(z, log_slope)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_slope = self.inner.inverse_and_log_det(x, self._params(x, context))
        return z, self._log_det(x, log_slope)

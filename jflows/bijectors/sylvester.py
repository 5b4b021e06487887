"""Sylvester flows: the planar flow with several units at once."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.base import SameShape, report_largest
from jflows.bijectors.context import moved_by_context
from jflows.errors import InvalidValueError
from jflows.ops import sylvester as ops
from jflows.ops.numerics import sum_event
from jflows.ops.planar import positive
from jflows.options import Count, Fraction, Option
from jflows.typing import Array, Shape

MIN_DIAGONAL = 1e-3  # of R~, by which the diagonal of R is divided


class Sylvester(SameShape):
    """A residual layer with orthogonal and triangular weights, whose determinant and inverse are cheap.

        x = z + Q R tanh(R~ Q^T z + b),   Q^T Q = I,   R, R~ upper triangular,   r_ii r~_ii >= min_slope - 1
        log_det = sum_i log(1 + r_ii r~_ii tanh'(s_i)),   s = R~ Q^T z + b     [nats per event]

    The explicit direction is z -> x, which serves variational inference; for data use `Inverse(Sylvester(...))`. The
    other direction solves `num_units` scalar equations one after the other. With a context, all parameters are linear
    in it (amortised), and every example has matrices of its own. R starts at zero, which gives the identity.

    Source: van den Berg et al. 2018, arXiv:1803.05649; "householder" is its H-SNF, "qr" stands for its O-SNF.
    Differs: r~_ii > 0, which loses nothing as tanh is odd; r_ii r~_ii has a lower bound only; Householder products are
    cut to `num_units` columns.

    Args:
      num_units: M, the columns of Q; 1 is a planar flow with u along w.
      orthogonal: "householder" for a product of reflections, "qr" for the Q factor of a matrix.
      num_reflections: number of reflections of "householder"; M of them reach every space that M columns can span.
      min_slope: in (0, 1): lengths shrink at most to this share.
    Shapes:
      z: [*batch, dim] <-> x: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
      `params`: q [num_reflections, dim] or [dim, M]; upper, upper_tilde [M, M], of which the strict upper triangle
      counts; slope, diagonal, bias [M].
    Raises:
      InvalidValueError: if a setting is out of range, or an event has fewer than num_units dimensions.
    Numerics: x -> z amplifies rounding by up to 1 / min_slope per unit; its residual max|f(z) - x| is sown as
      "inverse_residual" in "intermediates".
    """

    num_units: Count = 1
    orthogonal: Annotated[str, Option(choices=("householder", "qr"))] = "householder"
    num_reflections: Count = 8
    min_slope: Fraction = 1e-3

    event_ndims: ClassVar[int] = 1
    allows_invertible_backprop: ClassVar[bool] = False

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape; it must have room for `num_units` orthogonal directions."""
        if x_event_shape[-1] < self.num_units:
            rule = f"must have at least num_units={self.num_units} dimensions"
            raise InvalidValueError("Sylvester", "x", rule, f"shape {tuple(x_event_shape)}", "Lower num_units.")
        return tuple(x_event_shape)

    @nn.compact
    def _matrices(self, values: Array, context: Array | None) -> tuple[Array, Array, Array, Array, Array]:
        """-> Q, R, R~, b, and 1 + r_ii r~_ii."""
        dim, units, dtype = values.shape[-1], self.num_units, values.dtype
        by_reflections = self.orthogonal == "householder"
        normal, zeros = nn.initializers.normal, nn.initializers.zeros
        own = {
            "q": self.param("q", normal(1.0), (self.num_reflections, dim) if by_reflections else (dim, units), dtype),
            "upper": self.param("upper", zeros, (units, units), dtype),
            "upper_tilde": self.param("upper_tilde", normal(units**-0.5), (units, units), dtype),
            "slope": self.param("slope", zeros, (units,), dtype),
            "diagonal": self.param("diagonal", zeros, (units,), dtype),
            "bias": self.param("bias", zeros, (units,), dtype),
        }
        raw = moved_by_context(own, context)
        q = ops.householder_columns(raw["q"], units) if by_reflections else ops.qr_columns(raw["q"])
        slope, diagonal = positive(raw["slope"], self.min_slope), positive(raw["diagonal"], MIN_DIAGONAL)
        eye = jnp.eye(units, dtype=dtype)
        r = jnp.triu(raw["upper"], 1) + eye * ((slope - 1) / diagonal)[..., None]
        r_tilde = jnp.triu(raw["upper_tilde"], 1) + eye * diagonal[..., None]
        return q, r, r_tilde, raw["bias"], slope

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_slopes = ops.sylvester_forward(z, *self._matrices(z, context))
        return x, sum_event(log_slopes, 1)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        matrices = self._matrices(x, context)
        z, log_slopes = ops.sylvester_inverse(x, *matrices)
        residual = ops.sylvester_forward(z, *matrices)[0] - x
        report_largest(self, "inverse_residual", residual)
        return z, sum_event(log_slopes, 1)

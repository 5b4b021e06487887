"""The block neural autoregressive flow: one triangular network that holds a monotone network for each coordinate."""

from itertools import pairwise
from typing import Annotated, ClassVar

from flax import linen as nn

from jflows.bijectors.base import SameShape, report_largest
from jflows.bijectors.context import moved_by_context
from jflows.ops import block_autoregressive as ops
from jflows.ops.numerics import sum_event
from jflows.options import Count, Option
from jflows.typing import Array


class BlockNeuralAutoregressive(SameShape):
    """A network whose output z_i increases in x_i and depends on x_1 .. x_{i-1}, so that one pass maps all coordinates.

        z = residual form of W_n tanh(... tanh(W_1 x + b_1)) + b_n,   W_k block lower triangular, diagonal blocks > 0
        log_det = sum_i log dz_i/dx_i, accumulated through the diagonal blocks      [nats per event]

    The explicit direction is x -> z, which scores data; z -> x solves one scalar equation per coordinate, in order. The
    solver computes what earlier coordinates contribute only once, so that sampling costs about two passes and `dim`
    sequential searches. With a context, all biases are linear in it.

    Source: De Cao et al. 2019, arXiv:1904.04676. Differs: see `jflows.ops.block_autoregressive.block_layer`.

    Args:
      hidden_per_dim: hidden units per coordinate and layer.
      num_layers: hidden layers, at least one.
      residual: "gate" mixes x and the network by a learned share, "add" adds x, and "none" takes the network alone.
        With "none" the output is bounded: the density of a flow with a normal base integrates to less than 1, and
        values outside of the bounds have no inverse (NaN).
    Shapes:
      x: [*batch, dim] <-> z: the same; log_det: [*batch]; context: [*batch, context_dim] or None.
      `params`: weight_k [dim, fan_out, dim, fan_in], norm_k and bias_k [dim, fan_out], gate [].
    Raises:
      InvalidValueError: for a size that is not positive or an unknown residual form.
    Numerics: the residual max|f(x) - z| of z -> x is sown as "inverse_residual" in "intermediates".
    """

    hidden_per_dim: Count = 8
    num_layers: Count = 1
    residual: Annotated[str, Option(choices=ops.RESIDUALS)] = "gate"

    event_ndims: ClassVar[int] = 1
    allows_invertible_backprop: ClassVar[bool] = False

    @nn.compact
    def _network(self, values: Array, context: Array | None) -> tuple[list[ops.BlockLayer], tuple[Array, Array]]:
        dim, dtype, zeros = values.shape[-1], values.dtype, nn.initializers.zeros
        sizes = (1, *(self.hidden_per_dim,) * self.num_layers, 1)
        weights, norms, biases = [], [], {}
        for k, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            normal = nn.initializers.normal((dim * fan_in) ** -0.5)
            weights.append(self.param(f"weight_{k}", normal, (dim, fan_out, dim, fan_in), dtype))
            norms.append(self.param(f"norm_{k}", zeros, (dim, fan_out), dtype))
            # Hidden units bend at different places from the start; the output is not shifted.
            bias_init = zeros if k == self.num_layers else nn.initializers.normal(1.0)
            biases[f"bias_{k}"] = self.param(f"bias_{k}", bias_init, (dim, fan_out), dtype)
        gate = self.param("gate", zeros, (), dtype) if self.residual == "gate" else None
        moved = moved_by_context(biases, context)
        layers = [
            ops.block_layer(w, norm, moved[f"bias_{k}"]) for k, (w, norm) in enumerate(zip(weights, norms, strict=True))
        ]
        return layers, ops.log_shares(self.residual, gate)

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        network = self._network(z, context)
        x = ops.block_autoregressive_inverse(z, *network)
        reached, log_slope = ops.block_autoregressive(x, *network)
        report_largest(self, "inverse_residual", reached - z)
        return x, -sum_event(log_slope, 1)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        z, log_slope = ops.block_autoregressive(x, *self._network(x, context))
        return z, sum_event(log_slope, 1)

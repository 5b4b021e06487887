"""`MonotoneIntegral`: the inner map of unconstrained monotonic neural networks."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors.inner import InnerMap
from jflows.ops.integral import integral, integral_inverse, quadrature_nodes
from jflows.ops.planar import positive
from jflows.options import Count, Counts, Fraction, HalfWidth, Option
from jflows.typing import Array


class MonotoneIntegral(InnerMap):
    """z = bias + int_0^x f(t; h) dt, with a network f > 0 that all elements share, and an embedding h for each element.

        f(t; h) = positive(MLP(t, h))                        on [-bound, bound], constant beyond

    The conditioner gives bias and h; the network's weights are parameters of this map. h and the last layer start at
    zero, which gives the identity. The network is evaluated at fixed nodes, once per element, in both directions. f is
    linear between the nodes, so its integral is exact, and the inverse is a closed formula.

    Source: Wehenkel and Louppe 2019, arXiv:1908.05164. Differs: the trapezoidal rule on fixed nodes takes
    the place of Clenshaw-Curtis nodes scaled to x, so that z and its log-det are exactly consistent and z is increasing
    for all weights; and the inverse needs no search.

    Args:
      embedding_size: length of h.
      hidden_sizes: hidden layers of the network, with tanh between them; at least one.
      num_nodes: number of nodes, odd; f bends at the nodes only, and memory grows with their number.
      bound: half-width of the interval, in units of x.
      min_slope: in (0, 1), the least value of f.
    Shapes:
      As `InnerMap`: x, z, log_det: [..., dim]; params: [..., embedding_size + 1, dim], the bias first.
      Memory: num_nodes times the largest hidden size per element.
    Raises:
      InvalidValueError: if a setting is out of range.
    """

    embedding_size: Count = 8
    hidden_sizes: Counts = (32, 32)
    num_nodes: Annotated[int, Option(low=3, odd=True)] = 33
    bound: HalfWidth = 5.0
    min_slope: Fraction = 1e-3

    owns_params: ClassVar[bool] = True

    @property
    def num_params(self) -> int:
        return self.embedding_size + 1

    @nn.compact
    def _integrand(self, embedding: Array) -> Array:
        """f at the nodes: [..., embedding_size, dim] -> [..., num_nodes, dim]."""
        dtype, normal = embedding.dtype, nn.initializers.normal(1.0)
        nodes = jnp.asarray(quadrature_nodes(self.num_nodes, self.bound)[:, None, None], dtype)
        # The first layer of MLP([t, h]) as a sum: its two products are smaller than the one of all pairs.
        first = nn.Dense(self.hidden_sizes[0], param_dtype=dtype, bias_init=normal, name="hidden_0")
        from_embedding = first(jnp.swapaxes(embedding, -1, -2))[..., None, :, :]
        hidden = jnp.tanh(from_embedding + nodes * self.param("position", normal, self.hidden_sizes[:1], dtype))
        for k, size in enumerate(self.hidden_sizes[1:], 1):
            hidden = jnp.tanh(nn.Dense(size, param_dtype=dtype, name=f"hidden_{k}")(hidden))
        output = nn.Dense(1, kernel_init=nn.initializers.zeros, param_dtype=dtype, name="output")
        return positive(output(hidden)[..., 0], self.min_slope)

    def forward_and_log_det(self, z: Array, params: Array) -> tuple[Array, Array]:
        integrand = self._integrand(params[..., 1:, :])
        x = integral_inverse(z - params[..., 0, :], integrand, self.bound)
        return x, -jnp.log(integral(x, integrand, self.bound)[1])

    def inverse_and_log_det(self, x: Array, params: Array) -> tuple[Array, Array]:
        area, slope = integral(x, self._integrand(params[..., 1:, :]), self.bound)
        return area + params[..., 0, :], jnp.log(slope)

"""MADE: dense layers that are masked so that the parameters of an input depend only on earlier inputs."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jflows.errors import InvalidValueError
from jflows.modules import Module
from jflows.nn.embed import ContextTerm
from jflows.nn.layers import ACTIVATIONS, Activation, ComputeDtype
from jflows.nn.mlp import BLOCK_STD, Circles
from jflows.ops.angles import is_angle, periodic_rows, periodic_slopes
from jflows.ops.autoregressive import ORDERS, made_degrees
from jflows.ops.autoregressive_inverse import MaskedNetwork, masked_pass, solve_in_order, transposed
from jflows.options import Counts, Option, Seed
from jflows.typing import Array, PyTree, Shape

LECUN = nn.initializers.lecun_normal()


class Weights(nn.Module):
    """Kernel [in, out] and bias of a layer. The mask is applied where they are used."""

    @nn.compact
    def __call__(self, shape: tuple[int, int], dtype: Any, kernel_init: Any = LECUN) -> tuple[Array, Array]:
        kernel = self.param("kernel", kernel_init, shape, dtype)
        return kernel, self.param("bias", nn.initializers.zeros, shape[1:], dtype)


class MADE(Module):
    """Autoregressive network: the parameters of input i depend only on inputs that come before i in the order.

        h_1 = act(M_1 x),  h_k = act(M_k h_{k-1}),  y = M_out h_last       [biases left out; M_k masked]

    or, with `residual`, which needs equal hidden sizes: h_1 = M_1 x, then blocks of two masked layers

        h_k = h_{k-1} + M_2k act(M_1k act(h_{k-1})),  y = M_out act(h_last)

    A context vector is mapped linearly and added, unmasked, before each activation. These maps start at zero, except in
    the first layer, where some units see nothing but the context. The last layer starts at zero. Hidden units are
    sorted by degree, see `jflows.ops.autoregressive`, as `solve_in_order` needs it, by which `MaskedAutoregressive`
    samples at about the cost of a density. With one input the parameters depend on the context and the biases alone.

    Source: Germain et al. 2015, arXiv:1502.03509, section 4; `residual`: Nash and Durkan 2019, arXiv:1904.05626
    (ResMADE).

    Args:
      hidden_sizes: units of each hidden layer, at least one; with `residual`, the first entry is that of the input
        layer, and each further entry is a block.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      order: "natural", "reversed" or "random": the order of the inputs.
      seed: seed of the order "random"; it is stored with the model, so that the order is the same after loading.
      residual: whether to add the residual connections.
      circles: which inputs are angles of period 2 pi, of which the network sees cosine and sine.
      compute_dtype: type in which it computes, see `jflows.ops.numerics`; parameters and output keep theirs.
    Shapes:
      x: [*batch, dim], context: [*batch, context_dim] or None -> [*batch, num_features], with num_features =
      num_params * dim: reshaped to [*batch, num_params, dim], column i holds the parameters of input i.
    Raises:
      InvalidValueError: for an unknown activation or order, no hidden layer, unequal sizes with `residual`, or
        num_features that is not a multiple of dim.
    """

    hidden_sizes: Counts = (128, 128)
    activation: Activation = "relu"
    order: Annotated[str, Option(choices=ORDERS)] = "natural"
    seed: Seed = 0
    residual: bool = False
    circles: Circles = ()
    compute_dtype: ComputeDtype = "full"

    def _check(self) -> None:
        if self.residual and len(set(self.hidden_sizes)) > 1:
            raise InvalidValueError("MADE", "hidden_sizes", "must be equal with residual=True", repr(self.hidden_sizes))

    def degrees(self, dim: int, conditional: bool = False) -> tuple[np.ndarray, ...]:
        """Degrees of the inputs and of each entry of `hidden_sizes`; `conditional` says whether there is a context."""
        return made_degrees(dim, self.hidden_sizes, self.order, self.seed, conditional)

    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        return masked_pass(self._network(x.shape, jnp.result_type(x), num_features, context), self._seen(x))[-1]

    def _seen(self, x: Array) -> Array:
        """What the first layer sees, [*batch, features * dim]: x itself, or two features if some inputs are angles."""
        if not self.circles:
            return x
        rows = periodic_rows(x, is_angle(self.circles, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], -1)

    def solve_in_order(
        self,
        solve: Callable[[PyTree, Array], Array],
        z: PyTree,
        num_features: int,
        context: Array | None = None,
    ) -> Array:
        """Finds x with x_i = solve(z_i, params_i(x)), see `jflows.typing.OrderedConditioner`."""
        first = jax.tree.leaves(z)[0]
        network = self._network(first.shape, jnp.result_type(first), num_features, context)
        if not self.circles:
            return solve_in_order(solve, lambda _, x: x[..., None, :], z, network)
        inputs = (z, jnp.asarray(is_angle(self.circles, first.shape[-1])))
        return solve_in_order(
            lambda of_i, params: solve(of_i[0], params), lambda of_i, x: periodic_rows(x, of_i[1]), inputs, network
        )

    def solve_transposed(
        self, rhs: Array, diagonal: Array, slopes: Array, x: Array, context: Array | None = None
    ) -> Array:
        """Solves the triangular system of the implicit gradient at x, see `jflows.typing.OrderedConditioner`."""
        network = self._network(x.shape, jnp.result_type(x), slopes.shape[-2] * x.shape[-1], context)
        seen = jnp.ones_like(x)[..., None, :]  # derivatives of what the network sees
        if self.circles:
            seen = periodic_slopes(x, is_angle(self.circles, x.shape[-1]))
        return solve_in_order(
            lambda of_i, from_later: (of_i[0] - jnp.sum(of_i[3] * from_later, axis=-2)) / of_i[1],
            lambda of_i, solution: of_i[2] * solution[..., None, :],
            (rhs, diagonal, slopes, seen),
            transposed(network, self._seen(x)),
        )

    @nn.compact
    def _network(self, shape: Shape, dtype: Any, num_features: int, context: Array | None) -> MaskedNetwork:
        """The weights, for x of this shape."""
        dim = shape[-1]
        if num_features % dim:
            rule = f"must be a multiple of the {dim} inputs"
            raise InvalidValueError("MADE", "num_features", rule, repr(num_features))
        degrees = self.degrees(dim, context is not None)
        # Half of the rows of two features see zeros where an input is no angle: they cost little, and keep one layout.
        fan_in = 2 * dim if self.circles else dim
        layers, of_layers = [self._weights("hidden_0", fan_in, self.hidden_sizes[0], dtype, context)], list(degrees[:2])
        for index, (fan_in, size) in enumerate(pairwise(self.hidden_sizes), 1):
            layers.append(self._weights(f"hidden_{index}", fan_in, size, dtype, context))
            of_layers.append(degrees[index + 1])
            if self.residual:
                small = nn.initializers.normal(BLOCK_STD)
                # Equal sizes have equal degrees, so the sum keeps the degree of each unit.
                layers.append(Weights(name=f"block_{index}")((size, size), dtype, small))
                of_layers.append(degrees[index + 1])
        zeros = nn.initializers.zeros
        layers.append(Weights(name="output")((self.hidden_sizes[-1], num_features), dtype, zeros))
        kernels, biases = zip(*layers, strict=True)
        own = {"residual": self.residual, "compute_dtype": self.compute_dtype}
        return MaskedNetwork(kernels, biases, tuple(of_layers), ACTIVATIONS[self.activation], **own)

    def _weights(self, name: str, fan_in: int, size: int, dtype: Any, context: Array | None) -> tuple[Array, Array]:
        kernel, bias = Weights(name=name)((fan_in, size), dtype)
        if context is not None:
            term = ContextTerm(name != "hidden_0", self.compute_dtype, name=f"{name}_context")
            bias = bias + term(context, bias)
        return kernel, bias

"""A flow as a module of Flax NNX: `NNXFlow` holds the variables, so that NNX's loops and optimizers train it."""

import jax
from flax import nnx

from jflows.errors import InvalidTypeError, kind_of
from jflows.flows import Flow
from jflows.typing import SINGULAR_VECTORS, Array, Key, Shape, Variables


class Constant(nnx.Variable):
    """What a flow holds fixed, such as permutations; an optimizer `wrt=nnx.Param` leaves it alone."""


class SingularVector(nnx.Variable):
    """What power iteration has reached; `NNXFlow.loss` moves it."""


_KINDS = {
    "params": nnx.Param,
    "batch_stats": nnx.BatchStat,
    SINGULAR_VECTORS: SingularVector,
    "constants": Constant,
}


class NNXFlow(nnx.Module):
    """A flow together with its variables, as an NNX module.

    Parameters are `nnx.Param`, batch statistics `nnx.BatchStat`, the vectors of power iteration `SingularVector`, and
    constants `Constant`; `nnx.state(module)` holds all, for Orbax. Methods are those of `Flow` without the argument
    `variables`. `loss` is for training: it also updates batch statistics and singular vectors in place.

    Args:
      flow: a flow.
      variables: the collections of `flow`, from `flow.init`, `fit` or `jflows.load`.
    Raises:
      InvalidTypeError: if `flow` is not a flow.
    Example:
      >>> import jax, jflows, optax
      >>> from flax import nnx
      >>> from jflows.interop.nnx import NNXFlow
      >>> flow = jflows.realnvp((2,), num_layers=2, hidden_sizes=(8,))
      >>> x = jax.random.normal(jax.random.key(0), (64, 2))
      >>> model = NNXFlow(flow, flow.init(jax.random.key(1), x))
      >>> optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
      >>> loss, gradients = nnx.jit(nnx.value_and_grad(lambda model: model.loss(x).mean()))(model)
      >>> _ = optimizer.update(model, gradients)
      >>> model.sample(jax.random.key(2), (3,)).shape
      (3, 2)
    """

    def __init__(self, flow: Flow, variables: Variables):
        if not isinstance(flow, Flow):
            raise InvalidTypeError("NNXFlow", "flow", "must be a Flow", kind_of(flow))
        self.flow = flow
        self.collections = nnx.data({name: jax.tree.map(_KINDS[name], dict(tree)) for name, tree in variables.items()})

    @property
    def variables(self) -> Variables:
        """The collections as plain arrays, as methods of `Flow`, `fit` and `jflows.eval` take them."""
        return jax.tree.map(
            lambda held: held[...], self.collections, is_leaf=lambda held: isinstance(held, nnx.Variable)
        )

    def loss(self, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """-log p(x) in nats, [*batch], see `Flow.apply_loss`; updates batch statistics."""
        log_prob, updates = self.flow.apply_loss(self.variables, x, context, key)
        for name, tree in updates.items():
            nnx.update(self.collections[name], tree)
        return -log_prob

    def log_prob(self, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """See `Flow.log_prob`."""
        return self.flow.log_prob(self.variables, x, context, key)

    def sample(
        self, key: Key, sample_shape: Shape = (), context: Array | None = None, temperature: float | Array = 1.0
    ) -> Array:
        """See `Flow.sample`."""
        return self.flow.sample(self.variables, key, sample_shape, context, temperature)

    def sample_and_log_prob(
        self, key: Key, sample_shape: Shape = (), context: Array | None = None, temperature: float | Array = 1.0
    ) -> tuple[Array, Array]:
        """See `Flow.sample_and_log_prob`."""
        return self.flow.sample_and_log_prob(self.variables, key, sample_shape, context, temperature)

    def encode(self, x: Array, context: Array | None = None, key: Key | None = None) -> tuple[Array, Array]:
        """See `Flow.encode`."""
        return self.flow.encode(self.variables, x, context, key)

    def decode(self, z: Array, context: Array | None = None, key: Key | None = None) -> tuple[Array, Array]:
        """See `Flow.decode`."""
        return self.flow.decode(self.variables, z, context, key)

"""`Base`: the contract of a base distribution."""

import abc

from flax import linen as nn

from jflows.typing import Array, Key, Shape


class Base(nn.Module, abc.ABC):
    """The density that a flow starts from, over events of shape `event_shape`.

    A concrete base is a Linen module, so it may own parameters. `context` arrives with the
    batch axes in front, or as None. Temperature multiplies the deviation of a sample from the mean; `log_prob` is
    always that of the untempered distribution.

    Args:
      event_shape: of z.
    """

    event_shape: Shape

    @abc.abstractmethod
    def sample(self, key: Key, shape: Shape, context: Array | None = None, temperature: float | Array = 1.0) -> Array:
        """Draws `shape` samples: -> [*shape, *event_shape]. With a context, `shape` ends with its batch shape."""

    @abc.abstractmethod
    def log_prob(self, z: Array, context: Array | None = None) -> Array:
        """log density in nats: [*batch, *event_shape] -> [*batch], float32 or wider. It may exceed 0."""

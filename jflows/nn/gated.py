"""`Gated`: lets the output of any network of your own start at zero, as that of the conditioners of jflows does."""

import jax.numpy as jnp
from flax import linen as nn

from jflows.errors import InvalidValueError
from jflows.modules import Module, Network, check_takes
from jflows.nn.convnet import ConvNet, ZeroConv
from jflows.nn.gated_conv import GatedConvNet
from jflows.nn.made import MADE
from jflows.nn.mlp import MLP, ResidualMLP
from jflows.nn.resnet import ResidualConvNet
from jflows.nn.transformer import Transformer
from jflows.nn.wavenet import WaveNet
from jflows.typing import Array

STARTS_AT_ZERO = (MLP, ResidualMLP, MADE, ConvNet, ZeroConv, ResidualConvNet, GatedConvNet, Transformer, WaveNet)


class Gated(Module):
    """A conditioner times a learned gate per feature that starts at zero.

        y = gate * network(x, num_features, context)

    With a gate, a new coupling starts at the map of zero parameters; without one, it starts at whatever map the network
    gives. The conditioners of jflows start at zero by their last layer and need no gate. They are refused here, as a
    product of two zeros would never learn.

    Args:
      network: a network with `__call__(x, num_features, context)`, whose output does not start at zero.
    Shapes:
      x: as the network takes it -> [..., num_features].
    Raises:
      InvalidTypeError: for a network without that `__call__`.
      InvalidValueError: for a network that starts at zero itself.
    """

    network: Network

    def _check(self) -> None:
        check_takes("Gated", "network", self.network, "x", "num_features", "context")
        if isinstance(self.network, STARTS_AT_ZERO):
            got, fix = type(self.network).__name__, "Use it without a gate."
            raise InvalidValueError("Gated", "network", "must not start at zero itself", got, fix)

    @nn.compact
    def __call__(self, x: Array, num_features: int, context: Array | None = None) -> Array:
        gate = self.param("gate", nn.initializers.zeros, (num_features,), jnp.result_type(x))
        return gate * jnp.asarray(self.network(x, num_features, context))

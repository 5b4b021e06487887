"""`Network`: what the networks of jflows have in common. A network of your own may be any Linen module instead."""

from flax import linen as nn

from jflows.options import Checked


class Network(Checked, nn.Module):
    """A Linen module whose fields are checked by their annotations when it is made: see `jflows.options.Checked`."""

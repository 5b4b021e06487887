"""Conditioners: ordinary Flax modules that turn the kept part of an event into the parameters of a bijector."""

from jflows.nn.activations import ACTIVATIONS
from jflows.nn.convnet import ConvNet, ZeroConv
from jflows.nn.embed import ClassEmbed, ContextTerm
from jflows.nn.lipschitz import LIPSCHITZ_ACTIVATIONS, LipschitzConvNet, LipschitzMLP
from jflows.nn.mlp import MLP
from jflows.nn.time import TimeMLP

__all__ = [
    "ACTIVATIONS",
    "LIPSCHITZ_ACTIVATIONS",
    "MLP",
    "ClassEmbed",
    "ContextTerm",
    "ConvNet",
    "LipschitzConvNet",
    "LipschitzMLP",
    "TimeMLP",
    "ZeroConv",
]

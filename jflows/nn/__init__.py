"""Conditioners: ordinary Flax modules that turn the kept part of an event into the parameters of a bijector."""

from jflows.nn.activations import ACTIVATIONS
from jflows.nn.convnet import ConvNet, ZeroConv
from jflows.nn.embed import ClassEmbed, ContextEmbed, ContextTerm
from jflows.nn.made import MADE
from jflows.nn.mlp import MLP, ResidualMLP
from jflows.nn.resnet import GatedConvNet, ResidualConvNet, WeightNormConv
from jflows.nn.transformer import Transformer
from jflows.nn.zero import zero_dense

__all__ = [
    "ACTIVATIONS",
    "MADE",
    "MLP",
    "ClassEmbed",
    "ContextEmbed",
    "ContextTerm",
    "ConvNet",
    "GatedConvNet",
    "ResidualConvNet",
    "ResidualMLP",
    "Transformer",
    "WeightNormConv",
    "ZeroConv",
    "zero_dense",
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

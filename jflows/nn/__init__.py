"""Conditioners: ordinary Flax modules that turn the kept part of an event into the parameters of a bijector."""

from jflows.nn.classifier import ConvClassifier
from jflows.nn.convnet import ConvNet, ZeroConv
from jflows.nn.embed import ClassEmbed, ContextEmbed, ContextTerm
from jflows.nn.gated import Gated
from jflows.nn.gated_conv import ColumnPairFeatures, GatedConvNet
from jflows.nn.layers import ACTIVATIONS, zero_dense
from jflows.nn.lipschitz import LIPSCHITZ_ACTIVATIONS, LipschitzConvNet, LipschitzMLP
from jflows.nn.made import MADE
from jflows.nn.mlp import MLP, ResidualMLP
from jflows.nn.resnet import ResidualConvNet, WeightNormConv
from jflows.nn.standardize import StandardizeContext
from jflows.nn.time import TimeMLP
from jflows.nn.transformer import Transformer
from jflows.nn.wavenet import UpsampledContext, WaveNet

__all__ = [
    "ACTIVATIONS",
    "LIPSCHITZ_ACTIVATIONS",
    "MADE",
    "MLP",
    "ClassEmbed",
    "ColumnPairFeatures",
    "ContextEmbed",
    "ContextTerm",
    "ConvClassifier",
    "ConvNet",
    "Gated",
    "GatedConvNet",
    "LipschitzConvNet",
    "LipschitzMLP",
    "ResidualConvNet",
    "ResidualMLP",
    "StandardizeContext",
    "TimeMLP",
    "Transformer",
    "UpsampledContext",
    "WaveNet",
    "WeightNormConv",
    "ZeroConv",
    "zero_dense",
]

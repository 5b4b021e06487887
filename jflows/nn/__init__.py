"""Conditioners: ordinary Flax modules that turn the kept part of an event into the parameters of a bijector."""

from jflows.nn.activations import ACTIVATIONS
from jflows.nn.convnet import ConvNet, ZeroConv
from jflows.nn.embed import ClassEmbed, ContextTerm
from jflows.nn.mlp import MLP

__all__ = ["ACTIVATIONS", "MLP", "ClassEmbed", "ContextTerm", "ConvNet", "ZeroConv"]

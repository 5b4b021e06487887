"""Flows: the `Flow` facade, mixtures of flows, and the presets."""

from jflows.flows.density import Density
from jflows.flows.dequantize import Dequantize, UniformDequantize, VariationalDequantize
from jflows.flows.flow import Flow
from jflows.flows.flow_matching import flow_matching_loss
from jflows.flows.mixture import MixtureOfFlows
from jflows.flows.mixture_presets import flow_gmm, mixture_of_flows
from jflows.flows.presets import glow, glow_step
from jflows.flows.vectors import iaf, made, maf, nice, normal, nsf_autoregressive, nsf_coupling, realnvp
from jflows.spec import register

for _cls in (UniformDequantize, VariationalDequantize):
    register(_cls)

__all__ = [
    "Density",
    "Dequantize",
    "Flow",
    "MixtureOfFlows",
    "UniformDequantize",
    "VariationalDequantize",
    "flow_gmm",
    "flow_matching_loss",
    "glow",
    "glow_step",
    "iaf",
    "made",
    "maf",
    "mixture_of_flows",
    "nice",
    "normal",
    "nsf_autoregressive",
    "nsf_coupling",
    "realnvp",
]

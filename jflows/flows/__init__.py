"""Densities: `Flow`, mixtures of flows, and the presets that make them; every preset is a name of this package."""

from typing import TYPE_CHECKING

from jflows.data.domains import Domains
from jflows.flows.columns import DequantizeColumns
from jflows.flows.density import BITS_PER_DIM, NATS, Density, Unit
from jflows.flows.dequantize import Dequantize, ImageDequantize, UniformDequantize, VariationalDequantize
from jflows.flows.flow import Flow
from jflows.flows.flow_matching import flow_matching_loss
from jflows.flows.mixture import MixtureOfFlows
from jflows.flows.mixture_of import mixture_of_flows, with_mixture_base
from jflows.flows.presets import PRESETS, preset
from jflows.flows.presets.glow import glow_step
from jflows.flows.programs import Program, named_arrays, programs
from jflows.flows.rebase import with_base, with_latent_flow
from jflows.spec import register

if TYPE_CHECKING:
    from jflows.flows.presets import *  # noqa: F403

for _cls in (DequantizeColumns, Domains, UniformDequantize, VariationalDequantize):
    register(_cls)
globals().update(PRESETS)

__all__ = [
    "BITS_PER_DIM",
    "NATS",
    "PRESETS",
    "Density",
    "Dequantize",
    "DequantizeColumns",
    "Flow",
    "ImageDequantize",
    "MixtureOfFlows",
    "Program",
    "UniformDequantize",
    "Unit",
    "VariationalDequantize",
    "flow_matching_loss",
    "glow_step",
    "mixture_of_flows",
    "named_arrays",
    "preset",
    "programs",
    "with_base",
    "with_latent_flow",
    "with_mixture_base",
]

"""Presets: complete flows of the literature, one file a family. A new one is a file, and a line here.

Start at `jflows/flows/presets/preset.py`.
"""

from jflows.flows.presets.autoregressive import iaf as iaf
from jflows.flows.presets.autoregressive import made as made
from jflows.flows.presets.autoregressive import maf as maf
from jflows.flows.presets.autoregressive import nsf_autoregressive as nsf_autoregressive
from jflows.flows.presets.coupling import nice as nice
from jflows.flows.presets.coupling import nsf_coupling as nsf_coupling
from jflows.flows.presets.coupling import realnvp as realnvp
from jflows.flows.presets.flow_plus_plus import flow_plus_plus as flow_plus_plus
from jflows.flows.presets.glow import glow as glow
from jflows.flows.presets.mixtures import flow_gmm as flow_gmm
from jflows.flows.presets.mixtures import vmonf as vmonf
from jflows.flows.presets.nice_images import nice_images as nice_images
from jflows.flows.presets.normal import normal as normal
from jflows.flows.presets.preset import PRESETS as PRESETS
from jflows.flows.presets.preset import preset as preset
from jflows.flows.presets.realnvp_images import realnvp_images as realnvp_images
from jflows.flows.presets.residual import residual as residual
from jflows.flows.presets.residual_images import residual_images as residual_images
from jflows.flows.presets.spline_glow import spline_glow as spline_glow
from jflows.flows.presets.waveglow import waveglow as waveglow

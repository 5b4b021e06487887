"""The normal distribution as a flow without layers: the baseline of density estimation."""

from jflows.bijectors import Identity
from jflows.distributions import FullNormal
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset


@preset
def normal(event_shape: s.EventShape, *, standardize: s.StandardizeData = True) -> Flow:
    """A normal with learned mean and full covariance; `jflows.eval.gaussian_baseline` fits it in closed form."""
    s.check_vector("normal", event_shape)
    return s.vector_flow(Identity(), FullNormal(event_shape), None, standardize)

"""The normal distribution as a flow without layers: the baseline of density estimation."""

from jflows.bijectors import Identity
from jflows.distributions import FullNormal
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset


@preset
def normal(
    event_shape: s.EventShape, *, standardize: s.StandardizeData = True, domains: s.ColumnDomains = None
) -> Flow:
    """A normal with learned mean and full covariance; `jflows.eval.gaussian_baseline` fits it in closed form."""
    columns = s.columns("normal", event_shape, domains)
    return s.vector_flow(Identity(), FullNormal(columns.latent_shape), None, standardize, columns)

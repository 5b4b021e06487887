"""Data-dependent initialisation of a mixture of flows: which rows, and which statistics, each component sees."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jflows.bijectors.actnorm import warn_of_constant_channels
from jflows.data.reading import Statistics
from jflows.flows import door
from jflows.flows.flow import Flow
from jflows.flows.mixture_parts import join, over_components, part
from jflows.flows.once import jit_once
from jflows.ops.clustering import kmeans
from jflows.typing import Array, Key, Variables

if TYPE_CHECKING:
    from jflows.flows.mixture import MixtureOfFlows


@jit_once(static_argnames=("mixture", "statistics"))
def init_mixture(
    mixture: "MixtureOfFlows",
    key: Key,
    x: Array,
    context: Array | None,
    statistics: Statistics | None,
    assignment: Array | None,
) -> Variables:
    """The variables of all parts; see `MixtureOfFlows.init` for the arguments. The context is without labels."""
    trunk_key, encoder_key, cluster_key, noise_key, components_key = jax.random.split(key, 5)
    num_components, inner, parts = mixture.num_components, x, {}
    if mixture.trunk is not None:
        parts["trunk"] = mixture.trunk.init(trunk_key, x, context, statistics)
        inner = mixture.trunk.encode(parts["trunk"], x, context, noise_key)[0]
    if mixture.encoder is not None:
        encoder = mixture.encoder_module(mixture.encoder)
        parts["encoder"] = encoder.init(encoder_key, x, context, statistics, method="start")
    if assignment is None and mixture.start == "kmeans":
        points = inner.reshape(len(inner), -1).astype(jnp.promote_types(inner.dtype, jnp.float32))
        assignment = kmeans(cluster_key, points, num_components)[1]
    of_components = None
    if assignment is None:
        of_components = statistics if mixture.trunk is None else None  # behind a trunk, columns are other ones
        rows = jnp.broadcast_to(jnp.arange(len(inner)), (num_components, len(inner)))
    else:
        rows = _rows_of_clusters(cluster_key, assignment, num_components)
    if context is not None:
        context = jnp.broadcast_to(context, (len(inner), *(mixture.context_shape or ())))

    def run(flow: Flow, _: Variables, key: Key, rows: Array):
        own = mixture.context_of(flow, context)
        return (), flow.init(key, inner[rows], None if own is None else own[rows], of_components)

    keys = jax.random.split(components_key, num_components)
    parts["components"] = over_components(mixture.components, run, {}, keys, rows)[1]
    variables = join(parts)
    if mixture.weights == "learned":
        variables["params"]["log_weights"] = jnp.zeros(num_components, door.type_of_variables(inner))
    return variables


def warn_of_constants(mixture: "MixtureOfFlows", variables: Variables) -> None:
    """Warns of constant channels in trunk and components, as `Flow.init` does."""
    own, components = part(variables, "components"), mixture.components
    flows = [] if mixture.trunk is None else [(mixture.trunk, part(variables, "trunk"))]
    flows += (
        [(components[0], own)] if len(components) == 1 else [(c, part(own, str(k))) for k, c in enumerate(components)]
    )
    for flow, of_flow in flows:
        params = of_flow.get("params", {}).get("bijector", {})
        warn_of_constant_channels("MixtureOfFlows.init", flow.bijector, params)


def _rows_of_clusters(key: Key, assignment: Array, num_components: int) -> Array:
    """Rows of each cluster, drawn with replacement; of all, where a cluster is empty: [K, num]."""
    member = assignment == jnp.arange(num_components)[:, None]
    member = member | ~jnp.any(member, axis=1, keepdims=True)
    # Members first, of which one is drawn: `categorical` would draw noise of shape [K, num, num].
    order = jnp.argsort(~member, axis=1, stable=True)
    drawn = jax.random.randint(key, member.shape, 0, jnp.sum(member, axis=1, keepdims=True))
    return jnp.take_along_axis(order, drawn, axis=1)

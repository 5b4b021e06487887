"""Losses: functions of (flow, variables, batch, key) that give one number per example."""

from jflows.eval.bits import example_keys
from jflows.flows import Density, Flow, flow_matching_loss
from jflows.typing import Array, Batch, Key, Variables


def negative_log_likelihood(flow: Density, variables: Variables, batch: Batch, key: Key) -> tuple[Array, Variables]:
    """-log p(x) in nats per event; dequantization noise is drawn per example.

    Returns:
      nll: [batch], and the updated collections (batch statistics), {} for most flows.
    """
    keys = example_keys(key, batch.index) if flow.needs_key else None
    log_prob, updates = flow.apply_loss(variables, batch.x, batch.context, keys)
    return -log_prob, updates


def flow_matching(flow: Flow, variables: Variables, batch: Batch, key: Key) -> tuple[Array, Variables]:
    """`jflows.flows.flow_matching_loss` for `fit(..., loss=flow_matching)`: not nats, so its bits_per_dim says nothing.

    Returns:
      loss: [batch], and no updated collections.
    """
    return flow_matching_loss(flow, variables, batch.x, example_keys(key, batch.index), batch.context), {}

"""Flows as NNX modules: they train in NNX's loop, come back from a checkpoint, and hold constants fixed."""

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.errors import InvalidTypeError
from jflows.interop.nnx import Constant, NNXFlow
from jflows.nn import MLP

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
A, B = np.random.default_rng(0).normal(size=(2, 64))
X = jax.device_put(np.stack([3 + 2 * A, A**2 + 0.3 * B], axis=-1))


def make() -> tuple[jflows.Flow, dict]:
    coupling = b.Coupling(MLP((4,), "tanh"), b.Affine())
    bijector = b.Chain((b.RandomPermutation(), coupling, b.BatchNorm(), b.Elementwise(b.Affine())))
    flow = jflows.Flow(bijector, d.StandardNormal((2,)), (2,))
    return flow, flow.init(KEY, X)


@nnx.jit
def train_step(model, optimizer, x):
    loss, gradients = nnx.value_and_grad(lambda model: model.loss(x).mean())(model)
    optimizer.update(model, gradients)
    return loss


def test_a_flow_trains_in_a_loop_of_nnx_and_comes_back_from_a_checkpoint(tmp_path):
    flow, variables = make()
    model = NNXFlow(flow, variables)
    optimizer = nnx.Optimizer(model, optax.adam(3e-2), wrt=nnx.Param)
    losses = [float(train_step(model, optimizer, X)) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.3
    after = model.variables
    jax.tree.map(np.testing.assert_array_equal, after["constants"], variables["constants"])
    assert all(
        np.any(a != b)
        for a, b in zip(*map(jax.tree.leaves, (after["batch_stats"], variables["batch_stats"])), strict=True)
    )
    np.testing.assert_allclose(model.log_prob(X), flow.log_prob(after, X), rtol=1e-12)

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", nnx.state((model, optimizer)))
    fresh = NNXFlow(*make())
    fresh_optimizer = nnx.Optimizer(fresh, optax.adam(3e-2), wrt=nnx.Param)
    with ocp.StandardCheckpointer() as checkpointer:
        nnx.update(
            (fresh, fresh_optimizer), checkpointer.restore(tmp_path / "state", nnx.state((fresh, fresh_optimizer)))
        )
    jax.tree.map(np.testing.assert_array_equal, fresh.variables, after)
    assert float(train_step(fresh, fresh_optimizer, X)) == float(train_step(model, optimizer, X))


def test_methods_are_those_of_the_flow():
    flow, variables = make()
    model = NNXFlow(flow, variables)
    assert len(jax.tree.leaves(nnx.state(model, Constant))) == 1  # the permutation
    x, log_prob = model.sample_and_log_prob(KEY, (3,))
    np.testing.assert_array_equal(x, model.sample(KEY, (3,)))
    np.testing.assert_allclose(log_prob, flow.log_prob(variables, x), rtol=1e-10)
    z, log_det = model.encode(x)
    back, back_log_det = model.decode(z)
    np.testing.assert_allclose(back, x, rtol=1e-10)
    np.testing.assert_allclose(back_log_det, -log_det, rtol=1e-10)
    with pytest.raises(InvalidTypeError, match="NNXFlow: `flow` must be a Flow; got Reverse"):
        NNXFlow(b.Reverse(), {})


def test_equinox_users_hold_variables_as_a_tree_of_arrays():
    """As an `equinox.Module` does, with the flow as a static field: pure functions need no bridge."""
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        variables: dict
        flow: jflows.Flow = eqx.field(static=True)

        def __call__(self, x):
            return self.flow.log_prob(self.variables, x)

    flow = jflows.Flow(b.Elementwise(b.Affine()), d.StandardNormal((2,)), (2,))
    variables = flow.init(KEY, X)
    model = Model(variables, flow)

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model, x):
        return -model(x).mean()

    value, slope = loss(model, X)
    np.testing.assert_allclose(value, -flow.log_prob(variables, X).mean(), rtol=1e-12)
    wanted = jax.grad(lambda params: -flow.log_prob({**variables, "params": params}, X).mean())(variables["params"])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    jax.tree.map(close, slope.variables["params"], wanted)

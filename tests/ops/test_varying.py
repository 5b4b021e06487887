"""Loops inside `jax.shard_map`: carries that start as constants, and nothing added anywhere else."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

import jflows
from jflows.ops import varying

X = jnp.arange(8.0)
LOOPS = {
    "scan": (lambda ops, x: ops.scan(lambda c, y: (c + x.sum() * y, c), jnp.zeros(()), np.arange(3.0))[0]),
    "two_carries": (lambda ops, x: ops.scan(lambda c, _: ((c[1], c[1] + x.sum()), None), (0.0, 0.0), X[:3])[0][0]),
    "while_loop": (
        lambda ops, x: ops.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + x.sum()), (0, 0.0))[1]
    ),
    "fori_loop": (lambda ops, x: ops.fori_loop(0, 3, lambda i, c: c + i * x.sum(), jnp.zeros(()))),
    "number_varies": (lambda ops, x: ops.fori_loop(0, x[0].astype(int), lambda i, c: c + 1.0, jnp.zeros(()))),
}


def sharded(run, check_vma: bool = True):
    mesh = jax.make_mesh((8,), ("d",), (jax.sharding.AxisType.Auto,))
    return jax.jit(jax.shard_map(run, mesh=mesh, in_specs=P("d"), out_specs=P("d"), check_vma=check_vma))


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.by_default("scan", "while_loop", "fori_loop")
def test_a_first_carry_may_be_a_constant(name):
    run = LOOPS[name]
    wanted = [run(lax, x[None]) for x in X]
    np.testing.assert_allclose(sharded(lambda x: run(varying, x)[None])(X), wanted)


@pytest.mark.parametrize("name", [name for name in LOOPS if name != "number_varies"])
def test_jax_itself_refuses_such_a_carry(name):
    """When this fails, JAX casts carries, and `jflows.ops.varying` may go."""
    with pytest.raises(TypeError, match="pcast|pvary|varying"):
        sharded(lambda x: LOOPS[name](lax, x)[None])(X)


@pytest.mark.parametrize("name", LOOPS)
def test_nothing_is_added_elsewhere(name):
    run = LOOPS[name]
    programs = [jax.jit(lambda x, ops=ops: run(ops, x)).lower(X[:1]).as_text() for ops in (varying, lax)]
    assert programs[0] == programs[1]
    programs = [
        sharded(lambda x, ops=ops: run(ops, x)[None], check_vma=False).lower(X).as_text() for ops in (varying, lax)
    ]
    assert programs[0] == programs[1]


def test_casts_are_alike_and_their_gradient_is_the_sum():
    def run(weight, x):
        cast, tree = varying.vary_alike(weight, {"x": x})
        assert varying.varying_axes(cast) == varying.varying_axes(tree["x"]) == {"d"}
        return cast * x

    mesh = jax.make_mesh((8,), ("d",), (jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d"))
    np.testing.assert_allclose(jax.grad(lambda w: mapped(w, X).sum())(2.0), X.sum())
    assert varying.varying_axes(X) == frozenset()
    assert varying.vary_alike(X)[0] is X


def test_all_of_jflows_loops_through_it():
    """Steps of training run under `shard_map` with check_vma=False, and chains of BlackJAX never under it."""
    root = Path(jflows.__file__).parent
    loops = re.compile(r"(?<![\w`])(?:jax\.)?lax\.(?:scan|while_loop|fori_loop)\(")
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if loops.search(path.read_text())}
    own = {"train/step.py", "train/sharding.py", "interop/blackjax/chains.py", "interop/blackjax/particles.py"}
    assert found <= {"ops/varying.py", *own}

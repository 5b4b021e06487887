"""Every preset under every transformation of JAX, in scoring and in sampling: each gives the plain values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jflows.flows.mixture import MixtureOfFlows
from jflows.testing.common import perturb
from tests.presets import PRESETS, build, data_of

ROWS, DEVICES = 4, 2
METHODS = ("log_prob", "sample")
TIGHT, LOOSE = 1e-9, 1e-5
GRADIENTS = ("grad", "checkpoint")

# (preset, transform, method) -> why there is no such value.
IMPOSSIBLE = {
    (name, transform, "sample"): "samples are integers, which have no derivatives"
    for name in PRESETS
    if name.startswith("glow")
    for transform in GRADIENTS
}


class Case:
    """One method of one preset as a function of variables and rows: of data, or of keys."""

    def __init__(self, name: str, method: str, width: int, depth: int):
        self.density, self.method = build(name, width, depth), method
        x, keys = data_of(self.density, 64), jax.random.split(jax.random.key(1), ROWS)
        self.variables = perturb(self.density.init(jax.random.key(0), x), 0, 0.1, jnp.float64)
        self.rows = keys if method == "sample" else (x[:ROWS], keys)
        self.run = getattr(self, method)
        self.jitted = jax.jit(self.run)
        self.plain = self.run(self.variables, self.rows)

    def log_prob(self, variables, rows):
        x, keys = rows
        return self.density.log_prob(variables, x, key=keys if self.density.dequantize else None)

    def sample(self, variables, rows):
        if isinstance(self.density, MixtureOfFlows):  # one key draws the components of all samples
            return jax.vmap(lambda key: self.density.sample(variables, key))(rows)
        return self.density.sample(variables, rows, rows.shape)

    def loss(self, params, rows):
        values = self.run({**self.variables, "params": params}, rows)
        return jnp.sum(jnp.sin(values)), values

    @functools.cached_property
    def gradient(self):
        (_, values), grads = jax.jit(jax.value_and_grad(self.loss, has_aux=True))(self.variables["params"], self.rows)
        return values, grads


@functools.cache
def case_of(name: str, method: str, width: int, depth: int) -> Case:
    return Case(name, method, width, depth)


def same(got, wanted, tol: float = TIGHT) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def check_jit(case: Case) -> None:
    same(case.jitted(case.variables, case.rows), case.plain)


def check_vmap(case: Case) -> None:
    """Over an ensemble of variables."""
    others = perturb(case.variables, 1, 0.1, jnp.float64)
    ensemble = jax.tree.map(lambda *leaves: jnp.stack(leaves), case.variables, others)
    values = jax.jit(jax.vmap(case.run, (0, None)))(ensemble, case.rows)
    same(values[0], case.plain)
    same(values[1], case.jitted(others, case.rows))


def check_grad(case: Case) -> None:
    """The derivative along a random direction is that of central differences."""
    values, grads = case.gradient
    same(values, case.plain)
    params, step = case.variables["params"], 1e-5
    direction = jax.tree.map(lambda p, q: q - p, params, perturb(params, 2, 1.0, jnp.float64))
    ends = [
        case.jitted({**case.variables, "params": jax.tree.map(lambda p, d: p + s * step * d, params, direction)}, case.rows)
        for s in (1, -1)
    ]
    slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
    same(slope, (jnp.sum(jnp.sin(ends[0])) - jnp.sum(jnp.sin(ends[1]))) / (2 * step), LOOSE)


def check_checkpoint(case: Case) -> None:
    loss = jax.checkpoint(case.loss)
    (_, values), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(case.variables["params"], case.rows)
    same((values, grads), case.gradient)


def check_scan(case: Case) -> None:
    def step(total, row):
        value = case.run(case.variables, jax.tree.map(lambda leaf: leaf[None], row))[0]
        return total + jnp.sum(value), value

    total, values = jax.jit(lambda rows: jax.lax.scan(step, jnp.zeros(()), rows))(case.rows)
    same(values, case.plain)


def check_shard_map(case: Case) -> None:
    """Values of rows on several devices, and gradients that add up over them, with `check_vma=True`."""
    mesh = jax.make_mesh((DEVICES,), ("rows",), (jax.sharding.AxisType.Auto,))
    differentiable = jnp.issubdtype(case.plain.dtype, jnp.inexact)

    def run(variables, rows):
        return case.run(variables, rows)

    def run_with_gradient(variables, rows):
        case.variables, kept = variables, case.variables
        (_, values), grads = jax.value_and_grad(case.loss, has_aux=True)(variables["params"], rows)
        case.variables = kept
        return values, grads

    specs = {"mesh": mesh, "in_specs": (P(), P("rows"))}
    if not differentiable:
        return same(jax.jit(jax.shard_map(run, **specs, out_specs=P("rows")))(case.variables, case.rows), case.plain)
    sharded = jax.jit(jax.shard_map(run_with_gradient, **specs, out_specs=(P("rows"), P())))
    return same(sharded(case.variables, case.rows), case.gradient)


def check_pmap(case: Case) -> None:
    split = jax.tree.map(lambda leaf: leaf.reshape(DEVICES, -1, *leaf.shape[1:]), case.rows)
    values = jax.pmap(case.run, in_axes=(None, 0))(case.variables, split)
    same(values.reshape(case.plain.shape), case.plain)


def check_export(case: Case) -> None:
    """Lowers for accelerators, without a call to a kernel that only a CPU has."""
    exported = jax.export.export(case.jitted, platforms=("cuda", "tpu"))(case.variables, case.rows)
    assert exported.platforms == ("cuda", "tpu") and "lapack" not in exported.mlir_module()


TRANSFORMS = {
    "jit": check_jit,
    "vmap": check_vmap,
    "grad": check_grad,
    "checkpoint": check_checkpoint,
    "scan": check_scan,
    "shard_map": check_shard_map,
    "pmap": check_pmap,
    "export": check_export,
}


def cells(*sizes):
    for size in sizes:
        for name in PRESETS:
            for method in METHODS:
                for transform in TRANSFORMS:
                    if (name, transform, method) not in IMPOSSIBLE:
                        yield pytest.param(name, method, transform, *size, id=f"{name}-{method}-{transform}")


@pytest.mark.parametrize(("name", "method", "transform", "width", "depth"), list(cells((4, 2))))
def test_values_are_the_plain_ones(name, method, transform, width, depth):
    TRANSFORMS[transform](case_of(name, method, width, depth))

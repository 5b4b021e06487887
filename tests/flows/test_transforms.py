"""Every preset under every transformation of JAX, in scoring and in sampling: each gives the plain values.

By default each cell of the table is traced, which is where a transformation that does not fit fails, and a few presets
run under all of them at once. With `-m slow` all do, and each cell is also run as a program of its own: compiling takes
a second or more for each of 500.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jflows.flows.mixture import MixtureOfFlows
from tests.presets import PRESETS, build, data_of, filled

ROWS, DEVICES, MEMBERS = 4, 2, 2
METHODS = ("log_prob", "sample")
TIGHT, LOOSE = 1e-9, 1e-5
SMALL, LARGE = (4, 2), (8, 3)  # width and depth
# By default runs what is hand-written: replayed activations, inversions, convolutions, implicit gradients.
RUN = ("glow_invertible", "log_prob"), ("residual", "log_prob")  # the rest is slow: tracing shows nearly all faults
IMPLIED = ("jit", "grad", "shard_map_grad")  # slow: "checkpoint", what is run and test_programs.py have them
REPEATED = (  # other presets have their parts
    *("glow", "glow_remat", "glow_anchored", "spline_glow", "spline_glow_invertible"),
    *("nsf_autoregressive", "flow_gmm", "residual_images"),
)
BY_PMAP = ("realnvp_invertible", "glow_invertible", "residual", "planar")  # the rest is slow: it is shard_map in jit

# (preset, transform, method) -> why there is no such value.
IMPOSSIBLE = {
    (name, transform, "sample"): "samples are integers, which have no derivatives"
    for name in PRESETS
    if build(name).reading.num_bits is not None
    for transform in ("grad", "checkpoint", "shard_map_grad")
}


class Case:
    """One method of one preset as a function of variables and rows: of data, or of keys."""

    def __init__(self, name: str, method: str, width: int, depth: int):
        self.density = build(name, width, depth)
        x, keys = data_of(self.density, ROWS), jax.random.split(jax.random.key(1), ROWS)
        self.method, self.rows = method, keys if method == "sample" else (x, keys)
        shapes = jax.eval_shape(self.density.init, jax.random.key(0), x)
        self.variables, self.others = (filled(shapes, seed) for seed in range(MEMBERS))
        self.jitted = jax.jit(self.run)
        self.is_differentiable = jnp.issubdtype(jax.eval_shape(self.run, self.variables, self.rows).dtype, jnp.inexact)

    def run(self, variables, rows):
        if self.method == "log_prob":
            x, keys = rows
            return self.density.log_prob(variables, x, key=keys if self.density.dequantize else None)
        if isinstance(self.density, MixtureOfFlows):  # one key draws the components of all samples
            return jax.vmap(lambda key: self.density.sample(variables, key))(rows)
        return self.density.sample(variables, rows, rows.shape)

    def loss(self, params, variables, rows):
        values = self.run({**variables, "params": params}, rows)
        return jnp.sum(jnp.sin(values)), values

    def values_and_grads(self, variables, rows, loss=None):
        """Values of all rows, and the gradient of a sum over them."""
        loss = jax.value_and_grad(loss or self.loss, has_aux=True)
        (_, values), grads = loss(variables["params"], variables, rows)
        return values, grads

    @functools.cached_property
    def plain(self):
        return self.jitted(self.variables, self.rows)

    @functools.cached_property
    def slope(self):
        """The derivative of the loss along a direction, by central differences, and that direction."""
        params, step = self.variables["params"], 1e-7  # so small, as the sine of a deep flow turns within 1e-4
        direction = filled(params, 7)
        moved = lambda sign: jax.tree.map(lambda p, d: p + sign * step * d, params, direction)
        ends = [self.jitted({**self.variables, "params": moved(sign)}, self.rows) for sign in (1, -1)]
        return (jnp.sum(jnp.sin(ends[0])) - jnp.sum(jnp.sin(ends[1]))) / (2 * step), direction


def same(got, wanted, tol: float = TIGHT) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def same_slope(grads, case: Case) -> None:
    wanted, direction = case.slope
    pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True)
    same(sum(jnp.vdot(grad, step) for grad, step in pairs), wanted, LOOSE)


def stacked(*trees):
    """By NumPy: JAX would compile a program for every shape."""
    return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *trees)


def sharded(run, out_specs):
    """Rows on several devices, with `check_vma=True`."""
    mesh = jax.make_mesh((DEVICES,), ("rows",), (jax.sharding.AxisType.Auto,))
    return jax.shard_map(run, mesh=mesh, in_specs=(P(), P("rows")), out_specs=out_specs)


def by_row(run):
    """`run(variables, rows)` by a scan over rows."""
    one = lambda variables, row: run(variables, jax.tree.map(lambda leaf: leaf[None], row))[0]
    return lambda variables, rows: jax.lax.scan(lambda _, row: (None, one(variables, row)), None, rows)[1]


def of_jit(case):
    return case.run, case.variables, case.rows


def of_vmap(case):
    """Over an ensemble of variables."""
    return jax.vmap(case.run, (0, None)), stacked(case.variables, case.others), case.rows


def of_grad(case):
    return case.values_and_grads, case.variables, case.rows


def of_checkpoint(case):
    return functools.partial(case.values_and_grads, loss=jax.checkpoint(case.loss)), case.variables, case.rows


def of_scan(case):
    return by_row(case.run), case.variables, case.rows


def of_shard_map(case):
    return sharded(case.run, P("rows")), case.variables, case.rows


def of_shard_map_grad(case):
    """The gradient of a sum over rows is the sum over devices."""
    return sharded(case.values_and_grads, (P("rows"), P())), case.variables, case.rows


def of_pmap(case):
    split = jax.tree.map(lambda leaf: leaf.reshape(DEVICES, -1, *leaf.shape[1:]), case.rows)
    return jax.pmap(case.run, in_axes=(None, 0)), case.variables, split


TRANSFORMS = {
    "jit": of_jit,
    "vmap": of_vmap,
    "grad": of_grad,
    "checkpoint": of_checkpoint,
    "scan": of_scan,
    "shard_map": of_shard_map,
    "shard_map_grad": of_shard_map_grad,
    "pmap": of_pmap,
}


@functools.cache
def case_of(name: str, method: str, width: int, depth: int) -> Case:
    return Case(name, method, width, depth)


def cells(*sizes):
    return [
        pytest.param(name, method, transform, size, id=f"{name}-{method}-{transform}-{size[0]}x{size[1]}")
        for size in sizes
        for name in PRESETS
        for method in METHODS
        for transform in TRANSFORMS
        if (name, transform, method) not in IMPOSSIBLE
    ]


def traced():
    """`cells`, of which those that others imply are slow."""
    for cell in cells(SMALL):
        name, _, transform, _ = cell.values
        is_implied = transform in IMPLIED or (transform == "pmap" and name not in BY_PMAP)
        if is_implied or (name in REPEATED and transform != "shard_map"):
            cell = pytest.param(*cell.values, id=cell.id, marks=pytest.mark.slow)
        yield cell


def run_by_default():
    pairs = itertools.product(PRESETS, METHODS)
    return [pytest.param(*pair, marks=[] if pair in RUN else [pytest.mark.slow]) for pair in pairs]


@pytest.mark.parametrize(("name", "method", "transform", "size"), list(traced()))
def test_every_cell_is_traced(name, method, transform, size):
    case = case_of(name, method, *size)
    run, variables, rows = TRANSFORMS[transform](case)
    out = jax.tree.leaves(jax.eval_shape(run, variables, rows))[0]
    event = () if method == "log_prob" else case.density.event_shape
    assert math.prod(out.shape) == (MEMBERS if transform == "vmap" else 1) * ROWS * math.prod(event)


@pytest.mark.parametrize(("name", "method"), run_by_default())
def test_all_at_once_gives_plain_values(name, method):
    """A scan over rows, rematerialised, differentiated, mapped over an ensemble, on several devices, compiled."""
    case = case_of(name, method, *SMALL)
    run, out_specs = by_row(case.run), P(None, "rows")
    if case.is_differentiable:

        def loss(params, variables, rows):
            values = by_row(case.run)({**variables, "params": params}, rows)
            return jnp.sum(jnp.sin(values)), values

        run, out_specs = functools.partial(case.values_and_grads, loss=jax.checkpoint(loss)), (out_specs, P())
    run = jax.jit(sharded(jax.vmap(run, (0, None)), out_specs))
    out = run(stacked(case.variables, case.others), case.rows)
    values = out[0] if case.is_differentiable else out
    same(values, stacked(case.plain, case.jitted(case.others, case.rows)))
    if case.is_differentiable:
        same_slope(jax.tree.map(lambda leaf: leaf[0], out[1]), case)


def test_gradients_through_an_inversion_lower_on_several_devices():
    """Tracing is not enough here: JAX checks types once more when it lowers a linear solve."""
    run, variables, rows = of_shard_map_grad(case_of("iaf", "log_prob", *SMALL))
    assert "all_reduce" in jax.jit(run).lower(variables, rows).as_text()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method", "transform", "size"), cells(SMALL, LARGE))
def test_every_cell_gives_plain_values(name, method, transform, size):
    case = case_of(name, method, *size)
    run, variables, rows = TRANSFORMS[transform](case)
    out = (run if transform == "pmap" else jax.jit(run))(variables, rows)
    values, grads = out if isinstance(out, tuple) else (out, None)
    if transform == "vmap":
        same(values, stacked(case.plain, case.jitted(case.others, case.rows)))
    else:
        same(values.reshape(case.plain.shape), case.plain)
    if grads is not None:
        same_slope(grads, case)


def test_cells_without_derivatives_are_integers():
    for name, _, method in IMPOSSIBLE:
        assert not case_of(name, method, *SMALL).is_differentiable

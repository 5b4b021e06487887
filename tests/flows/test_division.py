"""The rules by which parameters, average and optimizer are divided among devices."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jflows
from jflows.flows.division import divided_axis, division_of

SQUARE = (128, 128)  # 64 KiB of float32


def axis_of(shape, *names, num_devices=8, stacked=0):
    path = tuple(jax.tree_util.DictKey(name) for name in names)
    return divided_axis(path, jax.ShapeDtypeStruct(shape, jnp.float32), num_devices, stacked)


@pytest.mark.parametrize(
    ("shape", "names", "axis"),
    [
        ((256, 128), ("dense", "kernel"), 0),  # the largest
        (SQUARE, ("dense", "kernel"), 1),  # of equals the last
        ((130, 128), ("dense", "kernel"), 1),  # 8 does not divide 130
        ((130, 131), ("dense", "kernel"), None),
        ((127, 128), ("dense", "kernel"), None),  # below 64 KiB
        ((512, 64, 32), ("layers", "dense", "kernel"), 1),  # never the steps of a scan
        ((512, 512, 8), ("layers", "a", "layers", "kernel"), 2),  # of a scan in a scan
        ((512, 64, 32), ("components", "dense", "kernel"), 1),  # never the copies of a mixture
        ((512, 64), ("components", "0", "kernel"), 0),  # components of several architectures are not stacked
        ((16, 512, 9, 16), ("components", "layers", "kernel"), 3),
    ],
)
def test_the_axis_that_is_divided(shape, names, axis):
    assert axis_of(shape, *names) == axis
    assert axis_of(shape, *names, num_devices=1) is None
    in_ensemble = axis_of((8, *shape), *names, stacked=1)  # the first axis counts members, and is never divided
    assert in_ensemble is None if (8, *shape) == (8, 130, 131) else in_ensemble in (axis and axis + 1, 2, 1)


def test_a_division_counts_bytes_and_names_what_stays_whole():
    tree = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in {"a": SQUARE, "b": (131, 131)}.items()}
    found = division_of(tree, 4)
    assert found.bytes == 4 * (128**2 + 131**2) and found.device_bytes == 4 * (128**2 // 4 + 131**2)
    assert found.whole == ("b",)
    assert division_of(tree, 1) == (found.bytes, found.bytes, ())


def test_moments_are_divided_as_their_parameters_are():
    flow = jflows.realnvp((8,), num_layers=4, hidden_sizes=(64, 64))
    params = jax.eval_shape(flow.init, jax.random.key(0), jnp.zeros((4, 8)))["params"]
    moments = jax.eval_shape(optax.adam(1e-3).init, params)
    one, both = division_of(params, 4), division_of(moments, 4)
    assert one.device_bytes < one.bytes and both.device_bytes - 2 * one.device_bytes == 4  # and a count of steps

"""The preset `spline_glow`: the published size, its levels, its splines, every option, messages."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows.errors import InvalidValueError
from jflows.flows.presets import spline_glow
from jflows.testing import check_flow
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
SHAPE = (4, 4, 1)
PUBLISHED = 11_835_054  # of the published code with its configuration for CIFAR-10 of 8 bits; the paper says 11.8 M


def images(num: int = 8, shape=SHAPE) -> jax.Array:
    return jax.device_put(np.random.default_rng(0).integers(0, 256, (num, *shape)).astype(np.uint8))


def test_the_published_size():
    """What the published code counts, and what we add: lengths of kernels, a norm before and a scale at the end."""
    path = Path(__file__).parents[2] / "experiments/configs/spline_glow_published.py"
    spec = importlib.util.spec_from_file_location("spline_glow_published", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flow = module.config.flow((32, 32, 3))
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8))
    num = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    theirs = ours = 0
    for channels in (12, 48, 192):
        half, linear = channels // 2, channels**2 + channels
        network = half * 96 + 96 + 3 * 2 * (9 * 96**2 + 96 + 2 * 96) + 96 * 11 * half + 11 * half
        theirs += 7 * (2 * channels + linear + network) + linear
        ours += 7 * (7 * 96 + 2 * 96 + 11 * half) - 8 * channels
    assert theirs == PUBLISHED and num == theirs + ours == 11_860_884
    assert f"{num:,}" in module.__doc__ and f"{PUBLISHED:,}" in module.__doc__


@pytest.mark.parametrize("factor_out", [False, True])
def test_levels_are_scanned_steps_and_a_linear_map(factor_out):
    flow = spline_glow((8, 8, 3), 2, (3, 1), 4, 1, factor_out=factor_out)
    shapes = flow.bijector.latent_shapes()
    assert shapes == (((4, 4, 6), (2, 2, 24)) if factor_out else ((2, 2, 48),))
    variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.uint8))
    first = variables["params"]["bijector"]["levels_0"]
    first = first if factor_out else first["layers_1"]  # listed from latent to data: the first level is the last
    assert {leaf.shape[0] for leaf in jax.tree.leaves(first["layers_1"]["layers"])} == {3}
    assert first["layers_0"]["plu"].shape == (12, 12)


def test_steps_do_not_lengthen_the_program():
    def length(steps: int) -> int:
        flow = spline_glow(SHAPE, 1, steps, 4, 1)
        variables = jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, *SHAPE), jnp.uint8))
        x = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
        score = lambda variables, x: jnp.sum(flow.log_prob(variables, x))
        return str(jax.make_jaxpr(jax.grad(score, allow_int=True))(variables, x)).count("\n")

    assert length(2) == length(7)


OPTIONS = [  # and whether the case is left to the slow set
    ({"num_classes": 3, "prior": "learned", "backprop": "invertible", "anchor_every": 1}, False),
    ({"norm": "batch", "preprocess": "logit", "alpha": 0.01, "num_bits": 5, "backprop": "remat"}, True),
    ({"factor_out": True, "prior": "learned", "padding": 2, "num_bins": 8, "bound": 1.0}, True),
    ({"base": "student_t", "dequantize": "variational", "dequantize_steps": 1, "dequantize_width": 2}, True),
]


@pytest.mark.parametrize(
    "options", [pytest.param(options, marks=[pytest.mark.slow] if slow else []) for options, slow in OPTIONS]
)
def test_every_option(options):
    flow = spline_glow(SHAPE, 1 + ("padding" in options), 2, 4, 1, **options)
    context = jnp.arange(8) % 3 if "num_classes" in options else None
    check_flow(flow, images() % 2 ** options.get("num_bits", 8), context=context)


def test_couplings_bend_what_lies_within_the_bound():
    """Slopes of a coupling change with the value that it maps, which an affine map's do not, and are 1 outside."""
    flow = spline_glow(SHAPE, 1, 1, 4, 1, bound=2.0)
    variables = filled(jax.eval_shape(flow.init, KEY, images(64)), 0)
    linear, steps, _ = flow.bijector.levels[0].layers[0].layers
    coupling, *_ = steps.layer.layers
    params = variables["params"]["bijector"]["levels_0"]["layers_0"]["layers_1"]["layers"]["layers_0"]
    own = {"params": jax.tree.map(lambda leaf: leaf[0], params)}

    def slope(value: float) -> jax.Array:
        return coupling.apply(own, jnp.zeros((2, 2, 4)).at[..., 2:].set(value), method="inverse_and_log_det")[1]

    within, other, outside = jax.jit(jax.vmap(slope))(np.array([0.1, 1.5, 2.5]))
    assert abs(within - other) > 1e-3 and outside == 0 and linear.event_ndims == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_levels": 3},
            r"spline_glow: `num_levels` must leave a height and width, \(4, 4\) with padding, that are",
        ),
        ({"num_steps": (1, 2)}, "spline_glow: `num_steps` must be one number, or one per level; got num_levels=1"),
        ({"norm": "layer"}, "spline_glow: `norm` must be one of 'weight', 'batch'; got 'layer'"),
        ({"num_bins": 1}, "spline_glow: `num_bins` must be at least 2; got 1"),
        ({"norm": "batch", "backprop": "invertible"}, "`backprop` must not be 'invertible' with norm=batch, .*remat"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InvalidValueError, match=message):
        spline_glow(SHAPE, **{"num_levels": 1, "num_steps": 1, "width": 4, "num_blocks": 1} | options)

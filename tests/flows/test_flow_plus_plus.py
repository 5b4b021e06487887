"""Flow++: the published size, exactness, what its couplings reach, its learned noise, and messages."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.bijectors import Inverse
from jflows.errors import InvalidValueError
from jflows.flows import VariationalDequantize
from jflows.flows.presets import flow_plus_plus
from jflows.testing import check_flow

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles faster than the default
QUICK = {"xla_backend_optimization_level": 0}  # these programs run once: compiling them is all that they cost
SHAPE = (2, 4, 1)


def images(num: int = 8, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, *shape)).astype(np.uint8)


def small(shape=SHAPE, num_couplings=(2, 0, 0), **options):
    own = {"num_heads": 2, "num_components": 2, "dequantize": "uniform", "dequantize_width": 2, "dequantize_steps": 1}
    return flow_plus_plus(shape, num_couplings, 1, 4, **own | options)


def shapes_of(flow, shape):
    return jax.eval_shape(flow.init, KEY, jax.ShapeDtypeStruct((2, *shape), jnp.uint8))


def filled(flow, shape, scale: float):
    """Random numbers for the variables of a flow: those that `init` gives a coupling do not see the other half."""
    random = np.random.default_rng(1)

    def fill(path, leaf):
        if leaf.dtype == np.int32:  # permutations
            return jax.device_put(np.broadcast_to(np.arange(leaf.shape[-1])[::-1], leaf.shape))
        is_sign = "sign" in jax.tree_util.keystr(path)
        return jnp.ones(leaf.shape) if is_sign else jnp.asarray(scale * random.standard_normal(leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes_of(flow, shape))


def test_the_published_size_for_cifar10_differs_by_what_is_stated():
    """31,443,440 parameters: biases of queries, keys and values, and of contexts; two linear maps for each step."""
    flow = flow_plus_plus((32, 32, 3))
    biases = 3 * 96 * (9 * 10 + 4 * 2) + 96 * 4 * 2  # of queries, keys and values in all blocks; of contexts
    linear = 4 * 3**2 + 2 * 6**2 + 3 * 12**2 + 4 * 3**2  # half of the matrices
    scales = (4 * 3 + 2 * 6 + 3 * 12 + 4 * 3) * (3 * 32 + 2)  # of the last convolutions
    params = shapes_of(flow, (32, 32, 3))["params"]
    found = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    assert sum(found.values()) == 31_420_928 == 31_443_440 - biases - linear + scales
    assert found["dequantize"] == 3_465_044


def test_the_density_is_exact_and_goes_both_ways():
    flow = small(SHAPE, (0, 2, 2))
    variables = filled(flow, SHAPE, 0.3)
    x = images(1)[0] + np.random.default_rng(1).random(SHAPE)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def everything(x):
        z, pulled_back = jax.vjp(lambda x: flow.encode(variables, x)[0], x)  # one pass for the value and all its slopes
        jacobian = jax.vmap(pulled_back)(jnp.eye(8))[0].reshape(8, 8)
        return flow.log_prob(variables, x), z, jacobian, flow.decode(variables, z)[0]

    log_prob, z, jacobian, back = everything(x)
    wanted = -0.5 * np.sum(z**2) - 4 * np.log(2 * np.pi) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_prob, wanted, rtol=1e-9)
    np.testing.assert_allclose(back, x, rtol=1e-8)
    assert z.shape == (8,) and np.all((np.abs(jacobian) > 1e-9).sum(axis=0) > 1)  # no pixel goes through alone


def test_the_program_does_not_grow_with_the_number_of_couplings():
    def length(num: int) -> int:
        flow, shape = small(num_couplings=(num, 0, 0)), jax.ShapeDtypeStruct((2, *SHAPE), jnp.uint8)
        variables = shapes_of(flow, SHAPE)
        return len(jax.jit(flow.log_prob).lower(variables, shape, key=KEY).as_text().splitlines())

    assert length(2) == length(20)


OPTIONS = [
    (SHAPE, {"num_classes": 3, "num_bits": 5, "dequantize": "variational"}),
    ((2, 4, 2), {"num_couplings": (1, 1, 2), "num_heads": 0, "alpha": 1e-5}),
    ((2, 2, 1), {"padding": 1, "backprop": "remat", "dequantize": "variational"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "options"), OPTIONS)
def test_options(shape, options):
    flow = small(shape, **options)
    context = jnp.arange(8) % 3 if "num_classes" in options else None
    check_flow(flow, jax.device_put(images(shape=shape)) % 2 ** options.get("num_bits", 8), context=context)


def test_labels_count():
    flow = small(num_classes=3)
    shapes = jax.eval_shape(flow.init, KEY, jax.device_put(images(2)), jnp.zeros(2, int))
    random = np.random.default_rng(2)
    variables = jax.tree.map(lambda leaf: jax.device_put(0.3 * random.standard_normal(leaf.shape)), shapes)
    x = np.broadcast_to(images(1), (3, *SHAPE)) + 0.5
    by_label = jax.jit(flow.log_prob, compiler_options=QUICK)(variables, x, jnp.arange(3))
    assert np.all(np.isfinite(by_label)) and len({float(value) for value in by_label.round(6)}) == 3


@pytest.fixture(scope="module")
def learned():
    """The learned noise, and random variables."""
    flow = small(dequantize="variational", dequantize_width=4)
    assert isinstance(flow.dequantize, VariationalDequantize) and flow.dequantize.embed is not None
    return flow.dequantize, {"params": filled(flow, SHAPE, 0.1)["params"]["dequantize"]}


def test_learned_noise_sees_the_image_and_has_the_density_that_it_states(learned):
    noise, variables = learned
    image, size = images(1) / 256 - 0.5, math.prod(SHAPE)
    e = np.random.default_rng(0).normal(size=(1, *SHAPE))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(image):
        to_noise = lambda e: noise.apply(variables, e, image, method=_noise_of)
        return *to_noise(e), jax.jacrev(lambda e: to_noise(e)[0])(e).reshape(size, size)

    u, log_det, jacobian = run(image)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(jacobian)[1], rtol=1e-9)
    assert np.all((u > 0) & (u < 1))
    image[0, 0, 0] += 0.5
    assert np.all(np.abs(run(image)[0] - u) > 1e-9)


def _noise_of(module, e, image):
    return module.bijector.forward_and_log_det(e, module.embed(image))


def test_no_step_of_the_noise_is_solved_by_iteration(learned):
    def loops(bijector, variables, method, shape) -> int:
        program = jax.jit(lambda values: bijector.apply(variables, values, None, method=method))
        return program.lower(jnp.zeros(shape)).as_text().count("stablehlo.while")

    flow = small()
    variables = {"params": filled(flow, SHAPE, 0.1)["params"]["bijector"]}
    assert loops(flow.bijector, variables, "inverse_and_log_det", (1, *SHAPE)) == 1  # the scan over steps
    assert loops(flow.bijector, variables, "forward_and_log_det", (1, 8)) > 1
    assert isinstance(learned[0].bijector.layers[0], Inverse)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: small(num_heads=4, dequantize="variational", dequantize_width=6),
            "flow_plus_plus: `dequantize_width` must be a multiple of num_heads=4; got 6",
        ),
        (lambda: small((4, 7, 1), padding=1), "must have an even height and a width .* 6 x 9 .* Crop the images"),
        (lambda: small((4, 6, 1)), r"`event_shape` must have an even height and a width .* 4 x 6 .* Set padding"),
        (lambda: small((48,)), r"`event_shape` must be \(height, width, channels\); got \(48,\)"),
        (lambda: small(num_couplings=(2, 2)), "`num_couplings` must be three ints.*; got"),
        (lambda: small(num_couplings=(0, 1, 0)), r"`num_couplings` must sum to at least 2, .*; got \(0, 1, 0\)"),
        (lambda: small(num_heads=3), "`num_heads` must divide width=4; got 3"),
        (lambda: small(backprop="invertible"), "`backprop` must be one of 'standard', 'remat'; got 'invertible'"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


def test_the_advice_of_errors_holds():
    assert small((4, 6, 1), padding=1).event_shape == (4, 6, 1)


def test_it_is_named_like_the_other_presets():
    assert jflows.flow_plus_plus is flow_plus_plus and jflows.from_spec(jflows.to_spec(small())) == small()

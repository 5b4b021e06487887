"""Densities as programs of plain arrays: right numbers for any batch, and StableHLO that accelerators can run.

By default presets are lowered for the three platforms, and the text is looked at for the gradients of two. With
`-m slow` it is for all programs of all presets, and every bijector and base is lowered with an open batch.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import DequantizeColumns, Flow, named_arrays, programs
from jflows.flows.programs import PLATFORMS
from tests.cases import CASES
from tests.distributions.cases import CASES as BASES
from tests.presets import PRESETS, build, data_of

ROWS = 3
ACCELERATORS = ("cuda", "tpu")
# Slow, as other presets have their parts.
VARIANTS = (
    *("glow_remat", "glow_invertible", "glow_anchored", "spline_glow_invertible"),
    *("realnvp_invertible", "flow_gmm", "nsf_autoregressive"),
)
# Checks of shapes; Threefry, cuSOLVER and cuBLAS for cuda; factorisations that XLA's compiler for TPUs knows.
CALLS = re.compile(
    r"shape_assertion|cu(_|solver_|blas_)\w+|Eigh|LuDecomposition|Qr|ProductOfElementaryHouseholderReflectors"
)


def arrays_of(density, x, context=None):
    """Random float32 weights: those of `init` are compiled for seconds."""
    shapes = jax.eval_shape(density.init, jax.random.key(0), x, context)
    random = np.random.default_rng(0)

    def fill(path, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):  # permutations
            return np.broadcast_to(np.roll(np.arange(leaf.shape[-1]), 1), leaf.shape)
        is_constant = path[0] == jax.tree_util.DictKey("constants")
        return np.ones(leaf.shape) if is_constant else 0.3 * random.standard_normal(leaf.shape)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    return variables, named_arrays(variables)


def made(density, context=None):
    """Arrays of a density, its two programs, and the gradient of the first by all parameters."""
    variables, arrays = arrays_of(density, data_of(density, 2), context)
    log_prob, sample = programs(density, variables)

    def gradient(arrays, *arguments):
        loss = lambda params: jnp.sum(log_prob.function({**arrays, **params}, *arguments))
        return jax.grad(loss)({name: array for name, array in arrays.items() if name.startswith("params/")})

    of_all = {"log_prob": log_prob, "sample": sample, "gradient": log_prob._replace(function=gradient)}
    return arrays, of_all


def check_text(text: str) -> None:
    """Only calls that the platforms have, and no number of 64 bits."""
    called = set(re.findall(r"custom_call @(\w+)", text))
    unknown = {name for name in called if not CALLS.fullmatch(name)}
    assert not unknown
    assert "f64" not in text


@pytest.mark.parametrize("method", ["log_prob", "sample"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in VARIANTS)) for n in PRESETS])
def test_every_preset_lowers_for_all_platforms_with_an_open_batch(name, method):
    arrays, of_all = made(build(name))
    exported = of_all[method].export(arrays)
    assert exported.platforms == PLATFORMS and str(exported.out_avals[0].shape[0]) == "b"
    assert "f64" not in exported.mlir_module()


@pytest.mark.by_default("glow", "iaf")
@pytest.mark.parametrize("name", PRESETS)
def test_gradients_on_accelerators_have_no_kernels_of_a_cpu(name):
    arrays, of_all = made(build(name))
    text = of_all["gradient"].export(arrays, ACCELERATORS, ROWS).mlir_module()
    check_text(text)
    by_name = "glow" in name.removeprefix("waveglow")
    has_convolutions = by_name or name in {"flow_plus_plus", "realnvp_images", "residual_images"}
    assert ("stablehlo.convolution" in text) == has_convolutions


@pytest.mark.slow
@pytest.mark.parametrize("method", ["log_prob", "sample"])
@pytest.mark.parametrize("name", PRESETS)
def test_programs_on_accelerators_have_no_kernels_of_a_cpu(name, method):
    arrays, of_all = made(build(name))
    check_text(of_all[method].export(arrays, ACCELERATORS).mlir_module())


def test_a_kernel_of_a_cpu_and_other_convolutions_would_be_noticed():
    arrays, of_all = made(build("glow"))
    assert "stablehlo.convolution" not in of_all["gradient"].export(arrays, ("cpu",), ROWS).mlir_module()
    factors = jax.export.export(jax.jit(jnp.linalg.cholesky), platforms=("cpu",))(jnp.eye(2, dtype=jnp.float32))
    with pytest.raises(AssertionError, match="lapack"):
        check_text(factors.mlir_module())


def opened(program, arrays, batch_size=None):
    """A program after a journey through bytes, on this platform alone."""
    written = program.export(arrays, ("cpu",), batch_size).serialize()
    return jax.jit(jax.export.deserialize(written).call)


def of_columns(_=None):
    """A table whose second column holds whole numbers."""
    return jflows.Flow(b.Elementwise(b.Affine()), StandardNormal((2,)), (2,), DequantizeColumns((1,)))


DENSITIES = {
    "contexts": (lambda: jflows.maf((2,), 1, (4,), context_dim=2), np.float32),
    "classes": (lambda: jflows.glow((4, 4, 1), 1, 1, 4, num_classes=3), np.int32),
    "mixture": (lambda: build("flow_gmm"), None),
    "whole_numbers": (of_columns, None),
    "estimated": (lambda: build("residual"), None),
}


@pytest.mark.by_default("contexts", "whole_numbers")
@pytest.mark.parametrize("kind", DENSITIES)
def test_a_written_program_gives_what_the_density_gives(kind):
    make, context_type = DENSITIES[kind]
    density = make()
    contexts = None if context_type is None else np.ones((2, *density.context_shape), context_type)
    variables, arrays = arrays_of(density, data_of(density, 2), contexts)
    log_prob, sample = (opened(program, arrays) for program in programs(density, variables))
    with jax.enable_x64(False):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), variables)
        for rows in (1, ROWS):
            key_data = np.random.default_rng(rows).integers(2**32, size=(rows, 2), dtype=np.uint32)
            keys = jax.random.wrap_key_data(key_data, impl="threefry2x32")
            own = [] if contexts is None else [np.resize(np.arange(6), (rows, *density.context_shape)) % 3]
            own = [each.astype(context_type) for each in own]
            x = sample(arrays, key_data, *own, np.float32(0.8))
            if density.takes_keys:
                wanted = density.sample(variables, keys, () if own else keys.shape, *(own or [None]), 0.8)
            else:
                wanted = jax.vmap(lambda key: density.sample(variables, key, (), None, 0.8))(keys)
            np.testing.assert_allclose(x, wanted, rtol=1e-5, atol=1e-6)
            needs_key = density.dequantize is not None or density.estimates_log_det
            nats = log_prob(arrays, x, *own, *([key_data] if needs_key else []))
            wanted = density.log_prob(variables, x, *(own or [None]), keys if needs_key else None)
            assert nats.shape == (rows,) and nats.dtype == jnp.float32
            np.testing.assert_allclose(nats, wanted, rtol=1e-5, atol=1e-6)


def test_a_given_batch_size_holds():
    arrays, of_all = made(of_columns())
    sample = opened(of_all["sample"], arrays, 2)
    assert sample(arrays, np.zeros((2, 2), np.uint32), np.float32(1)).shape == (2, 2)
    with pytest.raises(ValueError, match="shape"):
        sample(arrays, np.zeros((3, 2), np.uint32), np.float32(1))


def test_arrays_have_types_of_32_bits():
    found = named_arrays(
        {"params": {"a": np.ones(2), "b": jnp.ones(2, jnp.bfloat16)}, "constants": {"c": np.arange(2)}}
    )
    assert {name: str(array.dtype) for name, array in found.items()} == {
        "constants/c": "int32",
        "params/a": "float32",
        "params/b": "float32",
    }


class Choosing(b.SameShape):
    """A layer that looks at the number of rows."""

    event_ndims: int = 1

    def _forward_and_log_det(self, z, context):
        return (2 * z if z.shape[0] > 7 else z + z), jnp.full(z.shape[:-1], 2 * np.log(2))

    def _inverse_and_log_det(self, x, context):
        return (0.5 * x if len(x) > 7 else x / 2), jnp.full(x.shape[:-1], -2 * np.log(2))


def test_a_layer_that_must_know_the_batch_size_is_told_apart():
    arrays, of_all = made(Flow(Choosing(), StandardNormal((2,)), (2,)))
    for method in ("log_prob", "sample"):
        with pytest.raises(InvalidValueError, match=r"`batch_size` must be given for this flow.* Set batch_size=64\."):
            of_all[method].export(arrays, ("cpu",))
    assert opened(of_all["log_prob"], arrays, 2)(arrays, np.zeros((2, 2), np.float32)).shape == (2,)


class Calling(b.SameShape):
    """A layer that calls Python, inside a loop."""

    event_ndims: int = 1

    def _forward_and_log_det(self, z, context):
        same = lambda z: jax.pure_callback(lambda z: z, jax.ShapeDtypeStruct(z.shape, z.dtype), z)
        return jax.lax.fori_loop(0, 2, lambda _, z: same(z), z), jnp.zeros(z.shape[:-1])

    def _inverse_and_log_det(self, x, context):
        return self._forward_and_log_det(x, context)


def test_a_layer_that_calls_python_is_refused():
    arrays, of_all = made(Flow(Calling(), StandardNormal((2,)), (2,)))
    with pytest.raises(InvalidValueError, match="`flow` must not call Python while it runs.*; got pure_callback"):
        of_all["log_prob"].export(arrays, ("cpu",), 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"platforms": ("gpu",)}, InvalidValueError, "must be some of cpu, cuda, tpu, .* got gpu. A GPU of NVIDIA is"),
        ({"platforms": ()}, InvalidValueError, "export: `platforms` must be some of cpu, cuda, tpu, .* got none"),
        ({"platforms": ("cpu", "cpu")}, InvalidValueError, "each of them once; got cpu, cpu"),
        ({"platforms": "cpu"}, InvalidTypeError, r"must be a tuple of words; got str. Write \('cpu', 'cuda'\)"),
        ({"platforms": (1,)}, InvalidValueError, "got 1"),
        ({"batch_size": 0}, InvalidValueError, "export: `batch_size` must be at least 1; got 0"),
    ],
)
def test_wrong_input(options, error, message):
    arrays, of_all = made(of_columns())
    with pytest.raises(error, match=message):
        of_all["sample"].export(arrays, **options)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_bijector_takes_any_number_of_rows(case):
    if case.requires is not None:
        pytest.importorskip(case.requires)
    bijector, shape = case.make(), case.x_event_shape
    base = StandardNormal(bijector.z_event_shape(shape))
    check_lowers(Flow(bijector, base, shape, context_shape=case.options.get("context_shape")))


@pytest.mark.slow
@pytest.mark.parametrize("case", BASES, ids=lambda case: case.name)
def test_every_base_takes_any_number_of_rows(case):
    shape = case.event_shape
    context_shape = None if case.context is None else np.shape(case.context)[-1:]
    bijector = b.Elementwise(b.Affine(), event_ndims=len(shape))
    check_lowers(Flow(bijector, case.make(shape), shape, context_shape=context_shape))


def check_lowers(flow: Flow) -> None:
    context = None if flow.context_shape is None else np.zeros((2, *flow.context_shape))
    arrays, of_all = made(flow, context)
    for method in ("log_prob", "sample"):
        assert str(of_all[method].export(arrays).out_avals[0].shape[0]) == "b"

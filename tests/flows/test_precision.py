"""In which type and precision every preset computes: each operation of a gradient and of sampling is looked at."""

import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, PartitionSpec

import jflows
from jflows.bijectors import Affine, MaskedAutoregressive
from jflows.errors import InvalidValueError
from jflows.flows.presets import PRESETS
from jflows.nn import MADE
from jflows.ops.conv import convolution
from jflows.ops.numerics import EXACT, product
from jflows.options import settings_of
from tests.presets import DIM, IMAGE, build, data_of
from tests.presets import PRESETS as CASES

WITHOUT_CONDITIONERS = {"normal", "planar"}
ITERATED = {"residual", "residual_images"}  # their networks are inverted by iteration, see `jflows.nn.lipschitz`
ATTENTIVE = {"flow_plus_plus"}  # products of attention add up in float32, for its softmax
NARROWABLE = [name for name in CASES if name not in WITHOUT_CONDITIONERS | ITERATED]
OWN_PARTS = {"nice", "nsf_coupling", "iaf", "made", "glow_invertible", "nice_images", "realnvp_images", "vmonf"}
NARROWED = [pytest.param(name, marks=() if name in OWN_PARTS else pytest.mark.slow) for name in NARROWABLE]
TABLES = [name for name in CASES if build(name).reading.num_bits is None]
CONDITIONER = re.compile(r"\b(conditioner|first|second|MADE)\b")
PRODUCTS = ("dot_general", "conv_general_dilated", "square_conv", "square_conv_kernel_grad")
HIGHEST = jax.lax.Precision(EXACT)
ARITHMETIC = (*PRODUCTS, "mul", "div", "sub", "exp", "log", "log1p", "tanh", "logistic", "reduce_sum")
OUTER = ("scan", "while", "cond", "jit", "pjit", "remat", "checkpoint", "custom_linear_solve")  # what is inside counts


def with_compute_dtype(density, compute_dtype: str):
    """The same density, whose conditioners compute in this type."""

    def changed(part):
        if isinstance(part, list):
            return [changed(each) for each in part]
        if not isinstance(part, dict):
            return part
        kept = {"encoder": part["encoder"]} if "encoder" in part else {}  # it is no conditioner
        return {k: compute_dtype if k == "compute_dtype" else changed(v) for k, v in part.items()} | kept

    return jflows.from_spec(changed(jflows.to_spec(density)))


def programs(density):
    """The gradient of a likelihood, and samples, traced."""
    x = data_of(density, 4)
    key, needs_key = jax.random.key(1), density.reading.num_bits is not None
    variables = jax.eval_shape(density.init, key, x)

    def loss(params, others, x, key):
        return jnp.mean(-density.log_prob({**others, "params": params}, x, key=key if needs_key else None))

    yield jax.make_jaxpr(jax.grad(loss))(variables["params"], variables, x, key)
    yield jax.make_jaxpr(lambda variables, key: density.sample(variables, key, (2,)))(variables, key)


def operations(jaxpr, scope: str = "") -> Iterator[tuple[str, str, set[str], object]]:
    """Name, whether inside of a conditioner, floating types, and precision of each operation."""
    for equation in jaxpr.eqns:
        inner = f"{scope}/{equation.source_info.name_stack}"
        values = [a.aval for a in (*equation.invars, *equation.outvars) if hasattr(a.aval, "dtype")]
        # Weak types are those of Python's numbers, which take on the type of what they meet.
        floating = {str(a.dtype) for a in values if jnp.issubdtype(a.dtype, jnp.floating) and not a.weak_type}
        yield equation.primitive.name, inner, floating, equation.params.get("precision")
        for each in jaxprs_in_params(equation.params):
            yield from operations(getattr(each, "jaxpr", each), inner)


@functools.cache
def seen(name: str, compute_dtype: str, x64: bool) -> list[tuple[str, bool, frozenset[str], object]]:
    with jax.enable_x64(x64):
        density = with_compute_dtype(build(name), compute_dtype)
        found = [each for program in programs(density) for each in operations(program.jaxpr)]
    return [(op, bool(CONDITIONER.search(scope)), frozenset(types), p) for op, scope, types, p in found]


@pytest.mark.parametrize("name", NARROWED)
@pytest.mark.parametrize("compute_dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_products_of_conditioners_are_narrow_and_all_else_is_float32(name, compute_dtype):
    found = seen(name, compute_dtype, x64=False)
    products = [(inside, types, precision) for op, inside, types, precision in found if op in PRODUCTS]
    mixed = {frozenset({compute_dtype, "float32"})} if name in ATTENTIVE else set()
    assert {types for inside, types, _ in products if inside} == {frozenset({compute_dtype})} | mixed
    others = {(types, precision) for inside, types, precision in products if not inside}
    assert others <= {(frozenset({"float32"}), (HIGHEST, HIGHEST))}
    leaks = {op for op, inside, types, _ in found if not inside and op not in OUTER and compute_dtype in types}
    assert not leaks, "narrow numbers outside of a conditioner"


@pytest.mark.by_default("realnvp", "made", "normal", "flow_gmm", "vmonf")
@pytest.mark.parametrize("name", TABLES)
def test_float32_is_not_promoted_where_float64_is_allowed(name):
    density = build(name)
    x = data_of(density, 4).astype(jnp.float32)
    variables = jax.eval_shape(density.init, jax.random.key(0), x)
    program = jax.make_jaxpr(lambda variables, x: density.log_prob(variables, x))(variables, x)
    assert "float64" not in set().union(*(types for _, _, types, _ in operations(program.jaxpr)))


@pytest.mark.by_default("realnvp", "nsf_coupling")
@pytest.mark.parametrize("name", NARROWABLE)
def test_float64_is_not_demoted(name):
    # Splines hold the numbers of bins as float32, which is no arithmetic.
    found = [types for op, _, types, _ in seen(name, "full", True) if op in ARITHMETIC]
    assert set().union(*found) == {"float64"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_with_conditioners_hands_the_option_to_all_of_them(name):
    preset = PRESETS[name]
    if "compute_dtype" not in {setting.name for setting in settings_of(preset)}:
        assert name in WITHOUT_CONDITIONERS | ITERATED | {"vmonf", "flow_gmm"}  # the last two: an option of their parts
        return
    is_image = {setting.name: setting.option.axes for setting in settings_of(preset)}["event_shape"] == len(IMAGE)
    more = {"num_levels": 2} if name in ("glow", "spline_glow") else {}
    more |= {"dequantize": "variational"} if is_image else {"base": "mixture"} if name == "maf" else {}
    shape = IMAGE if is_image else (16,) if name == "waveglow" else (DIM,)
    more |= {"context_shape": (2, 3)} if name == "waveglow" else {}
    written = str(jflows.to_spec(preset(shape, compute_dtype="float16", **more)))
    assert "'compute_dtype': 'float16'" in written
    assert "'compute_dtype': 'full'" not in written


def test_the_precision_of_products_is_set_in_one_place():
    package = Path(jflows.__file__).parent
    literal = re.compile(r"precision\s*=\s*[\"']|Precision\.|default_matmul_precision\(")
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if literal.search(path.read_text())}
    assert found <= {"testing/on_device.py"}, "which raises the precision of a whole suite"


@pytest.mark.parametrize("compute_dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_narrow_conditioners_change_bits_per_dim_and_gradients_little(compute_dtype):
    flow = functools.partial(jflows.glow, (4, 4, 1), 1, 2, 8, permutation="reverse")
    x = jax.device_put(np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1)))
    key, full = jax.random.key(1), flow()
    random = lambda a: 0.05 * jnp.sin(1 + jnp.arange(math.prod(a.shape), dtype=a.dtype)).reshape(a.shape)
    with jax.enable_x64(False):
        variables = jax.tree.map(random, jax.eval_shape(full.init, jax.random.key(0), x))

        def measure(flow):
            bits = lambda params: jnp.mean(flow.bits_per_dim({**variables, "params": params}, x, key=key))
            # XLA may leave out a rounding between two operations, and on a CPU leaves out nearly all of them.
            strict = {"xla_allow_excess_precision": False}
            return jax.jit(jax.value_and_grad(bits), compiler_options=strict)(variables["params"])

        (wanted, slopes), (got, narrow) = measure(full), measure(flow(compute_dtype=compute_dtype))
    assert 0 < abs(got - wanted) <= 0.005
    flat = lambda tree: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    assert flat(narrow).dtype == jnp.float32
    assert 0 < jnp.linalg.norm(flat(narrow) - flat(slopes)) <= 0.1 * jnp.linalg.norm(flat(slopes))


def test_an_incremental_inverse_is_that_of_the_narrow_network():
    network = MADE((16, 16), compute_dtype="bfloat16")
    made = MaskedAutoregressive(network, Affine())
    with jax.enable_x64(False):
        x = np.random.default_rng(1).normal(size=(32, 16))
        shapes = jax.eval_shape(made.init, jax.random.key(0), x)
        variables = jax.tree.map(lambda a: jax.random.normal(jax.random.key(a.size), a.shape) / 4, shapes)
        strict = {"xla_allow_excess_precision": False}
        back = lambda x: made.apply(variables, made.apply(variables, x, method="inverse"), method="forward")
        error = np.max(np.abs(jax.jit(back, compiler_options=strict)(x) - x))
    assert 1e-5 < error <= 0.05, "1e-6 would be that of float32"


@pytest.mark.parametrize(("operation", "shape"), [(product, (4,)), (convolution, (2, 2, 4))])
def test_gradients_are_added_up_over_devices_in_the_type_of_the_parameters(operation, shape):
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    kernel = jnp.ones((*(1,) * (len(shape) - 1), 4, 3), jnp.float32)
    specs = {"in_specs": (PartitionSpec("rows"), PartitionSpec()), "out_specs": PartitionSpec("rows")}

    def slope(check_vma):
        run = lambda x, kernel: operation(x, kernel, "bfloat16")
        divided = jax.shard_map(run, mesh=mesh, check_vma=check_vma, **specs)
        return jax.jit(jax.grad(lambda kernel: divided(x, kernel).sum()))(kernel)

    np.testing.assert_allclose(slope(True), slope(False), rtol=1e-6)


def test_an_unknown_type_is_refused():
    with pytest.raises(InvalidValueError, match="realnvp: `compute_dtype` must be one of 'full', 'bfloat16', 'float1"):
        jflows.realnvp((2,), compute_dtype="float8")
